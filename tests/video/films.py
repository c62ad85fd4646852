"""Makes small video files whose every frame carries its own number, readable after any lossy codec.

A frame is a grid of 4 x 2 black or white blocks: the bits of its number, most significant first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

COLUMNS, ROWS = 4, 2
Frame = npt.NDArray[np.uint8]


def numbered_frame(number: int, width: int = 96, height: int = 64) -> Frame:
    """(height, width, 3) uint8 showing the low eight bits of `number`."""
    frame = np.full((height, width, 3), 24, np.uint8)
    for bit in range(COLUMNS * ROWS):
        row, column = divmod(bit, COLUMNS)
        if number >> (COLUMNS * ROWS - 1 - bit) & 1:
            top, left = row * height // ROWS, column * width // COLUMNS
            frame[top : top + height // ROWS, left : left + width // COLUMNS] = (230, 225, 220)
    return frame


def read_number(frame: Frame) -> int:
    """The number shown by a frame of any size."""
    height, width = frame.shape[:2]
    number = 0
    for row in range(ROWS):
        for column in range(COLUMNS):
            y, x = int((row + 0.5) * height / ROWS), int((column + 0.5) * width / COLUMNS)
            patch = frame[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            number = number << 1 | int(patch.mean() > 127)
    return number


def write_film(
    path: Path | str,
    *,
    count: int = 40,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    rate: int | Fraction = 25,
    options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    setup: Callable[[Any], None] | None = None,
    prepare: Callable[[av.VideoFrame], None] | None = None,
    frames: Iterable[Frame] | None = None,
) -> Path:
    """Encode frames 0 .. count-1. size: (width, height); pts: ticks of `time_base` for each frame."""
    path = Path(path)
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], pix_fmt
        if time_base is not None:
            stream.time_base = stream.codec_context.time_base = time_base
        if setup is not None:
            setup(stream)
        for number, image in enumerate(frames or (numbered_frame(n, *size) for n in range(count))):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts = number if pts is None else pts[number]
            frame.time_base = time_base or Fraction(1) / Fraction(rate)
            if prepare is not None:
                prepare(frame)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path

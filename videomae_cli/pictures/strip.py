"""Some frames of a video as one small picture, side by side: of a size that a page can hold a thousand of."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MOST_FRAMES = 8
HEIGHT = 96
MOST_BYTES = 11_000
_QUALITIES = (72, 60, 48, 36, 24, 12)


def make_strip(frames: Sequence[npt.NDArray[np.uint8]]) -> bytes | None:
    """Frames (h, w, 3) uint8 RGB, all of one size -> a WebP of up to MOST_FRAMES of them, spread evenly; None without any.

    Quality, and for noise at last the size too, gives way until it has at most MOST_BYTES.
    """
    from PIL import Image

    if not len(frames):
        return None
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(MOST_FRAMES, len(frames))).round().astype(int))
    height, width = frames[0].shape[:2]
    for tall in (HEIGHT, HEIGHT // 2, HEIGHT // 4):
        size = max(1, min(round(width * tall / height), 2 * tall)), tall
        strip = Image.new("RGB", (size[0] * len(chosen), tall))
        for place, row in enumerate(chosen):
            strip.paste(Image.fromarray(frames[row]).resize(size, Image.Resampling.BOX), (place * size[0], 0))
        for quality in _QUALITIES:
            sink = io.BytesIO()
            strip.save(sink, "WEBP", quality=quality, method=4)
            if sink.tell() <= MOST_BYTES:
                return sink.getvalue()
    return sink.getvalue()

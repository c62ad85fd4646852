"""Makes a filmstrip: a few frames of a video side by side, small enough for a page with a thousand of them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MOST_FRAMES = 8
HEIGHT = 96
MOST_BYTES = 11_000
GAP_COLOUR = (128, 128, 128)
_QUALITIES = (60, 48, 36, 24, 12)


def make_strip(
    frames: Sequence[npt.NDArray[np.uint8]], *, most_frames: int = MOST_FRAMES, most_bytes: int = MOST_BYTES
) -> bytes | None:
    """Make a WebP of up to `most_frames` evenly spread frames (h, w, 3) uint8 RGB of one size; None if there are none.

    Quality and, for noisy pictures, size are reduced until it has at most `most_bytes`.
    """
    from PIL import Image

    if not len(frames):
        return None
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(most_frames, len(frames))).round().astype(int))
    height, width = frames[0].shape[:2]
    # Small frames are enlarged by a whole factor, which keeps their pixels sharp; the browser would interpolate.
    tallest = max(1, HEIGHT // height) * height if height < HEIGHT else HEIGHT
    for tall in (tallest, max(1, tallest // 2), max(1, tallest // 4)):
        size = max(1, min(round(width * tall / height), 2 * tall)), tall
        gap = max(1, tall // 48)  # without a gap, similar neighbouring frames would look like a single one
        strip = Image.new("RGB", (len(chosen) * (size[0] + gap) - gap, tall), GAP_COLOUR)
        for place, row in enumerate(chosen):
            strip.paste(Image.fromarray(frames[row]).resize(size, Image.Resampling.BOX), (place * (size[0] + gap), 0))
        for quality in _QUALITIES:
            sink = io.BytesIO()
            strip.save(sink, "WEBP", quality=quality, method=2)
            if sink.tell() <= most_bytes:
                return sink.getvalue()
    return sink.getvalue()

"""Makes a small JPEG of a frame, to show what a video is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import VideoError
from videomae_cli.video.native import load_cv2


def small_jpeg(frame: npt.NDArray[np.uint8], *, size: int, quality: int) -> bytes:
    """Encode a frame (H, W, 3) uint8 RGB as a JPEG whose long side has at most `size` pixels. quality: 1 to 100."""
    cv2 = load_cv2()
    small = small_frame(frame, size=size)
    done, coded = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise VideoError("the frame can't be made a picture")
    return bytes(coded)


def small_frame(frame: npt.NDArray[np.uint8], *, size: int) -> npt.NDArray[np.uint8]:
    """Copy a frame (H, W, 3), reduced so that its long side has at most `size` pixels."""
    cv2 = load_cv2()
    height, width = frame.shape[:2]
    scale = min(1.0, size / max(height, width))
    target = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(frame, target, interpolation=cv2.INTER_AREA), np.uint8)

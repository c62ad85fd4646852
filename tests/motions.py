"""Films of known camera motions, cut together: each scene a camera over a texture that nobody photographed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from recipes.camera_motion.motion import CameraPath
from recipes.camera_motion.sources import procedural

Frame = npt.NDArray[np.uint8]

RATE = 25
WIDTH, HEIGHT = 128, 96
# For each frame: part of the picture's height, natural log of scale, radians.
PAN, ZOOM, ROLL = 0.012, 0.008, 0.012


def path_of(label: str, frames: int) -> CameraPath:
    """A camera that moves evenly as `label` says."""
    along = np.arange(frames) - (frames - 1) / 2
    centre, log_scale, angle = np.zeros((frames, 2)), np.zeros(frames), np.zeros(frames)
    if label.startswith(("pan", "tilt")):
        sign = 1 if label in ("pan right", "tilt down") else -1
        centre[:, 0 if label.startswith("pan") else 1] = sign * PAN * HEIGHT * along
    elif label.startswith("zoom"):
        log_scale = along * (-ZOOM if label == "zoom in" else ZOOM)
    elif label.startswith("roll"):
        angle = along * (ROLL if label == "roll clockwise" else -ROLL)
    return CameraPath(centre, np.exp(log_scale), angle)


def scene(label: str, frames: int, seed: int, *, texture: int = 512) -> list[Frame]:
    """(H, W, 3) RGB frames of one motion over one texture of so many pixels a side."""
    picture = procedural(np.random.default_rng(seed), texture).levels[0]
    path = path_of(label, frames)
    shown = []
    for number in range(frames):
        affine = path.affine(number)
        offset = affine[:, 2] + np.array(picture.shape[1::-1]) / 2 - affine[:, :2] @ [WIDTH / 2, HEIGHT / 2]
        matrix = np.concatenate([affine[:, :2], offset[:, None]], axis=1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        shown.append(np.asarray(view, np.uint8))
    return shown


def write_motions(path: Path, scenes: Sequence[tuple[str, float]], *, seed: int = 1, texture: int = 512) -> Path:
    """A film of scenes (label, seconds), one after the other, as H.264."""
    # The index first, so that a server can send it from the beginning.
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, (label, seconds) in enumerate(scenes):
            for frame in scene(label, round(seconds * RATE), seed + number, texture=texture):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path

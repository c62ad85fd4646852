"""Held-out clips that the training renderer has no part in: a crop window moved across real footage, as H.264 files.

Each recording here has a camera that stands still, so that the window's motion is the only camera motion, while its own
subjects (pedestrians, cyclists, traffic) go on moving inside. Windows are cut at full resolution and written with PyAV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from recipes.camera_motion.motion import LABELS

Clip = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Recording:
    """A stretch of a file, in frames, over which the camera stands still."""

    file: str
    start: int
    stop: int


# Standing cameras, by phase correlation of the first frame with every later one: vtest.avi stays within 0.2 % of its
# width, tree.avi within 0.4 %, and this shot of bikes.mp4 within 1.3 %; its other shots drift too far to be "static".
HELD_OUT = (
    Recording("vtest.avi", 0, 795),
    Recording("tree.avi", 0, 68),
    Recording("bikes.mp4", 138, 186),
)


@dataclass(frozen=True)
class Window:
    """One moved window: frames (T, side, side, 3) uint8 RGB, the label, and where it came from."""

    frames: Clip
    label: str
    source: str


def read(folder: Path, recording: Recording) -> Clip:
    """The frames of a recording (N, H, W, 3) uint8 RGB, decoded with PyAV."""
    with av.open(str(folder / recording.file)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames[recording.start : recording.stop])


def moved(rng: np.random.Generator, frames: Clip, label: str, side: int) -> Clip | None:
    """A window of `side` pixels out, moved for the length of `frames`; None where the drawn motion leaves the picture."""
    count, height, width = frames.shape[:3]
    time = np.arange(count) / (count - 1)
    if rng.random() < 0.3:
        time = 0.5 - 0.5 * np.cos(np.pi * time)  # eases in and out
    span = rng.uniform(0.45, 0.9) * min(height, width)  # scene pixels that the window covers at its largest
    travel = np.zeros((count, 2))
    scale, angle = np.ones(count), np.zeros(count)
    if label.startswith(("pan", "tilt")):
        axis = 0 if label.startswith("pan") else 1
        room = (width if axis == 0 else height) - span
        distance = rng.uniform(0.12, 0.8) * span
        if distance > room:
            return None
        travel[:, axis] = distance * time * (1 if label in ("pan right", "tilt down") else -1)
    elif label.startswith("zoom"):
        rate = np.log(rng.uniform(1.12, 2.0))
        scale = np.exp(-rate * time) if label == "zoom in" else np.exp(-rate * (1 - time))
    elif label.startswith("roll"):
        span /= 1.42  # so that the corners stay inside
        angle = np.deg2rad(rng.uniform(8, 50)) * time * (1 if label == "roll clockwise" else -1)
    travel -= (travel.min(axis=0) + travel.max(axis=0)) / 2
    reach = span / 2 * (1.42 if label.startswith("roll") else 1) + np.abs(travel).max(axis=0)
    slack = np.array([width, height]) / 2 - reach
    if slack.min() < 0:
        return None
    centre = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * slack + travel
    out = []
    for i in range(count):
        factor = span * scale[i] / side
        cos, sin = factor * np.cos(angle[i]), factor * np.sin(angle[i])
        middle = (side - 1) / 2
        x = centre[i, 0] - 0.5 - cos * middle + sin * middle
        y = centre[i, 1] - 0.5 - sin * middle - cos * middle
        matrix = np.array([[cos, -sin, x], [sin, cos, y]])
        out.append(cv2.warpAffine(frames[i], matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
    return np.stack(out)


def windows(folder: Path, chosen: Sequence[Recording] = HELD_OUT, *, per_label: int, seed: int = 1) -> Iterator[Window]:
    """`per_label` windows of every label, taken from the recordings in turn; 33 to 64 frames where there are as many."""
    rng = np.random.default_rng(seed)
    recordings = [(f"{r.file}:{r.start}-{r.stop}", read(folder, r)) for r in chosen]
    for label in LABELS:
        made = 0
        while made < per_label:
            name, frames = recordings[(made + int(rng.integers(0, 2))) % len(recordings)]
            count = min(int(rng.integers(33, 65)), len(frames))
            start = int(rng.integers(0, len(frames) - count + 1))
            side = int(rng.choice([160, 192, 224, 256]))
            clip = moved(rng, frames[start : start + count], label, side)
            if clip is not None:
                made += 1
                yield Window(clip, label, name)


def write(file: Path, frames: Clip, *, rate: int = 25, crf: int = 23, aspect: Fraction | None = None) -> None:
    """Writes frames as H.264 in mp4, as a phone or an editor would. aspect: of a pixel, width to height."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())

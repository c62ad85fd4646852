"""The published test, restated from its description: how the official loaders make views of a file, and merge their scores.

Written from the facts alone (frames, clip starts, crops, OpenCV's bilinear resize, softmax before the mean), with nothing of
this package in it, as a reference for `--protocol paper`. Frames come as decoders store them, by PyAV or OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch

Frames = npt.NDArray[np.uint8]
LENGTH = 16


def read_pyav(path: Path) -> list[Frames]:
    """Every frame of a file, RGB."""
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def read_opencv(path: Path) -> list[Frames]:
    """Every frame of a file, RGB."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return frames


def kinetics_views(frames: Sequence[Frames], short: int) -> Frames:
    """(15, 16, short, short, 3): 5 clips of every fourth frame, 3 crops of each."""
    kept = list(frames[::4])
    while len(kept) < LENGTH:
        kept.append(kept[-1])
    step = max((len(kept) - LENGTH) / 4, 0)
    return np.stack([view for k in range(5) for view in _crops(kept[int(k * step) : int(k * step) + LENGTH], short)])


def something_views(frames: Sequence[Frames], short: int) -> Frames:
    """(6, 16, short, short, 3): 2 clips, each of one frame of every sixteenth of the file, 3 crops of each."""
    tick = len(frames) / LENGTH
    wanted = sorted([int(tick * x) for x in range(LENGTH)] + [int(tick / 2 + tick * x) for x in range(LENGTH)])
    return np.stack([view for k in range(2) for view in _crops([frames[i] for i in wanted[k::2]], short)])


def _crops(clip: Sequence[Frames], short: int) -> list[Frames]:
    height, width = clip[0].shape[:2]
    size = (short, int(short * height / width)) if width < height else (int(short * width / height), short)
    resized = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in clip])
    step = (max(size) - short) / 2
    starts = [int(j * step) for j in range(3)]
    if resized.shape[1] > resized.shape[2]:
        return [resized[:, start : start + short] for start in starts]
    return [resized[:, :, start : start + short] for start in starts]


def merged(
    views: Frames, model: torch.nn.Module, mean: Sequence[float], std: Sequence[float]
) -> npt.NDArray[np.float64]:
    """(labels,) scores: the softmax of each view, then the mean."""
    scores = []
    for view in views:
        pixels = (torch.from_numpy(view).float() / 255 - torch.tensor(mean)) / torch.tensor(std)
        with torch.inference_mode():
            # (T, H, W, 3) -> (1, T, 3, H, W)
            logits = model(pixels.permute(0, 3, 1, 2)[None]).logits[0]
        scores.append(logits.double().softmax(0).numpy())
    return np.mean(scores, axis=0)

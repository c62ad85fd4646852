"""Clips without labels for masked pre-training: windows of running footage at every scale, and the virtual camera's.

Clip `index` is a pure function of (sources, seed, index), as in `render.py`.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from recipes.camera_motion.motion import FRAMES, SIZE
from recipes.camera_motion.render import Renderer
from recipes.camera_motion.sources import Picture

Clip = npt.NDArray[np.uint8]

FOOTAGE_SHARE = 0.45
# Rendered clips stay near the clean end: noise and compression can't be predicted, so they only cost.
DIFFICULTY = (0.0, 0.6)
STRIDES = (1, 7)


class Unlabelled:
    """Makes clip `index` of a stream: (T, 64, 64, 3) uint8 RGB."""

    def __init__(self, pictures: list[Picture], footage: list[Clip], *, seed: int, textures: int = 60) -> None:
        self._renderer = Renderer(pictures, footage, seed=seed, textures=textures)
        self._footage, self._seed = footage, seed

    def sample(self, index: int) -> Clip:
        """The same arguments give the same bytes."""
        rng = np.random.default_rng([self._seed, 8, index])
        if self._footage and rng.random() < FOOTAGE_SHARE:
            return footage_window(rng, self._footage[int(rng.integers(0, len(self._footage)))])
        return self._renderer.sample(index, difficulty=float(rng.uniform(*DIFFICULTY))).clip


def footage_window(rng: np.random.Generator, footage: Clip) -> Clip:
    """A square window of 64 pixels up to the short side, standing still, over every stride-th frame; mirrored, played
    backwards and lit otherwise now and then."""
    stride = int(rng.integers(*STRIDES))
    stride = min(stride, (len(footage) - 1) // (FRAMES - 1))
    span = (FRAMES - 1) * stride + 1
    first = int(rng.integers(0, len(footage) - span + 1))
    height, width = footage.shape[1:3]
    side = int(np.exp(rng.uniform(np.log(SIZE), np.log(min(height, width)))))
    if rng.random() < 0.25:
        side = min(height, width)  # as the command itself crops
    y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    window = footage[first : first + span : stride, y : y + side, x : x + side]
    if rng.random() < 0.5:
        window = window[::-1]
    if rng.random() < 0.5:
        window = window[:, :, ::-1]
    small = [cv2.resize(np.ascontiguousarray(f), (SIZE, SIZE), interpolation=cv2.INTER_AREA) for f in window]
    image = np.stack(small).astype(np.float32)
    image = (image - 128) * np.exp(rng.normal(0, 0.2)) * (1 + rng.normal(0, 0.05, 3)) + 128 + rng.normal(0, 15)
    return np.clip(image, 0, 255).astype(np.uint8)

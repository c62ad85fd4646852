"""Frames for training, changed at random but all frames of a clip alike: cut out, mirrored, lit and turned otherwise.

Runs where the frame is decoded, like `FrameTransform`. Everything hangs on the seed alone, so that a run that goes on
sees the same clips. The operations and their ranges are RandAugment's (Cubuk et al. 2020) on a scale of 0 to 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
Operation = Callable[[Frame], Frame]


@dataclass(frozen=True)
class AugmentTransform:
    """One uint8 RGB frame (H, W, 3) -> (1, h, w, 3).

    size: (h, w) in pixels; seed: of this clip; scale: the part of the frame's area that is cut out, least and most; ratio:
    width to height of the cut; flip: mirror half of the clips; operations, magnitude: of RandAugment, 0 operations for none;
    erase: how likely a box is greyed out (Zhong et al. 2020).
    """

    size: tuple[int, int]
    seed: int
    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    operations: int = 0
    magnitude: float = 7.0
    erase: float = 0.0

    def __call__(self, frame: Frame) -> Frame:
        import cv2

        top, left, height, width = self._cut(frame.shape[0], frame.shape[1])
        cut = frame[top : top + height, left : left + width]
        shrinks = height * width > self.size[0] * self.size[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(cut, (self.size[1], self.size[0]), interpolation=method), dtype=np.uint8)
        if self._mirrored:
            image = image[:, ::-1]
        for operation in self._operations:
            image = operation(image)
        return np.ascontiguousarray(image)[None]

    def __getstate__(self) -> dict[str, object]:
        """Its fields alone: what is made of them is made again where it arrives."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _cut(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a cut of random area and shape (Szegedy et al. 2015, section 6)."""
        rng = np.random.default_rng([self.seed, 1])
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = float(np.exp(rng.uniform(np.log(self.ratio[0]), np.log(self.ratio[1]))))
            rows, columns = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
            if 0 < rows <= height and 0 < columns <= width:
                return int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1)), rows, columns
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side

    @cached_property
    def _mirrored(self) -> bool:
        return self.flip and bool(np.random.default_rng([self.seed, 2]).random() < 0.5)

    @cached_property
    def _operations(self) -> list[Operation]:
        rng = np.random.default_rng([self.seed, 3])
        chosen = [_OPERATIONS[int(rng.integers(0, len(_OPERATIONS)))] for _ in range(self.operations)]
        # Half of them are left out, and strengths vary, as in the published recipe.
        strengths = np.clip(rng.normal(self.magnitude, 0.5, len(chosen)), 0, 10) / 10
        signs = rng.choice([-1.0, 1.0], len(chosen))
        used = rng.random(len(chosen)) < 0.5
        made = [make(float(s), float(w)) for make, s, w, u in zip(chosen, strengths, signs, used, strict=True) if u]
        if rng.random() < self.erase:
            made.append(_erased(rng, self.size))
        return made


def _uint8(levels: npt.NDArray[np.floating]) -> Frame:
    return np.asarray(np.clip(np.rint(levels), 0, 255), dtype=np.uint8)


def _mapped(table: npt.NDArray[np.floating]) -> Operation:
    """By a table of what each of 256 levels becomes."""
    levels = np.clip(np.round(table), 0, 255).astype(np.uint8)
    return lambda image: np.asarray(levels[image], dtype=np.uint8)


def _moved(matrix: list[list[float]]) -> Operation:
    """By an affine map around the middle, grey where nothing comes from."""

    def move(image: Frame) -> Frame:
        import cv2

        height, width = image.shape[:2]
        a, b, x = matrix[0]
        c, d, y = matrix[1]
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        shift_x = x * width + middle_x - a * middle_x - b * middle_y
        shift_y = y * height + middle_y - c * middle_x - d * middle_y
        whole = np.array([[a, b, shift_x], [c, d, shift_y]])
        moved = cv2.warpAffine(
            np.ascontiguousarray(image), whole, (width, height), flags=cv2.INTER_LINEAR, borderValue=(124, 116, 104)
        )
        return np.asarray(moved, dtype=np.uint8)

    return move


def _turned(strength: float, sign: float) -> Operation:
    angle = np.deg2rad(30 * strength * sign)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return _moved([[cos, -sin, 0.0], [sin, cos, 0.0]])


def _saturated(strength: float, sign: float) -> Operation:
    """Towards grey, or away from it."""

    def change(image: Frame) -> Frame:
        grey = image @ np.array([0.299, 0.587, 0.114])
        factor = 1 + 0.9 * strength * sign
        return _uint8(grey[..., None] + (image - grey[..., None]) * factor)

    return change


def _equalized(strength: float, sign: float) -> Operation:
    def change(image: Frame) -> Frame:
        import cv2

        return np.stack([np.asarray(cv2.equalizeHist(np.ascontiguousarray(image[..., c]))) for c in range(3)], axis=-1)

    return change


def _stretched(strength: float, sign: float) -> Operation:
    """Each channel over the whole range."""

    def change(image: Frame) -> Frame:
        low = image.min(axis=(0, 1)).astype(np.float32)
        high = image.max(axis=(0, 1)).astype(np.float32)
        there = high > low  # a channel of one level has nothing to stretch
        return np.where(there, _uint8((image - low) * (255 / np.maximum(high - low, 1))), image)

    return change


def _sharpened(strength: float, sign: float) -> Operation:
    """Sharper, or softer."""

    def change(image: Frame) -> Frame:
        import cv2

        soft = cv2.GaussianBlur(np.ascontiguousarray(image), (3, 3), 0).astype(np.float32)
        factor = 1 + 0.9 * strength * sign
        return _uint8(soft + (image - soft) * factor)

    return change


def _erased(rng: np.random.Generator, size: tuple[int, int]) -> Operation:
    """A box of 2 to 33 % of the picture filled with noise, the same in every frame."""
    area = size[0] * size[1] * float(rng.uniform(0.02, 0.33))
    ratio = float(np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3))))
    rows = max(1, min(size[0], round((area / ratio) ** 0.5)))
    columns = max(1, min(size[1], round((area * ratio) ** 0.5)))
    top, left = int(rng.integers(0, size[0] - rows + 1)), int(rng.integers(0, size[1] - columns + 1))
    noise = rng.integers(0, 256, (rows, columns, 3)).astype(np.uint8)

    def fill(image: Frame) -> Frame:
        filled = image.copy()
        filled[top : top + rows, left : left + columns] = noise
        return filled

    return fill


_LEVELS = np.arange(256.0)
# strength in [0, 1], sign -1 or 1 -> what is done to a frame
_OPERATIONS: list[Callable[[float, float], Operation]] = [
    _turned,
    lambda s, w: _moved([[1.0, 0.3 * s * w, 0.0], [0.0, 1.0, 0.0]]),  # sheared sideways
    lambda s, w: _moved([[1.0, 0.0, 0.0], [0.3 * s * w, 1.0, 0.0]]),  # and upwards
    lambda s, w: _moved([[1.0, 0.0, 0.45 * s * w], [0.0, 1.0, 0.0]]),  # moved
    lambda s, w: _moved([[1.0, 0.0, 0.0], [0.0, 1.0, 0.45 * s * w]]),
    lambda s, w: _mapped(_LEVELS * (1 + 0.9 * s * w)),  # brightness
    lambda s, w: _mapped((_LEVELS - 128) * (1 + 0.9 * s * w) + 128),  # contrast
    lambda s, w: _mapped(np.where(256 * (1 - s) <= _LEVELS, 255 - _LEVELS, _LEVELS)),  # solarised
    lambda s, w: _mapped(np.where(_LEVELS < 128, _LEVELS + 110 * s, _LEVELS)),  # the dark part lighter
    lambda s, w: _mapped(np.floor(_LEVELS / 2 ** round(4 * s)) * 2 ** round(4 * s)),  # fewer levels
    lambda s, w: _mapped(255 - _LEVELS),  # inverted
    _saturated,
    _sharpened,
    _equalized,
    _stretched,
]

"""Augments training frames at random as the official code does: RandAugment on the whole frame, a crop, a flip.

Frames of larger videos are first reduced to the size of the authors' videos.

Runs where the frame is decoded, like `FrameTransform`. All random choices depend on the seed alone and are the same for
all frames of a clip, so that a resumed run sees the same clips. Order and parameters are those of MCG-NJU/VideoMAE
14ef8d8 (`kinetics.py`, `rand_augment.py` with "rand-m7-n4-mstd0.5-inc1", `transforms.py`); random erasing comes after
the pixels are normalised, so it is in `training.mixing`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from videomae_cli.video.preprocess import resize_frame

if TYPE_CHECKING:
    from PIL import Image

Frame = npt.NDArray[np.uint8]
# (top, left, height, width) in pixels
Box = tuple[int, int, int, int]

GREY = (128, 128, 128)
TOP_MAGNITUDE = 10.0
# Pixels of the short side of the authors' Kinetics videos (DATASET.md); their other videos are smaller. On 1080 rows
# RandAugment takes ten times as long, and a crop resized without a filter has aliasing that no published clip had.
TOP_SIDE = 320
# The sides that a pre-training crop may have, as fractions of the frame's short side.
CROP_SIDES = (1.0, 0.875, 0.75, 0.66)
# A side that differs from the target size by at most this many pixels counts as equal to it, to avoid a resize (TSN's
# code).
_NEAR = 3


@dataclass(frozen=True)
class AugmentTransform:
    """Turns one uint8 RGB frame (H, W, 3) into views (views, h, w, 3), each augmented differently.

    size: (h, w) in pixels; seed: of this clip; scale: smallest and largest fraction of the frame's area that a crop
    has, None for pre-training's crops, which have a few fixed sizes and places; ratio: smallest and largest aspect
    ratio (width / height) of a crop; flip: mirror half of the views; operations, magnitude, deviation: RandAugment's, 0
    operations for none; views: number of views per clip.
    """

    size: tuple[int, int]
    seed: int
    scale: tuple[float, float] | None = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333)
    flip: bool = False
    operations: int = 0
    magnitude: float = 7.0
    deviation: float = 0.5
    views: int = 1

    def __call__(self, frame: Frame) -> Frame:
        if self.scale is not None:
            frame = _as_published(frame)
        return np.stack([self._view(frame, number) for number in range(self.views)])

    def __getstate__(self) -> dict[str, object]:
        """Pickle only the fields; the process that receives them draws again from the seed."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _view(self, frame: Frame, number: int) -> Frame:
        chosen = self._chosen[number]
        if chosen:
            from PIL import Image

            picture = Image.fromarray(frame)
            for name, amount in chosen:
                picture = changed(picture, name, amount)
            frame = np.asarray(picture, dtype=np.uint8)
        top, left, height, width = self._cut(frame.shape[0], frame.shape[1], number)
        # As in the official code: pre-training resizes with PIL, which antialiases; fine-tuning with plain bilinear.
        method = "antialias" if self.scale is None else "opencv"
        cut = np.ascontiguousarray(frame[top : top + height, left : left + width])
        image = cut if cut.shape[:2] == self.size else resize_frame(cut, self.size, method, "bilinear")
        return image[:, ::-1] if self._mirrored[number] else image

    def _cut(self, height: int, width: int, number: int = 0) -> Box:
        """Choose at random the part of a frame of this size that view `number` shows."""
        rng = np.random.default_rng([self.seed, number, 1])
        if self.scale is None:
            boxes = fixed_crops(height, width, self.size)
            sizes = boxes[int(rng.integers(len(boxes)))]
            return sizes[int(rng.integers(len(sizes)))]
        for _ in range(10):
            shape = crop_shape(height, width, rng.uniform(*self.scale), math.exp(rng.uniform(*np.log(self.ratio))))
            if shape is not None:
                rows, columns = shape
                return int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns
        return central_crop(height, width, self.ratio)

    @cached_property
    def _mirrored(self) -> list[bool]:
        draws = (np.random.default_rng([self.seed, number, 2]).random() for number in range(self.views))
        return [self.flip and draw < 0.5 for draw in draws]

    @cached_property
    def _chosen(self) -> list[list[tuple[str, float]]]:
        """Draw RandAugment's operations for every view, with their strengths.

        Operations are drawn with repetition, and each is left out half of the time.
        """
        views = []
        for number in range(self.views):
            rng = np.random.default_rng([self.seed, number, 3])
            names = [OPERATIONS[int(rng.integers(len(OPERATIONS)))] for _ in range(self.operations)]
            levels = np.clip(rng.normal(self.magnitude, self.deviation, len(names)), 0, TOP_MAGNITUDE)
            signs = rng.choice([-1.0, 1.0], len(names))
            used = rng.random(len(names)) < 0.5
            drawn = zip(names, levels, signs, used, strict=True)
            views.append([(name, strength(name, level, sign)) for name, level, sign, use in drawn if use])
        return views


def _as_published(frame: Frame) -> Frame:
    """Reduce the frame's short side to `TOP_SIDE` pixels if it is longer."""
    height, width = frame.shape[:2]
    factor = TOP_SIDE / min(height, width)
    size = (round(height * factor), round(width * factor))
    return frame if factor >= 1 else resize_frame(frame, size, "antialias", "bilinear")


def crop_shape(height: int, width: int, fraction: float, ratio: float) -> tuple[int, int] | None:
    """Return (rows, columns) of a crop with this fraction of the area and this aspect ratio; None if it doesn't fit."""
    area = fraction * height * width
    rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
    return (rows, columns) if 0 < rows <= height and 0 < columns <= width else None


def central_crop(height: int, width: int, ratio: tuple[float, float]) -> Box:
    """Return the largest box around the centre whose aspect ratio (width / height) lies within `ratio`."""
    rows, columns = height, width
    if width / height < min(ratio):
        rows = max(1, round(width / min(ratio)))
    elif width / height > max(ratio):
        columns = max(1, round(height * max(ratio)))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def fixed_crops(height: int, width: int, size: tuple[int, int]) -> list[list[Box]]:
    """List the crops of pre-training (TSN, section 3.2): 13 places for each shape.

    A side is one of four fractions of the frame's short side, and the two sides of a crop are equal or neighbours in
    that list. The places are the corners, the middles of the edges, the centre, and the centres of the four quarters.
    """
    short = min(height, width)
    sides = [int(short * part) for part in CROP_SIDES]
    rows, columns = ([min(s, short) if abs(side - s) < _NEAR else max(1, side) for side in sides] for s in size)
    shapes = [(r, c) for i, r in enumerate(rows) for j, c in enumerate(columns) if abs(i - j) <= 1]
    # (down, right) offset of the crop, in quarters of the free space around it
    places = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)] + [(y, x) for y in (1, 3) for x in (1, 3)]
    return [[((height - r) // 4 * y, (width - c) // 4 * x, r, c) for y, x in places] for r, c in shapes]


# RandAugment's operations, all equally likely. Their strength grows with the level ("inc1").
OPERATIONS = [
    "auto-contrast",
    "equalize",
    "invert",
    "rotate",
    "posterize",
    "solarize",
    "solarize-add",
    "colour",
    "contrast",
    "brightness",
    "sharpness",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
]


def strength(name: str, level: float, sign: float) -> float:
    """Convert `level` (0 to 10) to the parameter of an operation; 0.0 for an operation without one.

    The unit is the operation's own: degrees for rotate, a shear, a fraction of the side for translate, bits to keep for
    posterize, a threshold for solarize, levels to add for solarize-add, or a factor of the enhancement.
    """
    part = level / TOP_MAGNITUDE
    match name:
        case "rotate":
            return sign * part * 30
        case "shear-x" | "shear-y":
            return sign * part * 0.3
        case "translate-x" | "translate-y":
            return sign * part * 0.45
        case "posterize":
            return 4 - int(part * 4)
        case "solarize":
            return 256 - int(part * 256)
        case "solarize-add":
            return int(part * 110)
        case "colour" | "contrast" | "brightness" | "sharpness":
            return 1 + sign * part * 0.9
    return 0.0


def changed(image: Image.Image, name: str, amount: float) -> Image.Image:
    """Apply one of `OPERATIONS` with this `strength`; areas that a moved picture leaves empty become grey."""
    from PIL import Image, ImageEnhance, ImageOps

    def moved(a: float, b: float, x: float, c: float, d: float, y: float) -> Image.Image:
        """Fetch each pixel from the place that an affine map gives."""
        return image.transform(
            image.size, Image.Transform.AFFINE, (a, b, x, c, d, y), Image.Resampling.BICUBIC, fillcolor=GREY
        )

    match name:
        case "auto-contrast":
            return ImageOps.autocontrast(image)
        case "equalize":
            return ImageOps.equalize(image)
        case "invert":
            return ImageOps.invert(image)
        case "rotate":
            return image.rotate(amount, Image.Resampling.BICUBIC, fillcolor=GREY)
        case "posterize":
            # Pillow's own posterize refuses to keep zero bits, which is what the published level 10 means.
            mask = 256 - 2 ** (8 - int(amount))
            return image.point([v & mask for v in range(256)] * 3)
        case "solarize":
            return ImageOps.solarize(image, int(amount))
        case "solarize-add":
            return image.point([min(255, v + int(amount)) if v < 128 else v for v in range(256)] * 3)
        case "shear-x":
            return moved(1, amount, 0, 0, 1, 0)
        case "shear-y":
            return moved(1, 0, 0, amount, 1, 0)
        case "translate-x":
            return moved(1, 0, amount * image.width, 0, 1, 0)
        case "translate-y":
            return moved(1, 0, 0, 0, 1, amount * image.height)
        case "colour":
            return ImageEnhance.Color(image).enhance(amount)
        case "contrast":
            return ImageEnhance.Contrast(image).enhance(amount)
        case "brightness":
            return ImageEnhance.Brightness(image).enhance(amount)
    return ImageEnhance.Sharpness(image).enhance(amount)

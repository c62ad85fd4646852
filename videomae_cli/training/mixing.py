"""Random erasing (Zhong et al. 2020), mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019) of normalised clips.

Mixup and cutmix combine two clips into one, whose soft targets state the fraction of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Ranges of the boxes that random erasing fills: fraction of the picture's area, and height to width.
ERASED = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 1 / 0.3)


def erase(clips: Tensor, probability: float, rng: np.random.Generator) -> Tensor:
    """Fill a box with standard normal noise in some of the normalised clips (B, T, C, H, W).

    probability: that a clip gets a box. The box has the same place in all frames, but new noise in every frame.
    """
    height, width = clips.shape[-2:]
    clips = clips.clone() if probability else clips
    for place in range(len(clips)):
        # A seed is drawn for every clip, erased or not, so that skipping one clip changes nothing for the next.
        own = np.random.default_rng(rng.integers(2**62))
        if own.random() >= probability:
            continue
        box = _erased_box(height, width, own)
        if box is None:
            continue
        top, left, rows, columns = box
        noise = own.standard_normal((*clips.shape[1:3], rows, columns), dtype=np.float32)
        clips[place, ..., top : top + rows, left : left + columns] = torch.from_numpy(noise).to(clips)
    return clips


def _erased_box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Return (top, left, rows, columns) of a box smaller than the picture both ways; None if 100 draws find none."""
    for _ in range(100):
        fraction, ratio = rng.uniform(*ERASED), math.exp(rng.uniform(*np.log(ERASED_RATIO)))
        rows, columns = erased_shape(height, width, fraction, ratio)
        if rows < height and columns < width:
            return int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns
    return None


def erased_shape(height: int, width: int, fraction: float, ratio: float) -> tuple[int, int]:
    """Return (rows, columns) of a box with this fraction of the picture's area and this ratio of height to width."""
    area = fraction * height * width
    return round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))


@dataclass(frozen=True)
class Mixing:
    """Mixes the clips of a batch; mixup, cutmix: alpha of each one's beta distribution, 0 to leave it out.

    If both are on, each is used half of the time.
    """

    mixup: float = 0.8
    cutmix: float = 1.0

    def __call__(self, clips: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Mix clips (B, T, C, H, W) and targets (B, classes) with those of the same batch in reverse order.

        The box of cutmix is the same in all frames.
        """
        if not (self.mixup or self.cutmix) or len(clips) < 2:
            return clips, targets
        cut = self.cutmix > 0 and (self.mixup == 0 or rng.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        kept = float(rng.beta(alpha, alpha))
        other = clips.flip(0)
        if cut:
            clips = clips.clone()
            height, width = clips.shape[-2:]
            rows, columns = _box(rng, height, kept), _box(rng, width, kept)
            clips[..., rows, columns] = other[..., rows, columns]
            # recompute the fraction that stays, since the edges may have cut off part of the box
            kept = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        else:
            clips = clips * kept + other * (1 - kept)
        return clips, targets * kept + targets.flip(0) * (1 - kept)


def _box(rng: np.random.Generator, size: int, kept: float) -> slice:
    """Return one side of a box with 1 - kept of the area, around a random centre, clipped at the edges."""
    half = int(size * (1 - kept) ** 0.5) // 2
    centre = int(rng.integers(0, size))
    return slice(max(0, centre - half), min(size, centre + half))


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """Apply label smoothing: spread the fraction `smoothing` of targets (B, classes) evenly over all classes."""
    return targets * (1 - smoothing) + smoothing / targets.shape[1]


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Convert class numbers (B,) to (B, classes) float32; multi-label targets (B, classes) are returned unchanged."""
    return labels.float() if labels.ndim == 2 else functional.one_hot(labels, classes).float()


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the cross entropy of logits (B, classes) with targets that sum to 1."""
    return -(targets * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1).mean()

"""Two clips in one: mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019), with targets that say how much of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Mixing:
    """alpha of each one's beta distribution; 0 leaves it out. With both, either is as likely as the other."""

    mixup: float = 0.8
    cutmix: float = 1.0

    @property
    def on(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def __call__(self, clips: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Clips (B, T, C, H, W) and targets (B, classes), each with those of the batch in reverse order mixed in. The box of
        cutmix is the same in all frames."""
        if not self.on or len(clips) < 2:
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
            # what the box really took, after the edges cut it
            kept = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        else:
            clips = clips * kept + other * (1 - kept)
        return clips, targets * kept + targets.flip(0) * (1 - kept)


def _box(rng: np.random.Generator, size: int, kept: float) -> slice:
    """One side of a box that takes 1 - kept of the area, around a random centre, cut off at the edges."""
    half = int(size * (1 - kept) ** 0.5) // 2
    centre = int(rng.integers(0, size))
    return slice(max(0, centre - half), min(size, centre + half))


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """(B, classes) that sum to 1, `smoothing` of each spread over all classes."""
    return targets * (1 - smoothing) + smoothing / targets.shape[1]


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B,) class numbers to (B, classes) float32; several labels at once, (B, classes), as they are."""
    return labels.float() if labels.ndim == 2 else functional.one_hot(labels, classes).float()


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of logits (B, classes) with targets that sum to 1."""
    return -(targets * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1).mean()

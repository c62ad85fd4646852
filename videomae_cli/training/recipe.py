"""The numbers of a fine-tuning: the published ones, scaled to batch and data, or what the user says. No torch.

Published (VideoMAE, Kinetics-400, ViT-B; Tong et al. 2022, appendix, and the scripts that go with it): AdamW with betas
0.9 and 0.999, weight decay 0.05, base rate 5e-4 for each 256 clips of a batch of 384 to 512, 5 epochs of warm-up, half a
cosine down, 75 to 100 epochs, layer decay 0.75, drop path 0.1, label smoothing 0.1, mixup 0.8, cutmix 1.0, RandAugment
of 4 operations at magnitude 7, random erasing 0.25.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from videomae_cli.errors import OptionError

PUBLISHED_BATCH = 512
PUBLISHED_LR = 5e-4 * PUBLISHED_BATCH / 256
# Below it mixed clips and strong changes cost more than they bring, since there are few steps to learn them in.
FEW_CLIPS = 1000
# Fewer than these make no fine-tuning, whatever the number of epochs that says.
LEAST_STEPS = 1000
_SIDED = re.compile(r"\b(left|right|clockwise|anti-?clockwise)\b|counter-?clockwise", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """lr: peak, of the top layer; floor: part of it that is left at the end; warmup: epochs; ema: how much of the averaged
    weights a step leaves, None for no average; operations, magnitude: of RandAugment; erase: how often; repeats: of each
    clip in an epoch, each time drawn anew; scale: least part of a frame's area that a clip shows."""

    epochs: int
    batch: int
    accumulate: int = 1
    lr: float
    floor: float = 0.01
    warmup: float = 5.0
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    drop_path: float = 0.1
    smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0
    operations: int = 4
    magnitude: float = 7.0
    erase: float = 0.25
    repeats: int = 1
    scale: float = 0.5
    flip: bool = True
    ema: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "repeats"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("lr", "layer_decay", "scale"):
            if not 0 < getattr(self, name) <= 1:
                raise OptionError(
                    f"{name.replace('_', '-')} must be more than 0 and at most 1, not {getattr(self, name):g}"
                )
        for name in ("drop_path", "smoothing", "erase", "floor", "ema"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise OptionError(f"{name.replace('_', '-')} must be at least 0 and below 1, not {value:g}")
        for name in ("mixup", "cutmix", "weight_decay", "warmup", "operations"):
            if not 0 <= getattr(self, name) < 1000:
                raise OptionError(f"{name.replace('_', '-')} can't be {getattr(self, name):g}")

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "betas": list(self.betas)}


def recipe_for(
    *, clips: int, labels: Sequence[str], world: int = 1, multi_label: bool = False, asked: dict[str, Any]
) -> Recipe:
    """For `clips` training clips on `world` processes; asked: what the user says instead, None for what they don't.

    A step has at most 512 clips and an epoch at least four steps where the data allows it. The rate goes with the square
    root of the batch, as AdamW's noise does (Malladi et al. 2022). Epochs: 75 from 100,000 clips on, 100 below, and more only
    where 100 would not make a thousand steps. Labels that tell left from right keep clips from being mirrored.
    """
    said = {name: value for name, value in asked.items() if value is not None}
    batch = said.pop("batch", None) or max(1, min(16, clips // (4 * world)))
    accumulate = said.pop("accumulate", 1)
    step_clips = batch * accumulate * world
    steps = max(1, clips * said.get("repeats", 1) // step_clips)
    epochs = 75 if clips >= 100_000 else min(300, max(100, -(-LEAST_STEPS // steps)))
    few = clips < FEW_CLIPS
    values: dict[str, Any] = {
        "epochs": epochs,
        "batch": batch,
        "accumulate": accumulate,
        "lr": PUBLISHED_LR * (min(step_clips, PUBLISHED_BATCH) / PUBLISHED_BATCH) ** 0.5,
        "flip": not any(_SIDED.search(label) for label in labels),
        **({"mixup": 0.0, "cutmix": 0.0, "operations": 2, "magnitude": 5.0, "erase": 0.0} if few else {}),
        # a soft mixture of several labels at once is no probability of each
        **({"mixup": 0.0, "cutmix": 0.0, "smoothing": 0.0} if multi_label else {}),
        **said,
    }
    values["warmup"] = min(values.get("warmup", 5.0), values["epochs"] / 5) if "warmup" not in said else said["warmup"]
    return Recipe(**values)

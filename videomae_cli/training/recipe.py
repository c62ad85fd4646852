"""Chooses hyperparameters: the published ones, ones that suit small data better, or the user's. Imports no torch.

Published means the official scripts and the defaults of the programs they call (MCG-NJU/VideoMAE 14ef8d8: `scripts/`,
`run_class_finetuning.py`, `run_mae_pretraining.py`, `optim_factory.py`, `utils.py`). docs/training.md lists them in a
table, with what `default` changes and the commands that measured it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from videomae_cli.errors import OptionError, check_choice
from videomae_cli.visible import counted

RECIPES = ("default", "paper", "paper-kinetics", "paper-ssv2", "paper-ucf101")
# Published learning rates are for this many clips per step, and scale linearly with that number.
RATE_CLIPS = 256
# With fewer clips than this, mixing and strong augmentation hurt: there are too few steps to profit from them.
FEW_CLIPS = 1000
_FEW = {"mixup": 0.0, "cutmix": 0.0, "operations": 2, "magnitude": 5.0}
# Clips that one process takes at once by default.
AT_ONCE = 16
# Option name -> name of the same number in a recipe, where they differ.
IN_RECIPE = {
    "batch_size": "batch",
    "crop_scale": "scale",
    "head_init_scale": "head_scale",
    "label_smoothing": "smoothing",
    "augment_ops": "operations",
    "augment_magnitude": "magnitude",
}
_OPTIONS = {inside: option for option, inside in IN_RECIPE.items()}
# For checking options before the data is known: fewer clips lower the default rates, so what fails here fails with any data.
MANY_CLIPS = 1_000_000
SIZES = ("small", "base", "large", "huge")
_SIDED = re.compile(r"\b(left|right|clockwise|anti-?clockwise)\b|counter-?clockwise", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Published:
    """The hyperparameters in which the official scripts differ.

    rate, floor: per 256 clips of a step; batch: clips per step, of all GPUs.
    """

    rate: float
    epochs: int
    batch: int = 384
    floor: float = 1e-6
    layer_decay: float = 0.75
    drop_path: float = 0.1
    head_dropout: float = 0.0
    flip: bool = True
    mask_ratio: float = 0.9


# If two scripts differ only in the pre-training they start from, the one with the longer pre-training is used.
FINE_TUNING = {
    ("kinetics", "small"): Published(rate=5e-4, epochs=150),
    ("kinetics", "base"): Published(rate=5e-4, epochs=75),
    ("kinetics", "large"): Published(rate=2e-3, epochs=35, batch=128),
    ("kinetics", "huge"): Published(rate=1e-3, epochs=50, batch=512, floor=1e-5, drop_path=0.2, head_dropout=0.5),
    ("ssv2", "small"): Published(rate=1e-3, epochs=40, layer_decay=0.7, flip=False),
    ("ssv2", "base"): Published(rate=5e-4, epochs=30, flip=False),
    ("ucf101", "base"): Published(
        rate=5e-4, epochs=100, batch=128, floor=1e-5, layer_decay=0.7, drop_path=0.2, head_dropout=0.5
    ),
}
# In pre-training, SSv2's clips are dense too: every second frame.
PRETRAINING = {
    ("kinetics", "small"): Published(rate=1.5e-4, floor=1e-5, epochs=800, batch=1024),
    ("kinetics", "base"): Published(rate=1.5e-4, floor=1e-5, epochs=800, batch=2048),
    ("kinetics", "large"): Published(rate=1.5e-4, floor=1e-5, epochs=1600, batch=512),
    ("kinetics", "huge"): Published(rate=1.5e-4, floor=1e-5, epochs=1600, batch=1024),
    ("ssv2", "base"): Published(rate=1.5e-4, floor=1e-5, epochs=800, batch=2048),
    ("ucf101", "base"): Published(rate=3e-4, floor=1e-5, epochs=3200, batch=192, mask_ratio=0.75),
}
SSV2_STRIDE = 2


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """The hyperparameters that fine-tuning and pre-training have in common.

    lr, min_lr: the top layer's rate, at the peak and at the end; warmup: epochs in which the rate rises; clip_grad:
    upper bound of the gradient's norm, 0 for no bound; repeats: how often a file is drawn per epoch, with another
    random clip each time.
    """

    name: str = "default"
    epochs: int
    batch: int
    accumulate: int = 1
    lr: float
    min_lr: float
    warmup: float
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    clip_grad: float = 0.0
    repeats: int = 1

    def __post_init__(self) -> None:
        _check(self, ("epochs", "batch", "accumulate", "repeats"), lambda v: v >= 1, "at least 1")
        _check(self, ("lr",), lambda v: 0 < v <= 1, "more than 0 and at most 1")
        _check(self, ("min_lr",), lambda v: 0 <= v <= self.lr, f"at least 0 and at most the peak of {self.lr:g}")
        _check(self, ("warmup", "weight_decay", "clip_grad"), lambda v: 0 <= v < 1000, "at least 0 and below 1000")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise OptionError.about(
                "betas", "betas must be two numbers from 0 to below 1, not {betas}", betas=_listed(self.betas)
            )

    @property
    def floor(self) -> float:
        """Return the rate at the end as a fraction of its peak."""
        return self.min_lr / self.lr

    @property
    def _rates(self) -> str:
        """Describe the optimizer's settings in a line for people."""
        clipped = f"at most {self.clip_grad:g}" if self.clip_grad else "not bounded"
        return (
            f"AdamW with betas {_listed(self.betas)}, rate from 0 in {self.warmup:g} {'epoch' if self.warmup == 1 else 'epochs'} to {self.lr:.3g} and down to "
            f"{self.min_lr:.2g}, weight decay {self.weight_decay:g}, gradient {clipped}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the hyperparameters as plain values, for JSON."""
        return {**asdict(self), "betas": list(self.betas)}


@dataclass(frozen=True, kw_only=True)
class Recipe(_Numbers):
    """The hyperparameters of a fine-tuning run.

    ema: decay of the averaged weights, None for no average; operations, magnitude: of RandAugment; erase: probability that a
    box is filled with noise; views: number of differently augmented views of each clip drawn; scale: smallest part of a
    frame's area that a crop shows; head_scale: factor of a new classifier's initial weights.
    """

    layer_decay: float = 0.75
    drop_path: float = 0.1
    head_dropout: float = 0.0
    head_scale: float = 0.001
    smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0
    operations: int = 4
    magnitude: float = 7.0
    erase: float = 0.25
    views: int = 2
    scale: float = 0.08
    flip: bool = True
    ema: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, ("views",), lambda v: v >= 1, "at least 1")
        _check(self, ("layer_decay", "scale"), lambda v: 0 < v <= 1, "more than 0 and at most 1")
        parts = ("drop_path", "head_dropout", "smoothing", "ema")
        _check(self, parts, lambda v: 0 <= v < 1, "at least 0 and below 1")
        _check(self, ("erase",), lambda v: 0 <= v <= 1, "from 0 to 1")
        _check(self, ("magnitude",), lambda v: 0 <= v <= 10, "from 0 to 10")
        _check(self, ("mixup", "cutmix", "operations", "head_scale"), lambda v: 0 <= v < 1000, "from 0 to below 1000")

    def lines(self) -> list[str]:
        """Describe the numbers in use, for people."""
        changes = f"RandAugment {self.operations} at {self.magnitude:g}" if self.operations else "no RandAugment"
        mixing = f"mixup {self.mixup:g}, cutmix {self.cutmix:g}" if self.mixup or self.cutmix else "no mixing"
        return [
            f"{self._rates}, layer decay {self.layer_decay:g}",
            f"{counted(self.views, 'view')} of a clip, from {self.scale:.0%} of the area, {'mirrored' if self.flip else 'not mirrored'}, {changes}, "
            f"erasing {self.erase:g}, {mixing}, smoothing {self.smoothing:g}, drop path {self.drop_path:g}, "
            f"head dropout {self.head_dropout:g}",
        ]


@dataclass(frozen=True, kw_only=True)
class MaskedRecipe(_Numbers):
    """The hyperparameters of a pre-training run.

    scale: smallest part of a frame's area that a crop shows, None for the published crops of a few fixed sizes and places.
    """

    betas: tuple[float, float] = (0.9, 0.95)
    mask: str = "tube"
    mask_ratio: float = 0.9
    scale: float | None = None
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, ("mask_ratio",), lambda v: 0 < v < 1, "more than 0 and below 1")
        _check(self, ("scale",), lambda v: 0 < v <= 1, "more than 0 and at most 1")

    def lines(self) -> list[str]:
        """Describe the numbers in use, for people."""
        crops = f"crops from {self.scale:.0%} of the area" if self.scale else "crops of 66 to 100% of the short side"
        return [f"{self._rates}; {crops}, {'mirrored' if self.flip else 'not mirrored'}"]


def _batches(clips: int, world: int, said: Mapping[str, Any], target: int | None) -> tuple[int, int]:
    """Return (clips per batch in each process, batches per step). target: clips per step, if the data has that many.

    Without a target, a step is small enough for an epoch to have four of them.
    """
    total = min(target, clips) if target else clips // 4
    batch = said.get("batch", max(1, min(AT_ONCE, total // world)))
    filled = max(1, round(total / (batch * world))) if target and "batch" not in said else 1
    return batch, said.get("accumulate", filled)


def recipe_for(
    *,
    clips: int,
    labels: Sequence[str],
    world: int = 1,
    multi_label: bool = False,
    asked: Mapping[str, Any],
    name: str = "default",
    family: str = "dense",
    width: int = 768,
) -> Recipe:
    """Choose the recipe for `clips` training clips on `world` processes.

    asked: the numbers that the user gave, None for the others; name: one of `RECIPES`; family: how the frames of a clip
    are sampled, which tells Something-Something from Kinetics; width: of the model, which tells its size. Labels that
    tell left from right keep clips from being mirrored.
    """
    script = published(FINE_TUNING, name, family=family, width=width)
    values = {
        "layer_decay": script.layer_decay,
        "drop_path": script.drop_path,
        "head_dropout": script.head_dropout,
        "flip": script.flip and not any(_SIDED.search(label) for label in labels),
        **(_FEW if name == "default" and clips < FEW_CLIPS else {}),
        # mixing several independent labels would not give a probability for each
        **({"mixup": 0.0, "cutmix": 0.0, "smoothing": 0.0} if multi_label else {}),
    }
    return Recipe(**values | _numbers(script, name, clips, world, asked, warmup=5.0))


def masked_recipe_for(
    *, clips: int, world: int = 1, asked: Mapping[str, Any], name: str = "default", width: int = 768
) -> MaskedRecipe:
    """Choose the recipe for pre-training; the arguments are those of `recipe_for`."""
    script = published(PRETRAINING, name, width=width)
    return MaskedRecipe(**{"mask_ratio": script.mask_ratio} | _numbers(script, name, clips, world, asked, warmup=40.0))


def _numbers(
    script: Published, name: str, clips: int, world: int, asked: Mapping[str, Any], *, warmup: float
) -> dict[str, Any]:
    """Return the numbers that the user gave, and those of `_Numbers` that follow from the size of a step."""
    said = {key: value for key, value in asked.items() if value is not None}
    batch, accumulate = _batches(clips, world, said, script.batch if name != "default" else None)
    step = batch * accumulate * world
    linear = step / RATE_CLIPS
    rate = _by_root(script, step) if name == "default" else script.rate * linear
    values = {"name": name, "epochs": script.epochs, "lr": rate, **said, "batch": batch, "accumulate": accumulate}
    # As published if the run is longer than that, else a fifth of the run.
    values.setdefault("warmup", warmup if values["epochs"] > warmup else values["epochs"] / 5)
    values.setdefault("min_lr", min(script.floor * linear, values["lr"]))
    return values


def _by_root(script: Published, step: int) -> float:
    """Scale the published rate by the square root of the step's size, as AdamW's noise grows (Malladi et al. 2022)."""
    return script.rate * script.batch / RATE_CLIPS * math.sqrt(min(step, script.batch) / script.batch)


def published(
    scripts: Mapping[tuple[str, str], Published], name: str, *, family: str = "dense", width: int = 768
) -> Published:
    """Return the official script for a model of this width. Raises OptionError for an unknown recipe.

    If there is no script for this size: for Something-Something the Kinetics script without mirroring, else the one for
    base.
    """
    check_choice("recipe", name, RECIPES)
    data = name.partition("-")[2] or ("ssv2" if family == "segments" else "kinetics")
    size = SIZES[sum(width > widest for widest in (384, 768, 1024))]
    found = scripts.get((data, size))
    if found is None and data == "ssv2":
        return replace(scripts["kinetics", size], flip=False)
    return found or scripts[data, "base"]


def _check(recipe: Any, names: Sequence[str], holds: Any, words: str) -> None:
    for name in names:
        value = getattr(recipe, name)
        if value is not None and not holds(value):
            option = option_of(name)
            reason = "{@" + option + "} must be {words}, not {value:g}"
            raise OptionError.about(option, reason, words=words, value=value)


def option_of(name: str) -> str:
    """Return the option that sets a field of a recipe."""
    return _OPTIONS.get(name, name)


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)

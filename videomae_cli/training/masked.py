"""Pre-training as a task: most of a clip is hidden, and the model learns to fill it in (Tong et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from videomae_cli.datasets import Example
from videomae_cli.errors import OptionError, check_choice
from videomae_cli.model import VideoMAEForPreTraining
from videomae_cli.model.masking import MASKS
from videomae_cli.training.checkpoint import described, save_checkpoint
from videomae_cli.training.clip_task import ClipTask, Start
from videomae_cli.training.feed import ClipBatch
from videomae_cli.training.recipe import MaskedRecipe
from videomae_cli.video import AugmentTransform, DecodedVideo


def check_masks(grid: tuple[int, int, int], recipe: MaskedRecipe) -> None:
    """Raise OptionError for masks that hide nothing of a model with this (time, height, width) grid of tokens."""
    check_choice("mask", recipe.mask, MASKS)
    slots, height, width = grid
    units = {"tube": (height * width, "places"), "random": (slots * height * width, "tokens")}
    count, unit = units.get(recipe.mask, (slots, "time slots"))
    # At least one token stays visible, since the ratio is below 1 and the number of hidden tokens is rounded down.
    if int(recipe.mask_ratio * count):
        return
    if count == 1:
        reason = "a {mask} mask can't hide a part of the one that there is of {unit}: choose another"
        raise OptionError.about("mask", reason, mask=recipe.mask, unit=unit)
    least = math.ceil(1e4 / count) / 1e4
    raise OptionError.about(
        "mask_ratio",
        "{@mask_ratio:{ratio:g}} hides none of the {count} {unit} of a {mask} mask: give at least {least:g}",
        ratio=recipe.mask_ratio,
        count=count,
        unit=unit,
        mask=recipe.mask,
        least=least,
    )


class PreTrain(ClipTask[VideoMAEForPreTraining, MaskedRecipe]):
    """Trains the whole model on random clips of `train`.

    Clips of `val` get the same masks every time, so that their losses can be compared.
    """

    def __init__(
        self,
        start: Start[VideoMAEForPreTraining],
        *,
        train: Sequence[Example],
        val: Sequence[Example],
        recipe: MaskedRecipe,
    ) -> None:
        config = start.model.config
        check_masks(config.grid, recipe)
        scale = None if recipe.scale is None else (recipe.scale, 1.0)
        augment = AugmentTransform(config.image_hw, seed=0, scale=scale, flip=recipe.flip)
        super().__init__(start, train, recipe, augment, drawn="steps")
        self._val, self._data = val, described(train, val)

    @property
    def settings(self) -> Mapping[str, Any]:
        model = {k: v for k, v in self.model.config.to_dict().items() if k not in ("id2label", "label2id")}
        return self.described("masked pre-training", self._data, model=model)

    def loss(self, batch: ClipBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self._loss(self.model, batch.frames, int(self.rng(batch, step).integers(2**62))), {}

    def _loss(self, model: VideoMAEForPreTraining, frames: np.ndarray, seed: int) -> Tensor:
        clips = self.start.preprocessor.to_pixel_values(frames, model.device)
        mask = MASKS[self.recipe.mask](model.config.grid, self.recipe.mask_ratio, batch=len(frames), seed=seed)
        loss = model(clips, mask.to(model.device), return_dict=True).loss
        assert isinstance(loss, Tensor), "a mask was given"
        return loss.float()

    def evaluate(self, module: nn.Module) -> Mapping[str, Any] | None:
        if not self._val:
            return None
        assert isinstance(module, VideoMAEForPreTraining)
        mine = self._val[self.start.share.rank :: self.start.share.world]
        losses: list[float | None] = []
        with torch.inference_mode():
            for place, (_, outcome) in enumerate(self.start.view.decoded(mine)):
                seed = place * self.start.share.world + self.start.share.rank
                losses.append(
                    float(self._loss(module, outcome.views(), seed)) if isinstance(outcome, DecodedVideo) else None
                )
        every = [loss for part in self.start.share.gather(losses) for loss in part]
        good = [loss for loss in every if loss is not None and math.isfinite(loss)]
        if not good:
            return None
        mean = float(np.mean(good))
        return {"val_loss": round(mean, 6), "score": 0.0 - mean, "failed": len(every) - len(good)}

    def export(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, VideoMAEForPreTraining)
        save_checkpoint(module, self.start.preprocessor, folder)

"""Pre-training as a task: most of a clip is hidden, and the model learns to fill it in (Tong et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from videomae_cli.datasets import Example
from videomae_cli.errors import OptionError, VideoMAEError, unknown_choice
from videomae_cli.model import VideoMAEForPreTraining, weights_digest
from videomae_cli.model.masking import MASKS
from videomae_cli.training.checkpoint import digest, save_checkpoint
from videomae_cli.training.distributed import Share
from videomae_cli.training.feed import ClipBatch, Feed
from videomae_cli.training.optim import adamw, cosine_rate, parameter_groups
from videomae_cli.training.recipe import MaskedRecipe
from videomae_cli.training.task import Task
from videomae_cli.video import AugmentTransform, ClipRequest, DecodedVideo, Decoder, Preprocessor, SamplingSpec


def check_masks(grid: tuple[int, int, int], recipe: MaskedRecipe) -> None:
    """Raise OptionError for masks that hide nothing of a model with this (time, height, width) grid of tokens."""
    if recipe.mask not in MASKS:
        raise unknown_choice("mask", recipe.mask, MASKS)
    slots, height, width = grid
    units = {"tube": (height * width, "places"), "random": (slots * height * width, "tokens")}
    count, unit = units.get(recipe.mask, (slots, "time slots"))
    # At least one token stays visible, since the ratio is below 1 and the number of hidden tokens is rounded down.
    if int(recipe.mask_ratio * count):
        return
    if count == 1:
        raise OptionError.about(
            "mask",
            "a {mask} mask can't hide a part of the one that there is of {unit}: choose another",
            mask=recipe.mask,
            unit=unit,
        )
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


class PreTrain(Task):
    """Trains the whole model on random clips of `train`.

    Clips of `val` get the same masks every time, so that their losses can be compared.
    """

    score_name = "loss"

    def __init__(
        self,
        model: VideoMAEForPreTraining,
        *,
        train: Sequence[Example],
        val: Sequence[Example],
        recipe: MaskedRecipe,
        preprocessor: Preprocessor,
        sampling: SamplingSpec,
        decoder: Decoder,
        seed: int = 0,
        share: Share | None = None,
        init: str | None = None,
        warn: Callable[[str, VideoMAEError], None] = lambda path, error: None,
    ) -> None:
        self.module = self.model = model
        check_masks(model.config.grid, recipe)
        self.recipe, self.preprocessor, self.sampling = recipe, preprocessor, sampling
        self._val, self._decoder, self._seed, self._share = val, decoder, seed, share or Share()
        self._about = {
            "task": "masked pre-training",
            "init": init,
            "weights": weights_digest(model),
            "data": {
                "train_clips": len(train),
                "val_clips": len(val),
                "train_digest": digest(train),
                "val_digest": digest(val),
            },
        }
        self._feed = Feed(
            examples=train,
            decoder=decoder,
            sampling=sampling,
            augment=AugmentTransform(
                model.config.image_hw,
                seed=0,
                scale=None if recipe.scale is None else (recipe.scale, 1.0),
                flip=recipe.flip,
            ),
            batch=recipe.batch,
            drawn="steps",
            exact=recipe.name != "default",
            accumulate=recipe.accumulate,
            repeats=recipe.repeats,
            seed=seed,
            share=self._share,
            warn=warn,
        )
        self.accumulate, self.epoch, self.clip_norm = recipe.accumulate, self._feed.steps, recipe.clip_grad or None
        self.clips = recipe.batch * recipe.accumulate * self._share.world
        self.steps = self.epoch * recipe.epochs

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            **self._about,
            "model": {k: v for k, v in self.model.config.to_dict().items() if k not in ("id2label", "label2id")},
            "recipe": self.recipe.as_dict(),
            "sampling": asdict(self.sampling),
            "preprocessing": asdict(self.preprocessor.config),
            "seed": self._seed,
            "processes": self._share.world,
        }

    def optimizers(self) -> list[optim.Optimizer]:
        groups = parameter_groups(
            self.model.named_parameters(), lr=self.recipe.lr, weight_decay=self.recipe.weight_decay
        )
        return [adamw(groups, betas=self.recipe.betas)]

    def rate(self, step: int) -> float:
        warmup = round(self.recipe.warmup * self.epoch)
        return cosine_rate(step, steps=self.steps, warmup=warmup, floor=self.recipe.floor)

    def batches(self, first: int) -> Iterator[ClipBatch]:
        return self._feed(first)

    def loss(self, batch: ClipBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        seed = int(np.random.default_rng([self._seed, step, self._share.rank, int(batch.places[0])]).integers(2**62))
        return self._loss(self.model, batch.frames, seed), {}

    def _loss(self, model: VideoMAEForPreTraining, frames: np.ndarray, seed: int) -> Tensor:
        clips = self.preprocessor.to_pixel_values(frames, model.device)
        mask = MASKS[self.recipe.mask](model.config.grid, self.recipe.mask_ratio, batch=len(frames), seed=seed)
        loss = model(clips, mask.to(model.device), return_dict=True).loss
        assert isinstance(loss, Tensor), "a mask was given"
        return loss.float()

    def evaluate(self, module: nn.Module) -> Mapping[str, Any] | None:
        if not self._val:
            return None
        assert isinstance(module, VideoMAEForPreTraining)
        mine = self._val[self._share.rank :: self._share.world]
        transform = self.preprocessor.frame_transform(crops=1)
        spec = replace(self.sampling, clips=1, crops=1)
        requests = (ClipRequest(e.path, sampling=spec.within(e.start, e.end), transform=transform) for e in mine)
        losses: list[float | None] = []
        with torch.inference_mode():
            for place, (_, outcome) in enumerate(self._decoder.decode_all(requests, ahead=4)):
                seed = place * self._share.world + self._share.rank
                losses.append(
                    float(self._loss(module, outcome.views(), seed)) if isinstance(outcome, DecodedVideo) else None
                )
        every = [loss for part in self._share.gather(losses) for loss in part]
        good = [loss for loss in every if loss is not None and math.isfinite(loss)]
        if not good:
            return None
        mean = float(np.mean(good))
        return {"val_loss": round(mean, 6), "score": 0.0 - mean, "failed": len(every) - len(good)}

    def export(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, VideoMAEForPreTraining)
        save_checkpoint(module, self.preprocessor, folder)

    def close(self) -> None:
        self._decoder.close()

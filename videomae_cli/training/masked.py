"""Masked pre-training as a task: most of a clip is hidden, and the model learns to fill it in (Tong et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from videomae_cli.datasets import Example
from videomae_cli.errors import OptionError, VideoMAEError
from videomae_cli.model import VideoMAEForPreTraining, weights_digest
from videomae_cli.model.masking import MASKS
from videomae_cli.training.checkpoint import digest, save_checkpoint
from videomae_cli.training.distributed import Share
from videomae_cli.training.feed import ClipBatch, Feed
from videomae_cli.training.optim import adamw, cosine_rate, parameter_groups
from videomae_cli.training.task import Task
from videomae_cli.video import AugmentTransform, ClipRequest, DecodedVideo, Decoder, Preprocessor, SamplingSpec

# 1.5e-4 for each 256 clips of a batch of 1024 (the paper's appendix).
PUBLISHED_BATCH = 1024
PUBLISHED_LR = 1.5e-4 * PUBLISHED_BATCH / 256


@dataclass(frozen=True, kw_only=True)
class MaskedRecipe:
    """The published numbers where nothing else is said: AdamW with betas 0.9 and 0.95, weight decay 0.05, 40 epochs of
    warm-up of 800, tube masks that hide 0.9. warmup: part of the run; scale: least part of a frame's area that is shown."""

    epochs: int = 800
    batch: int = 16
    accumulate: int = 1
    lr: float | None = None
    floor: float = 0.01
    warmup: float = 0.05
    weight_decay: float = 0.05
    mask: str = "tube"
    mask_ratio: float = 0.9
    scale: float = 0.5
    flip: bool = False
    repeats: int = 1
    betas: tuple[float, float] = (0.9, 0.95)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "repeats"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.mask not in MASKS:
            raise OptionError(f"unknown mask {self.mask!r}: choose {', '.join(MASKS)}")
        if not 0 < self.mask_ratio < 1:
            raise OptionError(f"mask-ratio must lie between 0 and 1, not {self.mask_ratio:g}")
        if self.lr is not None and not 0 < self.lr <= 1:
            raise OptionError(f"lr must be more than 0 and at most 1, not {self.lr:g}")
        if not 0 < self.scale <= 1:
            raise OptionError(f"scale must be more than 0 and at most 1, not {self.scale:g}")

    def peak(self, world: int) -> float:
        """The learning rate, as said, or the published one, with the square root of the batch."""
        clips = min(self.batch * self.accumulate * world, PUBLISHED_BATCH)
        return self.lr if self.lr is not None else PUBLISHED_LR * math.sqrt(clips / PUBLISHED_BATCH)


class PreTrain(Task):
    """model: trained whole, on random clips of `train`; val: the same masks every time, its loss tells how far it is."""

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
            augment=AugmentTransform(model.config.image_hw, seed=0, scale=(recipe.scale, 1.0), flip=recipe.flip),
            batch=recipe.batch,
            accumulate=recipe.accumulate,
            repeats=recipe.repeats,
            seed=seed,
            share=self._share,
            warn=warn,
        )
        self.accumulate, self.epoch = recipe.accumulate, self._feed.steps
        self.clips = recipe.batch * recipe.accumulate * self._share.world
        self.steps = self.epoch * recipe.epochs

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            **self._about,
            "model": {k: v for k, v in self.model.config.to_dict().items() if k not in ("id2label", "label2id")},
            "recipe": {
                **asdict(self.recipe),
                "betas": list(self.recipe.betas),
                "lr": self.recipe.peak(self._share.world),
            },
            "sampling": asdict(self.sampling),
            "preprocessing": asdict(self.preprocessor.config),
            "seed": self._seed,
            "processes": self._share.world,
        }

    def optimizers(self) -> list[optim.Optimizer]:
        lr = self.recipe.peak(self._share.world)
        groups = parameter_groups(self.model.named_parameters(), lr=lr, weight_decay=self.recipe.weight_decay)
        return [adamw(groups, betas=self.recipe.betas)]

    def rate(self, step: int) -> float:
        return cosine_rate(
            step, steps=self.steps, warmup=max(1, round(self.recipe.warmup * self.steps)), floor=self.recipe.floor
        )

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
        good = [loss for loss in every if loss is not None]
        if not good:
            return None
        mean = float(np.mean(good))
        return {"val_loss": round(mean, 6), "score": -mean, "failed": len(every) - len(good)}

    def export(self, module: nn.Module, folder: Path) -> None:
        assert isinstance(module, VideoMAEForPreTraining)
        save_checkpoint(module, self.preprocessor, folder)

    def close(self) -> None:
        self._decoder.close()

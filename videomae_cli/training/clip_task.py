"""Trains all weights of a model on random clips of files: what fine-tuning and pre-training have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from torch import optim

from videomae_cli.datasets import Example
from videomae_cli.errors import VideoMAEError
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification, weights_digest
from videomae_cli.training.distributed import Share
from videomae_cli.training.features import View
from videomae_cli.training.feed import ClipBatch, Feed
from videomae_cli.training.optim import adamw, cosine_rate, parameter_groups
from videomae_cli.training.recipe import MaskedRecipe, Recipe
from videomae_cli.training.task import Task
from videomae_cli.video import AugmentTransform, Decoder, Preprocessor, SamplingSpec
from videomae_cli.visible import counted

Model = TypeVar("Model", VideoMAEForVideoClassification, VideoMAEForPreTraining)
Numbers = TypeVar("Numbers", Recipe, MaskedRecipe)


@dataclass(frozen=True, kw_only=True)
class Start(Generic[Model]):
    """Everything that training starts from.

    sampling: the checkpoint's, with one clip per file; init: the checkpoint's name, None for random weights; folder:
    where it is on this disk; batch: views per batch in evaluation; warn: called with the path and the error of a clip that another one replaces.
    """

    model: Model
    preprocessor: Preprocessor
    sampling: SamplingSpec
    decoder: Decoder
    init: str | None = None
    folder: Path | None = None
    seed: int = 0
    share: Share = field(default_factory=Share)
    batch: int = 8
    warn: Callable[[str, VideoMAEError], None] = lambda path, error: None

    @property
    def view(self) -> View:
        """How held-out examples become clips."""
        transform = self.preprocessor.frame_transform(crops=1)
        return View(sampling=self.sampling, transform=transform, decoder=self.decoder, batch=self.batch)

    def settings(self, task: str, *, weights: str, data: Any, recipe: Any, **more: Any) -> dict[str, Any]:
        """Return everything that affects the result of a task, as plain JSON values."""
        return {
            "task": task,
            "init": self.init,
            "weights": weights,
            "data": data,
            **more,
            "recipe": recipe,
            "sampling": asdict(self.sampling),
            "preprocessing": asdict(self.preprocessor.config),
            "seed": self.seed,
        }


class ClipTask(Task, Generic[Model, Numbers]):
    """Trains on random clips of `examples`; drawn: how their frames are drawn, see `SamplingSpec`."""

    def __init__(
        self,
        start: Start[Model],
        examples: Sequence[Example],
        recipe: Numbers,
        augment: AugmentTransform,
        *,
        drawn: str = "window",
    ) -> None:
        self.start: Start[Model] = start
        self.recipe: Numbers = recipe
        self.model: Model = start.model
        self.module = start.model
        self._weights = weights_digest(start.model)
        self._feed = Feed(
            examples=examples,
            decoder=start.decoder,
            sampling=start.sampling,
            augment=augment,
            batch=recipe.batch,
            drawn=drawn,
            exact=recipe.name != "default",
            accumulate=recipe.accumulate,
            repeats=recipe.repeats,
            seed=start.seed,
            share=start.share,
            warn=start.warn,
        )
        self.accumulate, self.clip_norm = recipe.accumulate, recipe.clip_grad or None
        self.clips = recipe.batch * recipe.accumulate * start.share.world
        self.epoch = self._feed.steps
        self.steps = self.epoch * recipe.epochs

    def described(self, task: str, data: Any, **more: Any) -> dict[str, Any]:
        """Return the task's settings. data: what identifies the clips; more: what else affects the result."""
        known = self.start.settings(task, weights=self._weights, data=data, recipe=self.recipe.as_dict(), **more)
        return known | {"processes": self.start.share.world}

    @property
    def plan(self) -> str:
        """Describe the length of the run, for people; `recipe.lines` has the other numbers."""
        numbers = self.recipe
        return (
            f"recipe {numbers.name}: {counted(numbers.epochs, 'epoch')} of {counted(self.epoch, 'step')} of "
            f"{counted(self.clips, 'clip')}, rate {numbers.lr:.2g}"
        )

    def optimizers(self) -> list[optim.Optimizer]:
        named, numbers = self.model.named_parameters(), self.recipe
        groups = parameter_groups(named, lr=numbers.lr, weight_decay=numbers.weight_decay, **self.layers())
        return [adamw(groups, betas=numbers.betas)]

    def layers(self) -> dict[str, Any]:
        """Return how the rate differs from layer to layer, as arguments of `parameter_groups`."""
        return {}

    def rate(self, step: int) -> float:
        warmup = round(self.recipe.warmup * self.epoch)
        return cosine_rate(step, steps=self.steps, warmup=warmup, floor=self.recipe.floor)

    def rng(self, batch: ClipBatch, step: int) -> np.random.Generator:
        """Return the random generator of a batch, whose seed is the same when the run is resumed."""
        return np.random.default_rng([self.start.seed, step, self.start.share.rank, int(batch.places[0])])

    def batches(self, first: int) -> Iterator[ClipBatch]:
        return self._feed(first)

    def close(self) -> None:
        self.start.decoder.close()

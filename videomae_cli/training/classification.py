"""Fine-tuning as a task: trains every weight of a classifier on random clips of files with labels or values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videomae_cli.datasets import Dataset, Example
from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.pipeline import Classifier
from videomae_cli.training.checkpoint import described, save_checkpoint
from videomae_cli.training.clip_task import ClipTask, Start
from videomae_cli.training.distributed import Share
from videomae_cli.training.feed import ClipBatch
from videomae_cli.training.figures import Figures, figures_of
from videomae_cli.training.mixing import Mixing, erase, one_hot, smoothed, soft_cross_entropy
from videomae_cli.training.recipe import Recipe
from videomae_cli.training.ridge import Spread, spread_of
from videomae_cli.training.scoring import score
from videomae_cli.training.seen_clips import record_seen
from videomae_cli.video import AugmentTransform, SamplingSpec


@dataclass(frozen=True, kw_only=True)
class Data:
    """The training clips and the held-out clips of one dataset.

    reading: measured seconds to read a clip, 0 if unknown; lengths: seconds of each clip whose file was checked.
    """

    dataset: Dataset
    train: Sequence[Example]
    val: Sequence[Example]
    reading: float = 0.0
    lengths: Mapping[Example, float] = field(default_factory=dict)

    def clips(self, examples: Iterable[Example], sampling: SamplingSpec) -> int:
        """Return how many clips a model takes from examples; of files that were not checked, one each."""
        return sum(sampling.clip_count(self.lengths.get(example, 0.0)) for example in examples)

    @property
    def task(self) -> str:
        """Return the kind of problem: "regression" or "classification"."""
        return "regression" if self.dataset.outputs else "classification"

    @cached_property
    def spread(self) -> Spread | None:
        """Return the mean and standard deviation of the training values; None for a classification problem."""
        return spread_of(self.dataset.targets(self.train).astype("float64")) if self.dataset.outputs else None

    @property
    def described(self) -> dict[str, Any]:
        """Return everything about the data that affects the result, as plain values."""
        values = {"values": list(self.dataset.outputs)}
        classes = {"classes": list(self.dataset.classes), "multi_label": self.dataset.multi_label}
        return (values if self.dataset.outputs else classes) | described(self.train, self.val)


class FineTune(ClipTask[VideoMAEForVideoClassification, Recipe]):
    """Fine-tunes a classifier with the dataset's classes: all weights, or those that require a gradient.

    In regression the model predicts standardised values during training; the saved model and the metrics are in the
    data's own unit. merged: turns the trained model into the one to save, if they differ (LoRA).
    """

    def __init__(
        self,
        start: Start[VideoMAEForVideoClassification],
        *,
        data: Data,
        recipe: Recipe,
        merged: Callable[[nn.Module], VideoMAEForVideoClassification] | None = None,
    ) -> None:
        augment = AugmentTransform(
            start.model.config.image_hw,
            seed=0,
            scale=(recipe.scale, 1.0),
            flip=recipe.flip,
            operations=recipe.operations,
            magnitude=recipe.magnitude,
            views=recipe.views,
        )
        super().__init__(start, data.train, recipe, augment)
        self.data, self._merged = data, merged
        self._targets = torch.from_numpy(data.dataset.targets(data.train))
        self._mixing = Mixing(recipe.mixup, recipe.cutmix)
        if recipe.head_dropout and isinstance(self.model.classifier, nn.Linear):
            self.model.classifier.register_forward_pre_hook(_dropped(recipe.head_dropout))
        self.score_name = "R²" if data.spread else "mAP" if data.dataset.multi_label else "top-1"

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.described(self.data.task, self.data.described)

    def layers(self) -> dict[str, Any]:
        return {"layer_decay": self.recipe.layer_decay, "layers": self.model.config.num_hidden_layers}

    def loss(self, batch: ClipBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        device = self.model.device
        clips = self.start.preprocessor.to_pixel_values(batch.frames, device)
        truth = self._targets[torch.from_numpy(batch.places)].to(device)
        spread = self.data.spread
        targets = (
            spread.standardise(truth.cpu()).float().to(device)
            if spread
            else one_hot(truth, self.model.config.num_labels)
        )
        rng = self.rng(batch, step)
        clips, targets = self._mixing(erase(clips, self.recipe.erase, rng), targets, rng)
        logits = self.model(clips, return_dict=True).logits.float()
        if spread:
            return nn.functional.mse_loss(logits, targets), {}
        if self.data.dataset.multi_label:
            return nn.functional.binary_cross_entropy_with_logits(logits, targets), {}
        loss = soft_cross_entropy(logits, smoothed(targets, self.recipe.smoothing))
        right = (logits.argmax(dim=1) == targets.argmax(dim=1)).float().mean()
        return loss, {"train_top1": right}

    def average_decay(self, done: int) -> float | None:
        # Weights change fast in the early steps: an average with the full decay would take long to catch up.
        return None if self.recipe.ema is None else min(self.recipe.ema, (1 + done) / (10 + done))

    def evaluate(self, module: nn.Module) -> Mapping[str, Any] | None:
        model = self._finished(module)
        with self._in_units(model):
            figures = self._figures(model, self.start.share)
        return figures.event if figures is not None else None

    def measure(self, folder: Path) -> Figures | None:
        """Return the metrics of the saved checkpoint in `folder`; None if nothing is held out.

        Not distributed: this process alone computes them.
        """
        device = self.model.device
        return self._figures(VideoMAEForVideoClassification.from_pretrained(folder, device=device), Share())

    def _figures(self, model: VideoMAEForVideoClassification, share: Share) -> Figures | None:
        if not self.data.val:
            return None
        start = self.start
        classifier = Classifier(model=model, preprocessor=start.preprocessor, name="this run", batch_size=start.batch)
        scored = score(classifier, self.data.val, view=start.view, share=share)
        return figures_of(scored, self.data.dataset, self.data.val, spread=self.data.spread)

    def export(self, module: nn.Module, folder: Path) -> None:
        model = self._finished(module)
        with self._in_units(model):
            save_checkpoint(model, self.start.preprocessor, folder)
        record_seen(folder, self.data.train, self.start.folder)

    def _in_units(self, model: VideoMAEForVideoClassification) -> AbstractContextManager[None]:
        """Make the model predict values in the data's unit while the block runs."""
        return self.data.spread.in_units(model.classifier) if self.data.spread else nullcontext()

    def _finished(self, module: nn.Module) -> VideoMAEForVideoClassification:
        model = self._merged(module) if self._merged else module
        assert isinstance(model, VideoMAEForVideoClassification)
        return model.eval()


def _dropped(probability: float) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    """Return a hook that drops values of the classifier's input with this probability, in training only."""

    def drop(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        return (nn.functional.dropout(given[0], probability, training=module.training),)

    return drop

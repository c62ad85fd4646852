"""Fine-tuning as a task: trains every weight of a classifier on random clips of files with labels or values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from videomae_cli.datasets import Dataset, Example
from videomae_cli.errors import VideoMAEError
from videomae_cli.model import VideoMAEForVideoClassification, weights_digest
from videomae_cli.pipeline import Classifier
from videomae_cli.training.checkpoint import digest, save_checkpoint
from videomae_cli.training.distributed import Share
from videomae_cli.training.features import View
from videomae_cli.training.feed import ClipBatch, Feed
from videomae_cli.training.figures import Figures, figures_of
from videomae_cli.training.mixing import Mixing, erase, one_hot, smoothed, soft_cross_entropy
from videomae_cli.training.optim import adamw, cosine_rate, parameter_groups
from videomae_cli.training.recipe import Recipe
from videomae_cli.training.ridge import Spread, spread_of
from videomae_cli.training.scoring import score
from videomae_cli.training.task import Task
from videomae_cli.video import AugmentTransform, Decoder, Preprocessor, SamplingSpec


@dataclass(frozen=True, kw_only=True)
class Data:
    """The training clips and the held-out clips of one dataset."""

    dataset: Dataset
    train: Sequence[Example]
    val: Sequence[Example]

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
        return {
            **(values if self.dataset.outputs else classes),
            "train_clips": len(self.train),
            "val_clips": len(self.val),
            "train_digest": digest(self.train),
            "val_digest": digest(self.val),
        }


class FineTune(Task):
    """Fine-tunes a classifier with the dataset's classes: all weights, or those that require a gradient.

    In regression the model predicts standardised values during training; the saved model and the metrics are in the
    data's own unit. sampling: the checkpoint's, with one clip per file; merged: turns the trained model into the one to
    save, if they differ (LoRA).
    """

    def __init__(
        self,
        model: VideoMAEForVideoClassification,
        *,
        data: Data,
        recipe: Recipe,
        preprocessor: Preprocessor,
        sampling: SamplingSpec,
        decoder: Decoder,
        seed: int = 0,
        share: Share | None = None,
        eval_batch: int = 8,
        init: str = "",
        warn: Callable[[str, VideoMAEError], None] = lambda path, error: None,
        merged: Callable[[nn.Module], VideoMAEForVideoClassification] | None = None,
    ) -> None:
        self.module = self.model = model
        self.data, self.recipe, self.preprocessor, self.sampling = data, recipe, preprocessor, sampling
        self._decoder, self._seed, self._share = decoder, seed, share or Share()
        self._eval_batch, self._merged, self._init = eval_batch, merged, init
        self._weights = weights_digest(model)
        self._targets = torch.from_numpy(data.dataset.targets(data.train))
        self._mixing = Mixing(recipe.mixup, recipe.cutmix)
        height, width = model.config.image_hw
        self._feed = Feed(
            examples=data.train,
            decoder=decoder,
            sampling=sampling,
            augment=AugmentTransform(
                (height, width),
                seed=0,
                scale=(recipe.scale, 1.0),
                flip=recipe.flip,
                operations=recipe.operations,
                magnitude=recipe.magnitude,
                views=recipe.views,
            ),
            batch=recipe.batch,
            exact=recipe.name != "default",
            accumulate=recipe.accumulate,
            repeats=recipe.repeats,
            seed=seed,
            share=self._share,
            warn=warn,
        )
        if recipe.head_dropout and isinstance(model.classifier, nn.Linear):
            model.classifier.register_forward_pre_hook(_dropped(recipe.head_dropout))
        self.accumulate, self.clip_norm = recipe.accumulate, recipe.clip_grad or None
        self.clips = recipe.batch * recipe.accumulate * self._share.world
        self.epoch = self._feed.steps
        self.steps = self.epoch * recipe.epochs
        self.score_name = "R²" if data.spread else "mAP" if data.dataset.multi_label else "top-1"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "task": self.data.task,
            "init": self._init,
            "weights": self._weights,
            "data": self.data.described,
            "recipe": self.recipe.as_dict(),
            "sampling": asdict(self.sampling),
            "preprocessing": asdict(self.preprocessor.config),
            "seed": self._seed,
            "processes": self._share.world,
        }

    def optimizers(self) -> list[optim.Optimizer]:
        groups = parameter_groups(
            self.model.named_parameters(),
            lr=self.recipe.lr,
            weight_decay=self.recipe.weight_decay,
            layer_decay=self.recipe.layer_decay,
            layers=self.model.config.num_hidden_layers,
        )
        return [adamw(groups, betas=self.recipe.betas)]

    def rate(self, step: int) -> float:
        warmup = round(self.recipe.warmup * self.epoch)
        return cosine_rate(step, steps=self.steps, warmup=warmup, floor=self.recipe.floor)

    def batches(self, first: int) -> Iterator[ClipBatch]:
        return self._feed(first)

    def loss(self, batch: ClipBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        device = self.model.device
        clips = self.preprocessor.to_pixel_values(batch.frames, device)
        truth = self._targets[torch.from_numpy(batch.places)].to(device)
        spread = self.data.spread
        targets = (
            spread.standardise(truth.cpu()).float().to(device)
            if spread
            else one_hot(truth, self.model.config.num_labels)
        )
        rng = np.random.default_rng([self._seed, step, self._share.rank, int(batch.places[0])])
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
            figures = self._figures(model, self._share)
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
        classifier = Classifier(
            model=model, preprocessor=self.preprocessor, name="this run", batch_size=self._eval_batch
        )
        view = View(
            sampling=self.sampling,
            transform=self.preprocessor.frame_transform(crops=1),
            decoder=self._decoder,
            batch=self._eval_batch,
        )
        scored = score(classifier, self.data.val, view=view, share=share)
        return figures_of(scored, self.data.dataset, self.data.val, spread=self.data.spread)

    def export(self, module: nn.Module, folder: Path) -> None:
        model = self._finished(module)
        with self._in_units(model):
            save_checkpoint(model, self.preprocessor, folder)

    def _in_units(self, model: VideoMAEForVideoClassification) -> AbstractContextManager[None]:
        """Make the model predict values in the data's unit while the block runs."""
        return self.data.spread.in_units(model.classifier) if self.data.spread else nullcontext()

    def close(self) -> None:
        self._decoder.close()

    def _finished(self, module: nn.Module) -> VideoMAEForVideoClassification:
        model = self._merged(module) if self._merged else module
        assert isinstance(model, VideoMAEForVideoClassification)
        return model.eval()


def _dropped(probability: float) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    """Return a hook that applies dropout to what reaches the classifier, in training only. probability: of dropping."""

    def drop(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        return (nn.functional.dropout(given[0], probability, training=module.training),)

    return drop

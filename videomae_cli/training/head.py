"""Trains a new head on a frozen encoder: features are computed once, then a linear probe is fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from videomae_cli.engines import Engine, Features, TorchNetwork
from videomae_cli.errors import TrainingError, VideoMAEError
from videomae_cli.model import VideoMAEForVideoClassification, weights_digest
from videomae_cli.pipeline.batches import Outputs
from videomae_cli.pipeline.devices import memory_reported
from videomae_cli.training.checkpoint import save_checkpoint
from videomae_cli.training.classification import Data
from videomae_cli.training.clip_task import Start
from videomae_cli.training.features import Array, FeatureStore, features_of, made_by
from videomae_cli.training.figures import Figures, figures_of
from videomae_cli.training.linear_probe import LinearProbe, Rows, best_probe, probabilities
from videomae_cli.training.ridge import RIDGE_STRENGTH, RIDGE_STRENGTHS, fit_ridge
from videomae_cli.training.run_folder import FEATURES, Run
from videomae_cli.training.scoring import known_scores
from videomae_cli.training.seen_clips import record_seen

# The task name in the settings of such a run ends with this.
HEAD_ONLY = ", head only"
# (examples done, error of the file or None, its path)
OnProgress = Callable[[int, VideoMAEError | None, str], None]


@dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """Trains only the last layer of a classifier with the dataset's classes or values.

    strength: of the penalty, None to choose the one that is best on the held-out clips.
    """

    start: Start[VideoMAEForVideoClassification]
    data: Data
    engine: Engine
    strength: float | None = None

    @property
    def model(self) -> VideoMAEForVideoClassification:
        """The model whose last layer is trained."""
        return self.start.model

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return everything that affects the result, as plain JSON values."""
        weights, recipe = weights_digest(self.model.videomae), {"strength": self.strength}
        task = self.data.task + HEAD_ONLY
        known = self.start.settings(task, weights=weights, data=self.data.described, recipe=recipe)
        return known | {"dtype": self.engine.dtype}

    def __call__(self, run: Run, on_progress: OnProgress) -> Figures | None:
        """Train and save; return the metrics of the held-out clips, if there are any. Raises TrainingError."""
        found = self._features(run, on_progress)
        if not self.start.share.leads:
            return None
        train, val = found[: len(self.data.train)], found[len(self.data.train) :]
        rows = self._rows(train)
        best = self._fit(run, rows, val)
        self._put(best)
        save_checkpoint(self.model, self.start.preprocessor, run.folder)
        used = (example for example, rows in zip(self.data.train, train, strict=True) if rows is not None)
        record_seen(run.folder, used, self.start.folder)
        return self._figures(best, val) if self.data.val else None

    def _features(self, run: Run, on_progress: OnProgress) -> list[Array | None]:
        start = self.start
        network = TorchNetwork(Features(self.model.eval(), "mean"), self.engine)

        def forward(views: np.ndarray) -> Outputs:
            with memory_reported(self.engine.device):
                return network(start.preprocessor.to_pixel_values(views, self.engine.torch_device)).numpy()

        same = {name: self.settings[name] for name in ("weights", "sampling", "preprocessing", "dtype")}
        store = FeatureStore(run.folder / FEATURES, made_by(**same, resize=start.preprocessor.resize))
        examples = [*self.data.train, *self.data.val]
        found = features_of(
            examples, view=start.view, forward=forward, store=store, share=start.share, on_progress=on_progress
        )
        if start.share.leads:
            store.save()
        return found

    def _rows(self, found: list[Array | None]) -> Rows:
        """Stack the clips of all training files that could be read, one row per clip."""
        valid = [place for place, rows in enumerate(found) if rows is not None]
        if not valid:
            raise TrainingError.about("data", "not one training file could be read: look at the data")
        targets = torch.from_numpy(self.data.dataset.targets([self.data.train[place] for place in valid]))
        parts = [torch.from_numpy(rows) for rows in found if rows is not None]
        counts = torch.tensor([len(part) for part in parts])
        return Rows(torch.cat(parts), targets.repeat_interleave(counts, dim=0))

    def _fit(self, run: Run, rows: Rows, val: list[Array | None]) -> LinearProbe:
        classes = self.model.config.num_labels
        held_out = any(part is not None for part in val)

        def note(probe: LinearProbe, value: float | None) -> None:
            event: dict[str, Any] = {"event": "probe", "strength": probe.strength, "train_loss": round(probe.loss, 6)}
            run.note({**event, **(self._figures(probe, val).event if held_out else {})})

        how: dict[str, Any] = {}
        if self.data.spread is not None:
            ridge = partial(fit_ridge, spread=self.data.spread)
            how = {"fitted": ridge, "strengths": RIDGE_STRENGTHS, "usual": RIDGE_STRENGTH}
        best, _ = best_probe(
            rows,
            classes,
            score=(lambda probe: self._figures(probe, val).score) if held_out and self.strength is None else None,
            **(how | ({"strengths": (self.strength,)} if self.strength is not None else {})),
            on_probe=note,
        )
        return best

    def _put(self, probe: LinearProbe) -> None:
        head = self.model.classifier
        assert isinstance(head, nn.Linear), "there are classes"
        with torch.no_grad():
            head.weight.copy_(probe.weight)
            head.bias.copy_(probe.bias)

    def _figures(self, probe: LinearProbe, val: list[Array | None]) -> Figures:
        """Score the held-out files as `classify` does: probabilities or values for each clip, averaged over a file's clips."""
        several = self.data.dataset.multi_label
        scores = np.full((len(val), self.model.config.num_labels), np.nan)
        for place, rows in enumerate(val):
            if rows is None:
                continue
            features = torch.from_numpy(rows)
            if self.data.spread is not None:
                scores[place] = probe(features).double().mean(dim=0).numpy()
            else:
                scores[place] = probabilities(probe, features, several=several).mean(axis=0)
        return figures_of(known_scores(scores), self.data.dataset, self.data.val, spread=self.data.spread)

"""Computes the metrics of held-out examples from probabilities or values, equal to those of `videomae evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.datasets import Dataset, Example
from videomae_cli.errors import TrainingError
from videomae_cli.evaluation import (
    Metrics,
    MultiLabelMetrics,
    RegressionMetrics,
    measure,
    measure_labels,
    measure_outputs,
)
from videomae_cli.training.ridge import Spread
from videomae_cli.training.scoring import ScoredClips
from videomae_cli.visible import counted


@dataclass(frozen=True)
class Figures:
    """The metrics of the held-out examples.

    metrics: of the examples that could be read; failed: how many could not; loss: what training minimises; predicted,
    truth: (N, outputs) values of a regression model.
    """

    metrics: Metrics | MultiLabelMetrics | RegressionMetrics
    failed: int
    loss: float
    predicted: npt.NDArray[np.float64] | None = None
    truth: npt.NDArray[np.float64] | None = None

    @property
    def score(self) -> float:
        """Return the number that the best checkpoint maximises.

        In regression this is the negative loss, since R² may be undefined.
        """
        match self.metrics:
            case Metrics():
                return self.metrics.top1
            case MultiLabelMetrics():
                return self.metrics.mean_ap
            case RegressionMetrics():
                return -self.loss

    @property
    def event(self) -> dict[str, Any]:
        """Return the numbers that metrics.jsonl records."""
        m = self.metrics
        values: dict[str, float | None]
        if isinstance(m, Metrics):
            values = {"top1": m.top1, "top5": m.top5, "mean_class_accuracy": m.mean_class}
        elif isinstance(m, MultiLabelMetrics):
            values = {"mAP": m.mean_ap, "micro_f1": m.micro_f1}
        else:
            values = {"r2": m.r2, "mae": m.mae, "mse": m.mse, "pearson": m.pearson, "spearman": m.spearman}
        values = {**values, "val_loss": self.loss, "score": self.score}
        rounded = {name: None if value is None else float(f"{value:.6g}") for name, value in values.items()}
        return {**rounded, "failed": self.failed}

    @property
    def line(self) -> str:
        """Format the main metrics in one line for people."""
        m = self.metrics
        clips = counted(m.count, "held-out clip")
        if isinstance(m, Metrics):
            low, high = m.interval
            return f"top-1 {m.top1:.1%} on {clips} (95% interval {low:.0%} to {high:.0%})"
        if isinstance(m, MultiLabelMetrics):
            return f"mAP {m.mean_ap:.3f} on {clips}"
        share = "" if m.r2 is None else f"R² {m.r2:.3f}, "
        return f"{share}mean absolute error {m.mae:.4g} on {clips}" + (", means of all values" if m.outputs else "")


def figures_of(
    scored: ScoredClips, dataset: Dataset, examples: Sequence[Example], *, spread: Spread | None = None
) -> Figures:
    """Compute the metrics of scored clips. Raises TrainingError if no example has scores.

    spread: mean and deviation of the training values, in regression.
    """
    valid = scored.valid
    if not valid.any():
        raise TrainingError.about("data", "not one held-out clip could be read, or scored with numbers")
    targets = dataset.targets([example for example, good in zip(examples, valid, strict=True) if good])
    scores = scored.scores[valid]
    metrics: Metrics | MultiLabelMetrics
    if spread is not None:
        truth = targets.astype("float64")
        loss = float((((scores - truth) / spread.deviation.numpy()) ** 2).mean())
        return Figures(measure_outputs(scores, truth), scored.failed, loss, scores, truth)
    if dataset.multi_label:
        metrics = measure_labels(scores, targets.astype("float32"))
    else:
        metrics = measure(scores, targets.astype("int64"))
    return Figures(metrics, scored.failed, metrics.nll)

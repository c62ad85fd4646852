"""What the metrics say of held-out examples, from probabilities: the same figures as `videomae evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from videomae_cli.datasets import Dataset, Example
from videomae_cli.errors import TrainingError
from videomae_cli.evaluation import Metrics, MultiLabelMetrics, measure, measure_labels
from videomae_cli.training.scoring import Scored


@dataclass(frozen=True)
class Figures:
    """metrics: of the examples that could be read; failed: how many could not."""

    metrics: Metrics | MultiLabelMetrics
    failed: int

    @property
    def score(self) -> float:
        """What the best checkpoint has the most of."""
        return self.metrics.top1 if isinstance(self.metrics, Metrics) else self.metrics.mean_ap

    @property
    def event(self) -> dict[str, Any]:
        """For metrics.jsonl."""
        m = self.metrics
        if isinstance(m, Metrics):
            values = {"top1": m.top1, "top5": m.top5, "mean_class_accuracy": m.mean_class}
        else:
            values = {"mAP": m.mean_ap, "micro_f1": m.micro_f1}
        values = {**values, "val_loss": m.nll, "score": self.score}
        return {**{name: float(f"{value:.6g}") for name, value in values.items()}, "failed": self.failed}

    @property
    def line(self) -> str:
        """For people."""
        m = self.metrics
        clips = f"{m.count} held-out clip{'s' if m.count != 1 else ''}"
        if isinstance(m, Metrics):
            low, high = m.interval
            return f"top-1 {m.top1:.1%} on {clips} (95 % interval {low:.0%} to {high:.0%})"
        return f"mAP {m.mean_ap:.3f} on {clips}"


def figures_of(scored: Scored, dataset: Dataset, examples: Sequence[Example]) -> Figures:
    """Raises TrainingError where not one example has scores."""
    there = scored.there
    if not there.any():
        raise TrainingError("not one held-out clip could be read, or scored with numbers")
    targets = dataset.targets([example for example, good in zip(examples, there, strict=True) if good])
    scores = scored.scores[there]
    if dataset.multi_label:
        return Figures(measure_labels(scores, targets.astype("float32")), scored.failed)
    return Figures(measure(scores, targets.astype("int64")), scored.failed)

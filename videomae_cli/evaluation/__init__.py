"""Computes metrics of scores against true labels or values, with numpy only: no models, videos or torch."""

from __future__ import annotations

from videomae_cli.evaluation.metrics import Metrics, MultiLabelMetrics, measure, measure_labels
from videomae_cli.evaluation.regression import RegressionMetrics, measure_outputs, measure_values
from videomae_cli.evaluation.report import Evaluation, confused_pairs, headline, markdown, worst_classes

__all__ = [
    "Evaluation",
    "Metrics",
    "MultiLabelMetrics",
    "RegressionMetrics",
    "confused_pairs",
    "headline",
    "markdown",
    "measure",
    "measure_labels",
    "measure_outputs",
    "measure_values",
    "worst_classes",
]

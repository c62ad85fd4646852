"""How good scores are, against what is true: numbers in, numbers out. Knows no model, no video and no torch."""

from __future__ import annotations

from videomae_cli.evaluation.matching import match_labels
from videomae_cli.evaluation.metrics import (
    Calibration,
    ClassFigures,
    Metrics,
    MultiLabelMetrics,
    measure,
    measure_labels,
)

__all__ = [
    "Calibration",
    "ClassFigures",
    "Metrics",
    "MultiLabelMetrics",
    "match_labels",
    "measure",
    "measure_labels",
]

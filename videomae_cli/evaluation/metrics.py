"""Computes accuracy, calibration and confusion of a classifier's probabilities.

Ties in top-k count against the classifier. Calibration error uses 15 bins of equal width (Guo et al. 2017), accuracy
intervals are Wilson's for 95 %. As in scikit-learn, average precision is not interpolated, and the negative
log-likelihood clips scores to float64's epsilon from 0 and 1, so a certain but wrong prediction costs 36.04.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import ModelOutputError

Scores = npt.NDArray[np.float64]
BINS = 15
_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution, for 95 % intervals
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class ClassFigures:
    """Metrics of one class, None if the denominator is zero. support: number of examples of this class."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error. error: mean |confidence - accuracy| over the bins, weighted by examples; bins: (mean
    confidence, accuracy, examples) of each, the first two None if it is empty."""

    error: float
    bins: tuple[tuple[float | None, float | None, int], ...]


@dataclass(frozen=True)
class Metrics:
    """Metrics of a single-label classifier.

    interval: 95 % confidence interval of top1; mean_class: recall averaged over the classes that have examples;
    confusion[t][p]: number of examples of class t that were predicted as p.
    """

    count: int
    top1: float
    interval: tuple[float, float]
    top5: float
    mean_class: float
    nll: float
    brier: float
    calibration: Calibration
    classes: tuple[ClassFigures, ...]
    confusion: npt.NDArray[np.int64]

    def as_dict(self) -> dict[str, Any]:
        """Return the scalar metrics by name, without tables."""
        return {
            "count": self.count,
            "top1": self.top1,
            "top1_interval": list(self.interval),
            "top5": self.top5,
            "mean_class_accuracy": self.mean_class,
            "calibration_error": self.calibration.error,
            "nll": self.nll,
            "brier": self.brier,
        }


@dataclass(frozen=True)
class MultiLabelMetrics:
    """Metrics of a multi-label classifier.

    mean_ap: mean over the classes that have examples; f1 is at a threshold of 0.5; exact: fraction of examples with all
    labels right; hamming: fraction of single labels that are wrong; average_precision: one number per class.
    """

    count: int
    mean_ap: float
    micro_f1: float
    macro_f1: float
    exact: float
    hamming: float
    nll: float
    average_precision: tuple[float | None, ...]
    classes: tuple[ClassFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the scalar metrics by name, without tables."""
        return {
            "count": self.count,
            "mAP": self.mean_ap,
            "micro_f1": self.micro_f1,
            "macro_f1": self.macro_f1,
            "exact_match": self.exact,
            "hamming_loss": self.hamming,
            "nll": self.nll,
        }


def measure(scores: Scores, targets: npt.NDArray[np.int64]) -> Metrics:
    """Measure probabilities (N, C) against class ids (N,). Raises ModelOutputError for scores that are not finite."""
    check_figures(scores, "scores")
    count, classes = scores.shape
    rows = np.arange(count)
    true_scores = scores[rows, targets]
    # The number of other classes with at least the true class's score.
    rank = (scores >= true_scores[:, None]).sum(axis=1) - 1
    # argmax breaks ties in favour of the first class; if that is the true one, it counts as right.
    predicted = scores.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (targets, predicted), 1)
    right = int((predicted == targets).sum())
    top5 = float(((rank < min(5, classes)) | (predicted == targets)).mean())
    figures = tuple(_class(confusion[c, c], confusion[:, c].sum(), confusion[c].sum()) for c in range(classes))
    recalls = [f.recall for f in figures if f.recall is not None]
    return Metrics(
        count=count,
        top1=right / count,
        interval=wilson(right, count),
        top5=top5,
        mean_class=float(np.mean(recalls)),
        nll=float(-np.log(np.clip(true_scores, _EPSILON, 1 - _EPSILON)).mean()),
        brier=float(((scores - np.eye(classes)[targets]) ** 2).sum(axis=1).mean()),
        calibration=calibration(scores.max(axis=1), predicted == targets),
        classes=figures,
        confusion=confusion,
    )


def measure_labels(scores: Scores, targets: npt.NDArray[np.float32]) -> MultiLabelMetrics:
    """Measure independent probabilities (N, C) against targets (N, C) of 0 and 1. Raises ModelOutputError."""
    check_figures(scores, "scores")
    truth, predicted = targets > 0.5, scores >= 0.5
    hits = (truth & predicted).sum(axis=0)
    figures = tuple(
        _class(int(h), int(g), int(t)) for h, g, t in zip(hits, predicted.sum(axis=0), truth.sum(axis=0), strict=True)
    )
    precisions = tuple(average_precision(scores[:, c], truth[:, c]) for c in range(scores.shape[1]))
    defined = [p for p in precisions if p is not None]
    clipped = np.clip(scores, _EPSILON, 1 - _EPSILON)
    f1 = [f.f1 if f.f1 is not None else 0.0 for f in figures]
    return MultiLabelMetrics(
        count=len(scores),
        mean_ap=float(np.mean(defined)) if defined else 0.0,
        micro_f1=_ratio(2 * int(hits.sum()), int(predicted.sum() + truth.sum())) or 0.0,
        macro_f1=float(np.mean(f1)),
        exact=float((truth == predicted).all(axis=1).mean()),
        hamming=float((truth != predicted).mean()),
        nll=float(-np.where(truth, np.log(clipped), np.log(1 - clipped)).mean()),
        average_precision=precisions,
        classes=figures,
    )


def calibration(confidence: Scores, right: npt.NDArray[np.bool_]) -> Calibration:
    """Compute the expected calibration error from confidences (N,) and whether each prediction was right (N,)."""
    places = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins: list[tuple[float | None, float | None, int]] = []
    error = 0.0
    for place in range(BINS):
        inside = places == place
        number = int(inside.sum())
        if not number:
            bins.append((None, None, 0))
            continue
        mean_confidence, accuracy = float(confidence[inside].mean()), float(right[inside].mean())
        error += abs(mean_confidence - accuracy) * number / len(confidence)
        bins.append((mean_confidence, accuracy, number))
    return Calibration(error, tuple(bins))


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion (Wilson 1927)."""
    share, weight = right / count, _Z**2 / count
    middle = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def average_precision(scores: Scores, truth: npt.NDArray[np.bool_]) -> float | None:
    """Return the precision averaged over the steps of recall; None if there is no positive example."""
    if not truth.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], truth[order]
    # Examples with equal scores form one step, since their order is arbitrary.
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(hit)[last]
    precision, recall = hits / (last + 1), hits / hit.sum()
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _class(hits: int, guessed: int, support: int) -> ClassFigures:
    f1 = _ratio(2 * int(hits), int(guessed) + int(support))
    return ClassFigures(_ratio(int(hits), int(guessed)), _ratio(int(hits), int(support)), f1, int(support))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def check_figures(figures: npt.NDArray[np.float64], what: str) -> None:
    """Raise ModelOutputError if there is nothing to measure, or anything not finite. what: the figures, in words."""
    if not len(figures):
        raise ModelOutputError.about(what, "there are no {subject} to measure")
    if not np.isfinite(figures).all():
        raise ModelOutputError.about(what, "the model's {subject} are not numbers: its weights are damaged")

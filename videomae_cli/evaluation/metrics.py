"""Accuracy, calibration and confusion of a classifier's probabilities.

Top-k by rank, ties against the classifier; calibration error over 15 bins of equal width (Guo et al. 2017); the interval of
an accuracy is Wilson's for 95 %; average precision is not interpolated, and the negative log-likelihood takes no score as
nearer to 0 or 1 than float64's epsilon (both as scikit-learn has it): an example that is certain and wrong counts 36.04.
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
_Z = 1.959963984540054  # of 95 %
_LEAST = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class, None where the denominator is zero. support: number of examples of this class."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class Calibration:
    """error: mean distance of confidence and accuracy, by examples; bins: (confidence, accuracy, examples) of each bin, the
    first two None where it is empty."""

    error: float
    bins: tuple[tuple[float | None, float | None, int], ...]


@dataclass(frozen=True)
class Metrics:
    """Metrics where every example has one label.

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
        """The numbers by name, without the tables."""
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
    """Metrics where an example may have several labels.

    mean_ap: mean over the classes that have examples; f1 at a threshold of 0.5; exact: share of examples with all labels
    right; hamming: share of single labels that are wrong; average_precision: one number for each class.
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
        """The numbers by name, without the tables."""
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
    """scores: (N, C) probabilities; targets: (N,) class ids. Raises ModelOutputError for scores that are no numbers."""
    _check(scores)
    count, classes = scores.shape
    rows = np.arange(count)
    of_truth = scores[rows, targets]
    # How many other classes score as much or more.
    rank = (scores >= of_truth[:, None]).sum(axis=1) - 1
    # The class a tie goes to is the first, as everywhere: right where the truth is that one.
    guess = scores.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (targets, guess), 1)
    right = int((guess == targets).sum())
    top5 = float(((rank < min(5, classes)) | (guess == targets)).mean())
    figures = tuple(_class(confusion[c, c], confusion[:, c].sum(), confusion[c].sum()) for c in range(classes))
    recalls = [f.recall for f in figures if f.recall is not None]
    return Metrics(
        count=count,
        top1=right / count,
        interval=wilson(right, count),
        top5=top5,
        mean_class=float(np.mean(recalls)),
        nll=float(-np.log(np.clip(of_truth, _LEAST, 1 - _LEAST)).mean()),
        brier=float(((scores - np.eye(classes)[targets]) ** 2).sum(axis=1).mean()),
        calibration=calibration(scores.max(axis=1), guess == targets),
        classes=figures,
        confusion=confusion,
    )


def measure_labels(scores: Scores, targets: npt.NDArray[np.float32]) -> MultiLabelMetrics:
    """scores: (N, C) probabilities of each label by itself; targets: (N, C) of 0 and 1. Raises ModelOutputError."""
    _check(scores)
    truth, guess = targets > 0.5, scores >= 0.5
    hits = (truth & guess).sum(axis=0)
    figures = tuple(
        _class(int(h), int(g), int(t)) for h, g, t in zip(hits, guess.sum(axis=0), truth.sum(axis=0), strict=True)
    )
    precisions = tuple(average_precision(scores[:, c], truth[:, c]) for c in range(scores.shape[1]))
    there = [p for p in precisions if p is not None]
    clipped = np.clip(scores, _LEAST, 1 - _LEAST)
    f1 = [f.f1 if f.f1 is not None else 0.0 for f in figures]
    return MultiLabelMetrics(
        count=len(scores),
        mean_ap=float(np.mean(there)) if there else 0.0,
        micro_f1=_ratio(2 * int(hits.sum()), int(guess.sum() + truth.sum())) or 0.0,
        macro_f1=float(np.mean(f1)),
        exact=float((truth == guess).all(axis=1).mean()),
        hamming=float((truth != guess).mean()),
        nll=float(-np.where(truth, np.log(clipped), np.log(1 - clipped)).mean()),
        average_precision=precisions,
        classes=figures,
    )


def calibration(confidence: Scores, right: npt.NDArray[np.bool_]) -> Calibration:
    """confidence: (N,) of what was said; right: (N,) whether it was so."""
    places = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins: list[tuple[float | None, float | None, int]] = []
    error = 0.0
    for place in range(BINS):
        inside = places == place
        number = int(inside.sum())
        if not number:
            bins.append((None, None, 0))
            continue
        said, was = float(confidence[inside].mean()), float(right[inside].mean())
        error += abs(said - was) * number / len(confidence)
        bins.append((said, was, number))
    return Calibration(error, tuple(bins))


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share, weight = right / count, _Z**2 / count
    middle = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def average_precision(scores: Scores, truth: npt.NDArray[np.bool_]) -> float | None:
    """Precision averaged over the steps of recall; None without a true example."""
    if not truth.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], truth[order]
    # Equal scores are one step: which of them comes first says nothing.
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(hit)[last]
    precision, recall = hits / (last + 1), hits / hit.sum()
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _class(hits: int, guessed: int, support: int) -> ClassFigures:
    f1 = _ratio(2 * int(hits), int(guessed) + int(support))
    return ClassFigures(_ratio(int(hits), int(guessed)), _ratio(int(hits), int(support)), f1, int(support))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _check(scores: Scores) -> None:
    if not len(scores):
        raise ModelOutputError("there are no scores to measure")
    if not np.isfinite(scores).all():
        raise ModelOutputError("the model's scores are no numbers: its weights are damaged")

"""Fits a linear head on frozen features in milliseconds, so that it can learn anew after each answer.

Multinomial logistic regression with an L2 penalty, by L-BFGS in numpy, started from the weights before the last answer.
Features are standardised by the whole pool, answered or not: a few answers alone would tell mean and deviation badly. Classes
with few answers weigh more (by the root of how rare they are), so that the common one doesn't swallow the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videomae_cli.evaluation.metrics import wilson

Array = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

# In units of 1 / answers, as the penalties of `training.linear_probe`, which takes this one where nothing is held out to choose by.
STRENGTH = 1.0
_MEMORY = 10
_FOLDS = 5
# Cross-validation is over at most so many answers, the latest ones, so that its time doesn't grow without end.
_MOST_VALIDATED = 1000


@dataclass(frozen=True)
class FeatureScale:
    """The mean and the deviation (D,) of the pool's features."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, features: Array) -> FeatureScale:
        """Measure the features (N, D) of the pool."""
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        floor = 1e-6 * max(float(deviation.max(initial=0.0)), 1e-12)
        return cls(mean, np.where(deviation > floor, deviation, 1.0).astype(np.float32))

    def __call__(self, features: Array) -> Array:
        """Return features (N, D) with mean 0 and deviation 1 over the pool."""
        return (features - self.mean) / self.deviation


@dataclass(frozen=True)
class Head:
    """A fitted linear layer on standardised features: weight (C, D), bias (C,)."""

    weight: Array
    bias: Array

    def probabilities(self, standardised: Array) -> Array:
        """Compute the probability of each class, (N, C), for standardised features (N, D)."""
        return _softmax(standardised @ self.weight.T + self.bias)

    def raw(self, scale: FeatureScale) -> tuple[Array, Array]:
        """Return weight and bias for features as the encoder gives them."""
        weight = np.asarray(self.weight / scale.deviation, np.float32)
        return weight, np.asarray(self.bias - weight @ scale.mean, np.float32)


def fit(standardised: Array, classes: Classes, count: int, *, start: Head | None = None, iterations: int = 100) -> Head:
    """Fit a head for `count` classes on answered clips. classes: (n,), the class of each row; start: an earlier head, for
    fewer classes perhaps."""
    rows, width = standardised.shape
    weights = balance(classes, count)
    targets = np.zeros((rows, count), np.float32)
    targets[np.arange(rows), classes] = 1
    penalty = np.float32(STRENGTH / rows)
    parameters = np.zeros((count, width + 1), np.float32)
    if start is not None:
        parameters[: len(start.weight), :-1], parameters[: len(start.bias), -1] = start.weight, start.bias

    def loss(flat: Array) -> tuple[float, Array]:
        weight, bias = flat.reshape(count, -1)[:, :-1], flat.reshape(count, -1)[:, -1]
        logits = standardised @ weight.T + bias  # (n, D) x (D, C) -> (n, C)
        chances = _softmax(logits)
        fitting = -(weights * np.log(np.maximum(chances[np.arange(rows), classes], 1e-30))).sum()
        slope = (chances - targets) * weights[:, None]
        gradient = np.concatenate([slope.T @ standardised + penalty * weight, slope.sum(axis=0)[:, None]], axis=1)
        return float(fitting + 0.5 * penalty * np.square(weight).sum()), gradient.astype(np.float32).ravel()

    found = minimise(loss, parameters.ravel(), iterations).reshape(count, -1)
    return Head(np.ascontiguousarray(found[:, :-1]), np.ascontiguousarray(found[:, -1]))


def balance(classes: Classes, count: int) -> Array:
    """Return the weight of each answer (n,), which sum to 1: inverse to the root of how many its class has."""
    sizes = np.bincount(classes, minlength=count).astype(np.float32)
    weights = 1 / np.sqrt(sizes[classes])
    return np.asarray(weights / weights.sum(), np.float32)


def minimise(loss: Callable[[Array], tuple[float, Array]], start: Array, iterations: int) -> Array:
    """Minimise a smooth convex function by L-BFGS (Nocedal 1980) with backtracking. loss: returns value and gradient."""
    point = start
    value, gradient = loss(point)
    steps: list[tuple[Array, Array, float]] = []
    for _ in range(iterations):
        if float(np.abs(gradient).max(initial=0.0)) < 1e-5:
            break
        direction = _direction(gradient, steps)
        slope = float(direction @ gradient)
        if slope >= 0:  # rounding has spoilt the memory
            steps, direction, slope = [], -gradient, -float(gradient @ gradient)
        length = 1.0 if steps else min(1.0, 1.0 / float(np.abs(gradient).sum()))
        for _ in range(20):
            candidate = point + np.float32(length) * direction
            new_value, new_gradient = loss(candidate)
            if new_value <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break
        moved, turned = candidate - point, new_gradient - gradient
        curvature = float(moved @ turned)
        if curvature > 1e-12:
            steps = [*steps[1 - _MEMORY :], (moved, turned, 1 / curvature)]
        if value - new_value < 1e-7 * max(1.0, abs(value)):
            return candidate
        point, value, gradient = candidate, new_value, new_gradient
    return point


def _direction(gradient: Array, steps: list[tuple[Array, Array, float]]) -> Array:
    direction = -gradient
    shares = []
    for moved, turned, inverse in reversed(steps):
        share = inverse * float(moved @ direction)
        shares.append(share)
        direction = direction - np.float32(share) * turned
    if steps:
        moved, turned, inverse = steps[-1]
        direction = direction * np.float32(1 / (inverse * float(turned @ turned)))
    for (moved, turned, inverse), share in zip(steps, reversed(shares), strict=True):
        direction = direction + np.float32(share - inverse * float(turned @ direction)) * moved
    return direction


@dataclass(frozen=True)
class AccuracyEstimate:
    """How often the head is right, by cross-validation. accuracy: among `answers`; low, high: its 95 % interval."""

    accuracy: float
    low: float
    high: float
    answers: int


def estimate(standardised: Array, classes: Classes, count: int, *, seed: int = 0) -> AccuracyEstimate | None:
    """Estimate the accuracy by five-fold cross-validation; None with fewer than ten answers, or of one class alone.

    Clips are asked about because they are hard, so that other clips are mostly easier than these.
    """
    standardised, classes = standardised[-_MOST_VALIDATED:], classes[-_MOST_VALIDATED:]
    if len(classes) < 2 * _FOLDS or len(np.unique(classes)) < 2:
        return None
    # Each class is spread evenly over the folds.
    order = np.random.default_rng(seed).permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(len(classes), np.int64)
    fold[order] = np.arange(len(classes)) % _FOLDS
    kernel = _compact(standardised)
    right = 0
    for number in range(_FOLDS):
        held, others = fold == number, fold != number
        head = fit(kernel[others], classes[others], count, iterations=40)
        right += int((head.probabilities(kernel[held]).argmax(axis=1) == classes[held]).sum())
    return AccuracyEstimate(right / len(classes), *wilson(right, len(classes)), len(classes))


def _compact(standardised: Array) -> Array:
    """Turn rows (n, D) into at most n numbers each, with the same products between rows: fits on them are the same."""
    rows, width = standardised.shape
    if rows >= width:
        return standardised
    values, vectors = np.linalg.eigh(standardised.astype(np.float64) @ standardised.T)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)), np.float32)


def kappa(before: Classes, after: Classes) -> float:
    """Return the agreement of two lists of classes beyond chance (Cohen 1960): 1 if they are the same."""
    same = float((before == after).mean())
    count = int(max(before.max(), after.max())) + 1
    chance = float(np.bincount(before, minlength=count) @ np.bincount(after, minlength=count)) / len(before) ** 2
    return 1.0 if chance >= 1 else (same - chance) / (1 - chance)


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

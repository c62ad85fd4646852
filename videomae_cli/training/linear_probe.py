"""Fits a linear classifier on fixed features: seconds of work, and the same result every time.

Multinomial logistic regression (for independent labels: one logistic regression per label) with an L2 penalty, by
L-BFGS to convergence. Features are standardised first; the saved weights undo that, so that they work on raw features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from videomae_cli.errors import TrainingError
from videomae_cli.training.mixing import one_hot

# Penalties to try, in units of 1 / training rows, weak to strong.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
_ITERATIONS = 500


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: weight (outputs, D) and bias (outputs,) for raw features.

    strength: of the penalty; loss: on the training rows.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    loss: float

    def __call__(self, features: Tensor) -> Tensor:
        """Map features (N, D) to logits or predicted values (N, outputs)."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Rows:
    """Training rows: features (N, D) float32; targets (N,) class numbers or (N, outputs) floats."""

    features: Tensor
    targets: Tensor


def standardised(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise features (N, D) to float64 of mean 0 and deviation 1; also return their (D,) mean and deviation.

    Raises TrainingError for features that are not finite.
    """
    if not bool(torch.isfinite(features).all()):
        raise TrainingError.about("model", "the model's features are not numbers: its weights are damaged")
    # In float64 the optimum agrees to many digits, whatever the order of the rows or the number of threads.
    x = features.double()
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
    std = torch.where(std > 1e-6 * std.max().clamp(min=1e-12), std, torch.ones_like(std))
    return (x - mean) / std, mean, std


def fit(rows: Rows, classes: int, *, strength: float) -> LinearProbe:
    """Fit one probe with a penalty of this strength. Raises TrainingError for features that are not finite."""
    x, mean, std = standardised(rows.features)
    targets = one_hot(rows.targets, classes).double()
    several = rows.targets.ndim == 2
    weight = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, history_size=20, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        logits = x @ weight.T + bias
        if several:
            fitting = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(x)
        else:
            fitting = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
        return fitting + strength / len(x) * 0.5 * weight.square().sum()

    def closure() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        raw = weight / std
        return LinearProbe(raw.float(), (bias - raw @ mean).float(), strength, float(loss()))


def best_probe(
    rows: Rows,
    classes: int,
    *,
    score: Callable[[LinearProbe], float] | None,
    strengths: Sequence[float] = STRENGTHS,
    usual: float = 1.0,
    fitted: Callable[..., LinearProbe] = fit,
    on_probe: Callable[[LinearProbe, float | None], None] = lambda probe, score: None,
) -> tuple[LinearProbe, float | None]:
    """Fit a probe with each penalty strength, and return the one that scores best, with its score.

    Ties go to the stronger penalty. score: None without held-out clips, which leaves only the strength `usual` to fit (or
    the single one given); fitted: called instead of `fit`, with its arguments.
    """
    best: tuple[LinearProbe, float | None] | None = None
    for strength in strengths if score is not None or len(strengths) == 1 else (usual,):
        probe = fitted(rows, classes, strength=strength)
        value = score(probe) if score is not None else None
        on_probe(probe, value)
        if best is None or value is None or best[1] is None or value >= best[1]:
            best = (probe, value)
    assert best is not None, "at least one strength"
    return best


def probabilities(probe: LinearProbe, features: Tensor, *, several: bool) -> np.ndarray:
    """Compute probabilities (N, classes) float64 of features (N, D)."""
    logits = probe(features)
    scores = logits.sigmoid() if several else logits.softmax(dim=1)
    return np.asarray(scores.double().numpy())

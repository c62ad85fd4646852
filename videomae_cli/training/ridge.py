"""Values instead of classes: their spread over the training clips, and a linear model of features by ridge regression.

What is trained gives standardised values, (value - mean) / deviation, so that rates and penalties mean the same in every unit.
What is saved gives values in the unit of the data: the spread goes into the weights of its classifier.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from videomae_cli.training.linear_probe import LinearProbe, Rows, standardised

# Penalties tried, weak to strong; (rows, D) features of unit variance are set against it, alike ones with all their number.
RIDGE_STRENGTHS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
# Where nothing is held out to choose by.
RIDGE_STRENGTH = 100.0


@dataclass(frozen=True)
class Spread:
    """mean, deviation (outputs,) float64 of the training values."""

    mean: Tensor
    deviation: Tensor

    def standardise(self, values: Tensor) -> Tensor:
        """(N, outputs) values of the data to float64 in units of the spread."""
        return (values.double() - self.mean) / self.deviation

    def begin(self, classifier: nn.Module) -> None:
        """Turn a classifier that gives values of the data into one that gives them standardised, in place."""
        assert isinstance(classifier, nn.Linear), "there are outputs"
        with torch.no_grad():
            weight, bias = classifier.weight, classifier.bias
            weight.copy_(weight.double().cpu() / self.deviation[:, None])
            bias.copy_((bias.double().cpu() - self.mean) / self.deviation)

    @contextmanager
    def in_units(self, classifier: nn.Module) -> Iterator[None]:
        """While the block runs the classifier gives values of the data; afterwards it is what it was, to the bit."""
        assert isinstance(classifier, nn.Linear), "there are outputs"
        with torch.no_grad():
            kept = classifier.weight.clone(), classifier.bias.clone()
            classifier.weight.copy_(kept[0].double().cpu() * self.deviation[:, None])
            classifier.bias.copy_(kept[1].double().cpu() * self.deviation + self.mean)
        try:
            yield
        finally:
            with torch.no_grad():
                classifier.weight.copy_(kept[0])
                classifier.bias.copy_(kept[1])


def spread_of(values: npt.NDArray[np.float64]) -> Spread:
    """The spread of (N, outputs) values, none of which is the same everywhere."""
    found = torch.from_numpy(np.asarray(values, dtype=np.float64))
    return Spread(found.mean(dim=0), found.std(dim=0, correction=0))


def fit_ridge(rows: Rows, outputs: int, *, strength: float, spread: Spread) -> LinearProbe:
    """The probe with the least mean squared error of standardised values plus strength / rows * the squared weights.

    rows: with targets (N, outputs) in the unit of the data, as the probe gives them. Raises TrainingError for features that
    are no numbers.
    """
    x, mean, deviation = standardised(rows.features)
    targets = spread.standardise(rows.targets.reshape(-1, outputs))
    middle = targets.mean(dim=0)
    # (X'X + strength) w = X'y by the eigenvectors of X'X, which also holds without a penalty where features depend on each other.
    sizes, directions = torch.linalg.eigh(x.T @ x)
    there = sizes > sizes[-1].clamp(min=0) * 1e-12
    inverse = torch.where(there, 1 / torch.where(there, sizes + strength, 1.0), 0.0)
    weight = (directions @ (inverse[:, None] * (directions.T @ (x.T @ (targets - middle))))).T
    errors = x @ weight.T + middle - targets
    raw = weight / deviation * spread.deviation[:, None]
    bias = middle * spread.deviation + spread.mean - raw @ mean
    return LinearProbe(raw.float(), bias.float(), strength, float(errors.square().mean()))

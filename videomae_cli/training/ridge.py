"""Fits values instead of classes: their spread over the training clips, and a linear model of features by ridge
regression.

The trained model gives standardised values, (value - mean) / deviation, so that rates and penalties mean the same in
every unit. The saved one gives values in the unit of the data: the spread goes into the weights of its classifier.
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

# Penalties to try, weak to strong. Each is added to the eigenvalues of X'X of (rows, D) standardised features, which
# grow with the rows.
RIDGE_STRENGTHS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
# The penalty used where nothing is held out to choose by.
RIDGE_STRENGTH = 100.0


@dataclass(frozen=True)
class Spread:
    """The mean and the deviation (outputs,) float64 of the training values."""

    mean: Tensor
    deviation: Tensor

    def standardise(self, values: Tensor) -> Tensor:
        """Convert values (N, outputs) of the data to standardised float64."""
        return (values.double() - self.mean) / self.deviation

    def begin(self, classifier: nn.Module) -> None:
        """Turn a classifier that gives values of the data into one that gives standardised values, in place."""
        assert isinstance(classifier, nn.Linear), "there are outputs"
        with torch.no_grad():
            weight, bias = classifier.weight, classifier.bias
            weight.copy_(weight.double().cpu() / self.deviation[:, None])
            bias.copy_((bias.double().cpu() - self.mean) / self.deviation)

    @contextmanager
    def in_units(self, classifier: nn.Module) -> Iterator[None]:
        """Make the classifier give values of the data while the block runs; afterwards restore its weights to the bit."""
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
    """Compute the spread of values (N, outputs); every output must vary."""
    found = torch.from_numpy(np.asarray(values, dtype=np.float64))
    return Spread(found.mean(dim=0), found.std(dim=0, correction=0))


def fit_ridge(rows: Rows, outputs: int, *, strength: float, spread: Spread) -> LinearProbe:
    """Fit the probe with the least mean squared error of standardised values plus strength / rows * the squared
    weights.

    rows: with targets (N, outputs) in the unit of the data, as the probe gives them. Raises TrainingError for features
    that are not finite.
    """
    x, mean, deviation = standardised(rows.features)
    targets = spread.standardise(rows.targets.reshape(-1, outputs))
    middle = targets.mean(dim=0)
    # Solve (X'X + strength) w = X'y by the eigenvectors of X'X, which also works without a penalty where features are
    # linearly dependent.
    sizes, directions = torch.linalg.eigh(x.T @ x)
    nonzero = sizes > sizes[-1].clamp(min=0) * 1e-12
    inverse = torch.where(nonzero, 1 / torch.where(nonzero, sizes + strength, 1.0), 0.0)
    weight = (directions @ (inverse[:, None] * (directions.T @ (x.T @ (targets - middle))))).T
    errors = x @ weight.T + middle - targets
    raw = weight / deviation * spread.deviation[:, None]
    bias = middle * spread.deviation + spread.mean - raw @ mean
    return LinearProbe(raw.float(), bias.float(), strength, float(errors.square().mean()))

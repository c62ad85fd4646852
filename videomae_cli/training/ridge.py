"""Regression heads: ridge regression from features to standardised values, and the standardisation itself.

During training the model predicts standardised values, (value - mean) / deviation, so that learning rates and penalties
don't depend on the unit. The saved model predicts values in the data's unit: mean and deviation are folded into its
last layer.
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
# The penalty used if nothing is held out to choose it by.
RIDGE_STRENGTH = 100.0


@dataclass(frozen=True)
class Spread:
    """The mean and standard deviation (outputs,) float64 of the training values."""

    mean: Tensor
    deviation: Tensor

    def standardise(self, values: Tensor) -> Tensor:
        """Convert values (N, outputs) in the data's unit to standardised float64."""
        return (values.double() - self.mean) / self.deviation

    def begin(self, classifier: nn.Module) -> None:
        """Change a model that predicts in the data's unit, in place, to predict standardised values."""
        assert isinstance(classifier, nn.Linear), "there are outputs"
        with torch.no_grad():
            weight, bias = classifier.weight, classifier.bias
            weight.copy_(weight.double().cpu() / self.deviation[:, None])
            bias.copy_((bias.double().cpu() - self.mean) / self.deviation)

    @contextmanager
    def in_units(self, classifier: nn.Module) -> Iterator[None]:
        """Make the model predict in the data's unit inside the block; then its weights are restored exactly."""
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
    """Compute mean and standard deviation of values (N, outputs); every output must vary."""
    found = torch.from_numpy(np.asarray(values, dtype=np.float64))
    return Spread(found.mean(dim=0), found.std(dim=0, correction=0))


def fit_ridge(rows: Rows, outputs: int, *, strength: float, spread: Spread) -> LinearProbe:
    """Fit a ridge regression of standardised values.

    It minimises the mean squared error plus strength / rows times the sum of squared weights. rows: with targets (N,
    outputs) in the data's unit, in which the probe predicts, too. Raises TrainingError for features that are not
    finite.
    """
    x, mean, deviation = standardised(rows.features)
    targets = spread.standardise(rows.targets.reshape(-1, outputs))
    middle = targets.mean(dim=0)
    # Solve (X'X + strength) w = X'y by the eigenvectors of X'X, which also works without a penalty if features are
    # linearly dependent.
    sizes, directions = torch.linalg.eigh(x.T @ x)
    nonzero = sizes > sizes[-1].clamp(min=0) * 1e-12
    inverse = torch.where(nonzero, 1 / torch.where(nonzero, sizes + strength, 1.0), 0.0)
    weight = (directions @ (inverse[:, None] * (directions.T @ (x.T @ (targets - middle))))).T
    errors = x @ weight.T + middle - targets
    raw = weight / deviation * spread.deviation[:, None]
    bias = middle * spread.deviation + spread.mean - raw @ mean
    return LinearProbe(raw.float(), bias.float(), strength, float(errors.square().mean()))

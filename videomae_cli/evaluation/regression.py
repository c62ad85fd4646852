"""Measures predicted values against true ones: errors, explained variance and correlations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.evaluation.metrics import check_figures

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RegressionMetrics:
    """Metrics of predicted values, in the unit of the data; r2, pearson and spearman are None if values don't vary.

    mae, mse: mean absolute and squared error; r2: 1 minus the squared error over that of always predicting the true
    mean; spearman: correlation of ranks, ties at their mean rank. outputs: if clips have several values, the metrics of
    each; the other fields are then their means.
    """

    count: int
    mae: float
    mse: float
    r2: float | None
    pearson: float | None
    spearman: float | None
    outputs: tuple[RegressionMetrics, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the scalar metrics by their names in JSON."""
        return {
            "count": self.count,
            "mean_absolute_error": self.mae,
            "mean_squared_error": self.mse,
            "r2": self.r2,
            "pearson": self.pearson,
            "spearman": self.spearman,
        }


def measure_outputs(predicted: Values, truth: Values) -> RegressionMetrics:
    """Measure predicted against true values, both (N, outputs): `measure_values` of each output, and the means."""
    each = tuple(measure_values(predicted[:, place], truth[:, place]) for place in range(truth.shape[1]))
    if len(each) == 1:
        return each[0]
    return RegressionMetrics(
        count=len(truth),
        mae=float(np.mean([one.mae for one in each])),
        mse=float(np.mean([one.mse for one in each])),
        r2=_mean(one.r2 for one in each),
        pearson=_mean(one.pearson for one in each),
        spearman=_mean(one.spearman for one in each),
        outputs=each,
    )


def _mean(figures: Iterable[float | None]) -> float | None:
    """Average the metrics that are not None; return None if all of them are."""
    defined = [figure for figure in figures if figure is not None]
    return float(np.mean(defined)) if defined else None


def measure_values(predicted: Values, truth: Values) -> RegressionMetrics:
    """Measure predicted against true values, both (N,). Raises ModelOutputError for predictions that are not finite."""
    check_figures(predicted, "values")
    errors = predicted - truth
    spread = float(((truth - truth.mean()) ** 2).sum())
    varies = bool((truth != truth[0]).any())
    return RegressionMetrics(
        count=len(predicted),
        mae=float(np.abs(errors).mean()),
        mse=float((errors**2).mean()),
        r2=1.0 - float((errors**2).sum()) / spread if varies else None,
        pearson=correlation(predicted, truth),
        spearman=correlation(ranks(predicted), ranks(truth)),
    )


def correlation(a: Values, b: Values) -> float | None:
    """Return Pearson's correlation of two arrays (N,); None if one of them is constant."""
    if (a == a[0]).all() or (b == b[0]).all():
        return None
    # Scaled first, since products of tiny or huge values would underflow or overflow.
    x, y = (values / np.abs(values).max() for values in (a - a.mean(), b - b.mean()))
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0)) + 0.0  # never -0.0


def ranks(values: Values) -> Values:
    """Return the rank of each of the values (N,), from 1, ties at the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)

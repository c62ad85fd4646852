"""Figures of values against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from videomae_cli.errors import ModelOutputError
from videomae_cli.evaluation import RegressionMetrics, measure_values


def cases() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    return [
        (truth + rng.normal(size=40), truth),
        (rng.integers(0, 4, 40).astype(float), rng.integers(0, 3, 40).astype(float)),  # many ties
        (-truth, truth),
        (truth * 1e-90, truth * 1e90),
        (truth + 1e6, truth),
        (np.array([1.0, 2.0]), np.array([5.0, 4.0])),
    ]


@pytest.mark.parametrize("case", range(6))
def test_figures_equal_those_of_scikit_learn_and_scipy(case: int) -> None:
    predicted, truth = cases()[case]
    found = measure_values(predicted, truth)
    assert found.count == len(truth)
    assert found.mae == pytest.approx(metrics.mean_absolute_error(truth, predicted), rel=1e-12)
    assert found.mse == pytest.approx(metrics.mean_squared_error(truth, predicted), rel=1e-12)
    assert found.r2 == pytest.approx(metrics.r2_score(truth, predicted), rel=1e-9, abs=1e-12)
    assert found.pearson == pytest.approx(stats.pearsonr(predicted, truth).statistic, rel=1e-9)
    assert found.spearman == pytest.approx(stats.spearmanr(predicted, truth).statistic, rel=1e-9)


def test_what_does_not_vary_has_no_correlation() -> None:
    flat, rising = np.full(3, 2.0), np.array([1.0, 2.0, 3.0])
    assert measure_values(flat, rising) == RegressionMetrics(3, 2 / 3, 2 / 3, 0.0, None, None)
    assert measure_values(rising, flat) == RegressionMetrics(3, 2 / 3, 2 / 3, None, None, None)
    assert measure_values(flat[:1], rising[:1]) == RegressionMetrics(1, 1.0, 1.0, None, None, None)
    exact = measure_values(rising, rising)
    assert (exact.mae, exact.mse, exact.r2, exact.pearson, exact.spearman) == (0, 0, 1, pytest.approx(1), 1)


@pytest.mark.parametrize("predicted", [[], [np.nan, 1.0], [np.inf, 1.0]])
def test_values_that_cannot_be_measured_say_so(predicted: list[float]) -> None:
    with pytest.raises(ModelOutputError):
        measure_values(np.array(predicted), np.ones(len(predicted)))

"""Values instead of classes: ridge regression against scikit-learn, and the spread that goes into saved weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from videomae_cli.training.linear_probe import Rows
from videomae_cli.training.ridge import fit_ridge, spread_of


@pytest.mark.parametrize("strength", [0.0, 1.0, 1e4])
@pytest.mark.parametrize(("rows", "features"), [(60, 7), (12, 40)])
def test_the_ridge_is_that_of_scikit_learn(strength: float, rows: int, features: int) -> None:
    rng = np.random.default_rng(rows)
    x = rng.normal(3.0, rng.uniform(0.1, 20, features), (rows, features)).astype(np.float32)
    y = np.stack([x[:, 0] * 40 + 1000 + rng.normal(size=rows), rng.normal(size=rows) * 1e-3], axis=1)
    probe = fit_ridge(Rows(torch.from_numpy(x), torch.from_numpy(y)), 2, strength=strength, spread=spread_of(y))
    z = (x - x.mean(axis=0, dtype=np.float64)) / x.std(axis=0, dtype=np.float64)
    # With more features than rows and nothing against it every row is met.
    expected = Ridge(alpha=strength).fit(z, y).predict(z) if strength or rows > features else y
    np.testing.assert_allclose(probe(torch.from_numpy(x)).numpy(), expected, rtol=1e-4, atol=1e-6)
    assert probe.loss == pytest.approx((((expected - y) / y.std(axis=0)) ** 2).mean(), rel=1e-3, abs=1e-9)


def test_features_that_do_not_vary_take_no_part() -> None:
    x = torch.tensor([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]])
    y = np.array([[10.0], [20.0], [30.0]])
    probe = fit_ridge(Rows(x, torch.from_numpy(y)), 1, strength=0.0, spread=spread_of(y))
    torch.testing.assert_close(probe.weight, torch.tensor([[10.0, 0.0]]))
    torch.testing.assert_close(probe(torch.tensor([[4.0, 5.0]])), torch.tensor([[50.0]]))


def test_saved_weights_give_values_and_trained_ones_stay_as_they_are() -> None:
    torch.manual_seed(0)
    head, features = nn.Linear(5, 2), torch.randn(4, 5)
    values = np.array([[1000.0, -0.1], [1200.0, 0.1], [1100.0, 0.3]])
    spread = spread_of(values)
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    with torch.no_grad():
        inside = head(features)
        with spread.in_units(head):
            outside = head(features)
            saved = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    torch.testing.assert_close(outside.double(), inside.double() * values.std(axis=0) + values.mean(axis=0))
    for name, tensor in head.state_dict().items():
        assert torch.equal(tensor, before[name]), "to the bit: training goes on with them"
    head.load_state_dict(saved)
    spread.begin(head)
    for name, tensor in head.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        spread.standardise(torch.from_numpy(values)).std(dim=0, correction=0), torch.ones(2).double()
    )

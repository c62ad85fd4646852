"""Points in the plane: the reference's PCA, what is alike close together, and the same picture every time."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.decomposition import PCA
from tables import bunches

from videomae_cli.errors import DependencyError
from videomae_cli.search.embedding_table import Row, VectorBlock, unit
from videomae_cli.search.layout import lay_out


def source(vectors: npt.NDArray[Any], size: int = 7) -> Callable[[], list[VectorBlock]]:
    values = unit(vectors)
    return lambda: [
        VectorBlock(values[start : start + size], [Row("")] * len(values[start : start + size]))
        for start in range(0, len(values), size)
    ]


def test_pca_is_the_reference_s() -> None:
    vectors = bunches(40, 12)
    made = lay_out(source(vectors), 40, "pca")
    reference = PCA(2).fit(unit(vectors))
    expected = reference.transform(unit(vectors))
    centre = (expected.min(axis=0) + expected.max(axis=0)) / 2
    expected = (expected - centre) / ((expected.max(axis=0) - expected.min(axis=0)).max() / 2)
    signs = np.sign((made.points * expected).sum(axis=0))  # an axis has no sign of its own
    np.testing.assert_allclose(made.points, expected * signs, atol=1e-5)
    assert made.description == f"PCA, {reference.explained_variance_ratio_.sum():.0%} of the variance"
    assert np.abs(made.points).max() == pytest.approx(1)


def test_blocks_make_no_difference() -> None:
    vectors = bunches(40, 12)
    first, second = (lay_out(source(vectors, size), 40, "pca").points for size in (40, 3))
    np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.parametrize(
    "vectors", [np.ones((1, 4)), np.ones((5, 4)), np.zeros((3, 4)), np.ones((4, 1)), np.eye(2), -np.eye(3)[:2]]
)
def test_few_and_equal_vectors_have_a_place_too(vectors: npt.NDArray[Any]) -> None:
    made = lay_out(source(vectors), len(vectors), "umap")
    assert made.points.shape == (len(vectors), 2)
    assert np.isfinite(made.points).all()
    assert np.abs(made.points).max() <= 1
    assert made.description.startswith("PCA")
    assert made.description.endswith(", as UMAP needs 20 points")


def test_umap_keeps_bunches_together_and_draws_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    import umap  # takes seconds, and every worker of pytest imports this file

    # A tenth of its steps: uncompiled (conftest.py), it takes seconds for all of them.
    monkeypatch.setattr(umap, "UMAP", functools.partial(umap.UMAP, n_epochs=50))
    vectors = np.concatenate([bunches(16, 16, centres=1, seed=seed) for seed in (1, 2)])
    made = lay_out(source(vectors), 32, "auto")
    assert made.description == "UMAP of 15 neighbours"
    means = made.points.reshape(2, 16, 2).mean(axis=1)
    spread = np.linalg.norm(made.points.reshape(2, 16, 2) - means[:, None], axis=2).max()
    assert np.linalg.norm(means[0] - means[1]) > 1.5 * spread
    np.testing.assert_array_equal(lay_out(source(vectors), 32, "umap").points, made.points)


def test_without_umap_auto_is_pca_and_umap_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_umap(name: str, *rest: Any, **more: Any) -> Any:
        if name == "umap":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_umap)
    assert lay_out(source(bunches(30)), 30, "auto").description.startswith("PCA")
    with pytest.raises(DependencyError, match=r"pip install 'videomae-cli\[map\]', or method=.pca"):
        lay_out(source(bunches(30)), 30, "umap")

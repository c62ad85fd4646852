"""Places vectors in the plane by PCA, or by UMAP if umap-learn is installed; equal input gives an equal picture."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DependencyError, Wording
from videomae_cli.search.embedding_table import VectorBlock, Vectors

METHODS = ("auto", "pca", "umap")
# Range of counts for which UMAP is chosen: with fewer vectors there are too few neighbours to learn from, and with more
# it takes very long on a few cores.
UMAP_MINIMUM = 20
UMAP_AUTO_LIMIT = 30_000
_NEIGHBOURS = 15
_SEED = 42

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """Points in the plane: (N, 2) float32, centred, within [-1, 1]; description: the layout method, in words."""

    points: Vectors
    description: str


def lay_out(blocks: Callable[[], Iterable[VectorBlock]], count: int, method: str) -> Layout:
    """Lay out `count` vectors. method: "auto" is UMAP if it is installed and the count suits it, else PCA.

    Raises DependencyError if UMAP was requested but is not installed.
    """
    if method == "auto":
        method = "umap" if UMAP_MINIMUM <= count <= UMAP_AUTO_LIMIT and has_umap() else "pca"
    if method == "umap" and count >= UMAP_MINIMUM:
        return _umap(blocks)
    layout = _pca(blocks, count)
    if method == "umap":
        return replace(layout, description=f"{layout.description}, as UMAP needs {UMAP_MINIMUM} points")
    return layout


def has_umap() -> bool:
    """Return whether umap-learn can be imported."""
    try:
        import umap  # noqa: F401
    except ImportError:
        return False
    return True


def _pca(blocks: Callable[[], Iterable[VectorBlock]], count: int) -> Layout:
    """Project on two principal axes in two passes: mean and covariance, then projection. Memory: (D, D) for any count."""
    total: npt.NDArray[np.float64] | float = 0.0
    squares: npt.NDArray[np.float64] | float = 0.0
    for block in blocks():
        values = block.vectors.astype(np.float64)
        total = total + values.sum(axis=0)
        squares = squares + values.T @ values  # (D, n) x (n, D) -> (D, D)
    mean = np.asarray(total) / count
    covariance = np.asarray(squares) / count - np.outer(mean, mean)
    spread, axes = np.linalg.eigh(covariance)  # ascending
    axes = axes[:, ::-1][:, :2]
    # The sign of an axis is arbitrary: make its largest component positive, so that every machine agrees.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    points = np.concatenate([(block.vectors - mean) @ axes for block in blocks()])
    if points.shape[1] < 2:
        points = np.pad(points, ((0, 0), (0, 1)))
    whole = float(np.clip(spread, 0, None).sum())
    variance = f", {float(np.clip(spread[-2:], 0, None).sum()) / whole:.0%} of the variance" if whole > 1e-12 else ""
    return Layout(_fitted(points), f"PCA{variance}")


def _umap(blocks: Callable[[], Iterable[VectorBlock]]) -> Layout:
    with warnings.catch_warnings():
        # suppress warnings about threads, which a fixed seed rules out, and about numba
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ImportError as error:
            raise DependencyError.about(
                "umap-learn",
                "UMAP needs the package umap-learn",
                remedy=Wording("pip install 'videomae-cli[map]', or {@method:pca} ({error})", error=error),
            ) from None
        vectors = np.concatenate([block.vectors for block in blocks()])
        # Euclidean and cosine neighbours agree for unit vectors, and zero vectors have Euclidean ones too.
        reducer = UMAP(n_neighbors=min(_NEIGHBOURS, len(vectors) - 1), random_state=_SEED, n_jobs=1)
        points = np.asarray(reducer.fit_transform(vectors))
    return Layout(_fitted(points), f"UMAP of {_NEIGHBOURS} neighbours")


def _fitted(points: npt.NDArray[np.floating]) -> Vectors:
    """Centre points and scale both axes equally to fit [-1, 1]."""
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2 or 1.0
    fitted: Vectors = ((points - (low + high) / 2) / half).astype(np.float32)
    return fitted

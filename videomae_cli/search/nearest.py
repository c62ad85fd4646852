"""Finds the files of a table nearest to a vector: exact cosines, one pass, flat memory."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from videomae_cli.search.embedding_table import Row, VectorBlock, Vectors

# Scores are rounded to this many places before comparison: further digits depend on the order of summation.
PLACES = 6
# Rows of the table of all pairs that are in memory at a time.
_ROWS = 512


@dataclass(frozen=True)
class Match:
    """A file and the cosine, in [-1, 1], of its nearest vector."""

    row: Row
    score: float


def nearest(
    blocks: Iterable[VectorBlock], queries: Vectors, *, top_k: int, leave_out: Collection[str] = ()
) -> list[Match]:
    """Find the `top_k` files nearest to any of the queries, nearest first; ties are in table order.

    queries: (Q, D), of unit length; leave_out: paths to skip. The best clip of a file counts.
    """
    best: dict[str, tuple[float, int, Row]] = {}
    # Only rows above the last score of a full list can enter it: a row that equals it comes later and ranks behind.
    bar = -np.inf
    place = 0
    for block in blocks:
        scores = cosines(block.vectors, queries)
        for number in np.flatnonzero(scores > bar):
            row = block.rows[number]
            score = float(scores[number])
            if row.path not in leave_out and (row.path not in best or score > best[row.path][0]):
                best[row.path] = (score, place + int(number), row)
        place += len(block.rows)
        if len(best) >= top_k:
            ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[1][1]))[:top_k]
            best, bar = dict(ranked), ranked[-1][1][0]
    ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[1][1]))
    return [Match(row, score) for _, (score, _, row) in ranked]


def cosines(vectors: Vectors, queries: Vectors) -> npt.NDArray[np.float64]:
    """Return (n,): each vector's cosine to its nearest query, rounded to `PLACES` places."""
    # In float64, because float32 sums vary with the number of vectors multiplied at once.
    table, best = vectors.astype(np.float64), np.full(len(vectors), -1.0)
    for start in range(0, len(queries), _ROWS):
        products = table @ queries[start : start + _ROWS].astype(np.float64).T  # (n, D) x (D, q) -> (n, q)
        np.maximum(best, products.max(axis=1), out=best)
    return best.clip(-1.0, 1.0).round(PLACES)


def neighbours(vectors: Vectors, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Find the `count` nearest vectors of each vector, nearest first, and their cosines: two arrays (N, count).

    vectors: (N, D), of unit length. With N <= count there are N - 1 columns. Time grows as N * N, memory as N.
    """
    total = len(vectors)
    count = min(count, total - 1)
    places, scores = np.zeros((total, count), np.int64), np.zeros((total, count), np.float32)
    for start in range(0, total if count > 0 else 0, _ROWS):
        products = vectors[start : start + _ROWS] @ vectors.T  # (n, D) x (D, N) -> (n, N)
        own = np.arange(len(products))
        products[own, start + own] = -np.inf
        found = np.argpartition(-products, count - 1, axis=1)[:, :count]
        cosine = np.take_along_axis(products, found, axis=1).clip(-1.0, 1.0).round(4)
        order = np.lexsort((found, -cosine), axis=1)
        places[start : start + _ROWS] = np.take_along_axis(found, order, axis=1)
        scores[start : start + _ROWS] = np.take_along_axis(cosine, order, axis=1)
    return places, scores


@dataclass
class Found:
    """The vectors that a table has for one path or, if none, the paths with the same file name."""

    path: str | None = None
    vectors: list[Vectors] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)


def find_path(blocks: Iterable[VectorBlock], path: str) -> Found:
    """Find the vectors of the file that `path` names: an equal path, else a path to the same place on this disk."""
    exact, same, alike = Found(path), Found(), Found()
    place, name = os.path.abspath(path), os.path.basename(path)  # noqa: PTH100, PTH119 - strings, a million times
    for block in blocks:
        for number, row in enumerate(block.rows):
            if row.path == path:
                exact.vectors.append(block.vectors[number])
            elif row.path.endswith(name):
                if os.path.abspath(row.path) == place:  # noqa: PTH100
                    same.path = row.path
                    same.vectors.append(block.vectors[number])
                elif os.path.basename(row.path) == name and row.path not in alike.alike:  # noqa: PTH119
                    alike.alike.append(row.path)
    return exact if exact.vectors else same if same.vectors else alike

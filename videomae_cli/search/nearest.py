"""The files of a table that are most like a vector: exact cosine, one pass, flat memory."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from videomae_cli.search.embedding_table import Row, VectorBlock, Vectors

# Scores are told, and compared, to so many places: what differs beyond is the order of a sum, not the video.
PLACES = 6


@dataclass(frozen=True)
class Match:
    """A file and how near its nearest vector is: cosine in [-1, 1]."""

    row: Row
    score: float


def nearest(
    blocks: Iterable[VectorBlock], queries: Vectors, *, top_k: int, leave_out: Collection[str] = ()
) -> list[Match]:
    """The `top_k` files nearest to any of the queries, nearest first; among equals, the one that comes first.

    queries: (Q, D), of unit length; leave_out: paths. Of a file with many clips the best one counts.
    """
    best: dict[str, tuple[float, int, Row]] = {}
    # What a row must exceed to matter: the last score of a full list. A row that equals it comes later, and so ranks behind it.
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
    """(n,): of each vector, the cosine to its nearest query, to `PLACES` places."""
    # In float64, or the last place would depend on how many vectors are multiplied at once.
    products = vectors.astype(np.float64) @ queries.astype(np.float64).T  # (n, D) x (D, Q) -> (n, Q)
    best: npt.NDArray[np.float64] = products.max(axis=1)
    return best.clip(-1.0, 1.0).round(PLACES)


@dataclass
class Found:
    """What a table has of one path: its vectors, and, where it has none, names that are alike."""

    path: str | None = None
    vectors: list[Vectors] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)


def find_path(blocks: Iterable[VectorBlock], path: str) -> Found:
    """The vectors of the file that `path` names: literally, or else as the same place on this disk."""
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

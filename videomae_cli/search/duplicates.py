"""Finds groups of near-duplicate files: two files are joined if the cosine of any of their vectors reaches a threshold.

A group is a connected component: each file is near to some other file in it, but two files of it may be further apart.

Pairs of vectors are found exactly, block against block, or with an index (faiss) if there are too many. The time of the
exact search grows with the square of the number of vectors. Measured with `benchmarks/search.py` on two cores, at 768
values: 20,000 vectors in 3 s, 100,000 in 54 s. With the cores shared with other work, 100,000 took 153 s exactly and 64
s by the index, which missed none of 1,000 planted pairs. Above `EXACT_LIMIT` vectors the index is used if faiss is
installed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.search.embedding_table import EmbeddingTable, Row, VectorBlock, Vectors
from videomae_cli.search.nearest import PLACES

EXACT_LIMIT = 200_000
# Cells of the index searched for each vector, and vectors per cell that the cells are learned from.
_PROBES = 8
_TRAINING = 40
_CHUNK = 256
# Rounding error of a float32 dot product: equal vectors must be found at a threshold of 1.0.
TOLERANCE = 1e-6
# Pairs joined at a time; pairs whose files are already in one group are then dropped before the next.
_SLICE = 1 << 16

log = logging.getLogger(__name__)

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Duplicate:
    """A file of a group: its row nearest to another file, that other file's row, and their cosine."""

    row: Row
    nearest: Row
    score: float


@dataclass(frozen=True)
class Groups:
    """Groups of two or more files, the largest first; files within a group are in table order.

    exact: False if an index was used, which may miss pairs; vectors, files: how many were compared.
    """

    groups: list[list[Duplicate]]
    exact: bool
    vectors: int
    files: int


def find_duplicates(table: EmbeddingTable, threshold: float, *, exact_limit: int = EXACT_LIMIT) -> Groups:
    """Find all groups of files with cosines of at least `threshold`. Above `exact_limit` vectors, faiss is used if installed."""
    rows = [row for block in table.blocks() for row in block.rows]
    exact = len(rows) <= exact_limit or not has_index()
    if exact and len(rows) > exact_limit:
        log.warning(
            "each of %d vectors is compared with every other, which takes long: pip install 'videomae-cli[search]' "
            "brings an index that takes a fraction of it",
            len(rows),
        )
    files = _Files(rows)
    for pairs in exact_pairs(table.blocks(), threshold) if exact else indexed_pairs(table.blocks, len(rows), threshold):
        files.join(pairs)
    return Groups(files.groups(), exact, len(rows), files.count)


class _Files:
    """Disjoint sets of files (union-find). parent[f]: a file of the same group with a smaller number, or f itself."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        numbers: dict[str, int] = {}
        self.of_row = np.array([numbers.setdefault(row.path, len(numbers)) for row in rows], np.int64)
        self.count = len(numbers)
        self.parent = np.arange(self.count)
        self.score = np.full(self.count, -2.0, np.float32)
        # for each file, the number of its row that is nearest to another file
        self.mine = np.zeros(self.count, np.int64)
        self.other = np.zeros(self.count, np.int64)  # for each file, the number of that other file's row

    def join(self, pairs: Pairs) -> None:
        first, second = self.of_row[pairs.first], self.of_row[pairs.second]
        apart = first != second  # clips of one file are not duplicates of each other
        first, second = first[apart], second[apart]
        rows, others, scores = pairs.first[apart], pairs.second[apart], pairs.scores[apart]
        self._keep_best(first, rows, others, scores)
        self._keep_best(second, others, rows, scores)
        for start in range(0, len(first), _SLICE):
            self._unite(first[start : start + _SLICE], second[start : start + _SLICE])

    def _keep_best(self, files: _Ints, rows: _Ints, others: _Ints, scores: npt.NDArray[np.float32]) -> None:
        better = np.flatnonzero(scores > self.score[files])
        # Sort so that the best pair comes last (the first row among equals): the last assignment to an index wins.
        order = better[np.lexsort((-others[better], -rows[better], scores[better]))]
        self.score[files[order]] = scores[order]
        self.mine[files[order]] = rows[order]
        self.other[files[order]] = others[order]

    def _unite(self, first: _Ints, second: _Ints) -> None:
        first, second = self._roots(first), self._roots(second)
        apart = first != second
        for edge in np.unique(first[apart] * self.count + second[apart]):
            one, two = sorted((self._root(int(edge) // self.count), self._root(int(edge) % self.count)))
            self.parent[two] = one

    def _root(self, file: int) -> int:
        while (above := int(self.parent[file])) != file:
            self.parent[file] = self.parent[above]
            file = above
        return file

    def _roots(self, files: _Ints) -> _Ints:
        roots = self.parent[files]
        while True:
            above = self.parent[roots]
            if np.array_equal(above, roots):
                break
            roots = above
        self.parent[files] = roots
        return roots

    def groups(self) -> list[list[Duplicate]]:
        roots = self._roots(np.arange(self.count))
        members: dict[int, list[int]] = {}
        for file in np.flatnonzero(self.score > -2.0):
            members.setdefault(int(roots[file]), []).append(int(file))
        ordered = sorted(members.values(), key=lambda files: (-len(files), files[0]))
        return [[self._duplicate(file) for file in files] for files in ordered]

    def _duplicate(self, file: int) -> Duplicate:
        score = round(min(float(self.score[file]), 1.0), PLACES)
        return Duplicate(self.rows[self.mine[file]], self.rows[self.other[file]], score)


@dataclass(frozen=True)
class Pairs:
    """Pairs of vectors: those at the table's rows `first[i]` and `second[i]` have the cosine `scores[i]`."""

    first: _Ints
    second: _Ints
    scores: Vectors


def exact_pairs(blocks: Iterable[VectorBlock], threshold: float) -> Iterator[Pairs]:
    """Yield every pair once. Memory: all vectors, and the products of one block with `_CHUNK` vectors."""
    seen: list[tuple[int, Vectors]] = []
    place = 0
    for block in blocks:
        seen.append((place, block.vectors))
        for start in range(0, len(block.rows), _CHUNK):
            for other, vectors in seen:
                yield _between(vectors, other, block.vectors[start : start + _CHUNK], place + start, threshold)
        place += len(block.rows)


def _between(first: Vectors, at: int, second: Vectors, from_: int, threshold: float) -> Pairs:
    scores = first @ second.T  # (n, D) x (D, m) -> (n, m)
    near = np.flatnonzero(scores >= threshold - TOLERANCE)
    rows, columns = near // len(second) + at, near % len(second) + from_
    once = rows < columns  # a block with itself has each pair twice, and each vector paired with itself
    return Pairs(rows[once], columns[once], scores.ravel()[near[once]])


def indexed_pairs(blocks: Callable[[], Iterable[VectorBlock]], count: int, threshold: float) -> Iterator[Pairs]:
    """Yield nearly every pair, once or twice: only the nearest cells of an inverted file are searched, so a pair on
    both sides of a cell's border can be missed. Scores are exact.

    blocks: called several times: to learn the cells, to fill them, to search. Memory: one copy of the vectors.
    Raises ImportError if faiss is not installed.
    """
    index = _filled_index(blocks, count)
    place = 0
    for block in blocks():
        for start in range(0, len(block.rows), _CHUNK):
            queries = block.vectors[start : start + _CHUNK]
            limits, scores, found = index.range_search(queries, threshold - TOLERANCE)
            asked = np.repeat(np.arange(len(queries)) + place + start, np.diff(limits.astype(np.int64)))
            others = asked != found
            yield Pairs(asked[others], found[others], scores[others])
        place += len(block.rows)


def _filled_index(blocks: Callable[[], Iterable[VectorBlock]], count: int) -> Any:
    import faiss

    first = next(iter(blocks()))
    dimensions = first.vectors.shape[1]
    cells = max(1, min(round(4 * math.sqrt(count)), count // _TRAINING))
    step = max(1, round(count / (cells * _TRAINING)))
    sample = np.concatenate([block.vectors[::step] for block in blocks()])
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimensions), dimensions, cells, faiss.METRIC_INNER_PRODUCT)
    # Ten iterations will do, as several cells are searched per vector. Without a minimum of 1 faiss prints a warning.
    index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = 1, 10, 1
    index.train(sample)
    del sample
    for block in blocks():
        index.add(block.vectors)
    index.nprobe = min(_PROBES, cells)
    return index


def has_index() -> bool:
    """Return whether faiss can be imported."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True

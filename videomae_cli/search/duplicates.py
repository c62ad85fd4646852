"""Groups of files that are nearly the same: files are joined where vectors of them are at least so near.

A group is a connected component: everything in it is near to something in it, and its ends may be further apart.

All pairs of vectors above a cosine are found exactly, block against block, or by an index (faiss) where there are too many. Exact
needs time that grows with the square of the number of vectors. Measured with `benchmarks/search.py` on two cores, at 768 values:
20,000 vectors in 3 s, 100,000 in 54 s. With the cores shared with other work, 100,000 took 153 s exactly and 64 s by the index,
which missed none of 1,000 planted pairs. Above `EXACT_LIMIT` vectors the index is used where faiss is installed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.search.embedding_table import EmbeddingTable, Row, VectorBlock, Vectors
from videomae_cli.search.nearest import PLACES

EXACT_LIMIT = 200_000
# Cells of the index that are looked through for a vector, and vectors that its cells are learned from, a cell.
_PROBES = 8
_TRAINING = 40
_CHUNK = 256
# What a sum of float32 products may be off; vectors that are the same must be found at 1.0.
TOLERANCE = 1e-6
# Pairs that are joined one by one before it is looked again which are joined already.
_SLICE = 1 << 16

log = logging.getLogger(__name__)

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Duplicate:
    """A file of a group: the vector that is nearest to another file, that file, and the cosine of the two."""

    row: Row
    nearest: Row
    score: float


@dataclass(frozen=True)
class Groups:
    """Groups of two files or more, the largest first, in each the files in the order of the table.

    exact: False where an index was used, which may miss a pair; vectors, files: how many were compared.
    """

    groups: list[list[Duplicate]]
    exact: bool
    vectors: int
    files: int


def find_duplicates(table: EmbeddingTable, threshold: float, *, exact_limit: int = EXACT_LIMIT) -> Groups:
    """All groups of files with a cosine of `threshold` or more. Above `exact_limit` vectors with faiss, if it is there."""
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


@dataclass
class _Files:
    """Files being joined. parent[f]: a file of the same group with a smaller number, or f itself."""

    rows: list[Row]
    count: int = 0
    _first: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers: dict[str, int] = {}
        of_row = np.empty(len(self.rows), np.int64)
        for place, row in enumerate(self.rows):
            of_row[place] = numbers.setdefault(row.path, len(numbers))
        self.of_row = of_row
        self.count = len(numbers)
        self.parent = np.arange(self.count)
        self.score = np.full(self.count, -2.0, np.float32)
        self.mine = np.zeros(self.count, np.int64)  # the row of this file that is nearest to another file
        self.other = np.zeros(self.count, np.int64)  # that row of the other file

    def join(self, pairs: Pairs) -> None:
        first, second = self.of_row[pairs.first], self.of_row[pairs.second]
        apart = first != second  # two clips of one file are no duplicates
        first, second = first[apart], second[apart]
        rows, others, scores = pairs.first[apart], pairs.second[apart], pairs.scores[apart]
        self._keep_best(first, rows, others, scores)
        self._keep_best(second, others, rows, scores)
        for start in range(0, len(first), _SLICE):
            self._unite(first[start : start + _SLICE], second[start : start + _SLICE])

    def _keep_best(self, files: _Ints, rows: _Ints, others: _Ints, scores: npt.NDArray[np.float32]) -> None:
        better = np.flatnonzero(scores > self.score[files])
        # Ascending by score, and among equals the first row last: of several assignments to one place the last stays.
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
    """Vectors `first[i]` and `second[i]`, by their place in the table, have the cosine `scores[i]`."""

    first: _Ints
    second: _Ints
    scores: Vectors


def exact_pairs(blocks: Iterable[VectorBlock], threshold: float) -> Iterator[Pairs]:
    """Every pair, each once. In memory: all vectors, and the products of a block with `_CHUNK` of them."""
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
    once = rows < columns  # in a block with itself each pair is there twice, and each vector with itself
    return Pairs(rows[once], columns[once], scores.ravel()[near[once]])


def indexed_pairs(blocks: Callable[[], Iterable[VectorBlock]], count: int, threshold: float) -> Iterator[Pairs]:
    """Nearly every pair, each once or twice: only the nearest cells of an inverted file are searched, so a pair that
    lies on both sides of a border can be missed. Scores are exact.

    blocks: called three times: to learn the cells, to fill them, to search. Memory: the vectors, once.
    Raises ImportError where faiss is not installed.
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
    # Cells need not be the very best, as several are searched for each vector. At least 1: or faiss prints a warning.
    index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = 1, 10, 1
    index.train(sample)
    del sample
    for block in blocks():
        index.add(block.vectors)
    index.nprobe = min(_PROBES, cells)
    return index


def has_index() -> bool:
    """Whether faiss can be imported."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True

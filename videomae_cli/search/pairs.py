"""All pairs of vectors above a cosine: exactly, block against block, or by an index (faiss) where there are too many.

Exact needs time that grows with the square of the number of vectors. Measured with `benchmarks/search.py` on two cores,
at 768 values: 20,000 vectors in 3 s, 100,000 in 54 s. With the cores shared with other work, 100,000 took 153 s exactly and
64 s by the index, which missed none of 1,000 planted pairs. Above `EXACT_LIMIT` vectors the index is used where faiss is
installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.search.embedding_table import VectorBlock, Vectors

EXACT_LIMIT = 200_000
# Cells of the index that are looked through for a vector, and vectors that its cells are learned from, a cell.
_PROBES = 8
_TRAINING = 40
_CHUNK = 256
# What a sum of float32 products may be off; vectors that are the same must be found at 1.0.
TOLERANCE = 1e-6

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Vectors `first[i]` and `second[i]`, by their place in the table, have the cosine `scores[i]`."""

    first: Index
    second: Index
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

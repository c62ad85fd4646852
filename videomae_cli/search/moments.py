"""Finds the moments of films nearest to a vector: hits of one moment are joined, so that each is listed once.

    cosine           . : | | : . . . . : | : . .
    windows of a film  [ moment ]    [moment]       each reaches as far as its windows stand out

A moment begins with the best window that none has yet, and takes in the windows beside it as long as their cosines are
nearer to its own than to the film's mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from videomae_cli.search.embedding_table import Row, VectorBlock, Vectors
from videomae_cli.search.nearest import Match, cosines

Scores = npt.NDArray[np.float64]


def nearest_moments(
    blocks: Iterable[VectorBlock], queries: Vectors, *, top_k: int, leave_out: Collection[str] = ()
) -> list[Match]:
    """Find the `top_k` moments nearest to any of the queries, nearest first; ties are in table order.

    blocks: of windows, those of a film one after the other; queries: (Q, D), of unit length; leave_out: paths to skip. A
    match's row has the start and end of the whole moment, and the number of its best window. Memory grows with the windows
    of a single film.
    """
    found: list[tuple[float, int, Match]] = []
    for number, film in enumerate(_films(blocks, queries)):
        if film.rows[0].path in leave_out:
            continue
        found += [(-match.score, number, match) for match in film.moments(top_k)]
        found = sorted(found, key=lambda one: one[:2])[:top_k]
    return [match for _, _, match in found]


@dataclass(frozen=True)
class _Film:
    """The windows of one film, in order, and their cosines (n,)."""

    rows: list[Row]
    scores: Scores

    def moments(self, most: int) -> list[Match]:
        """Return the best moments, at most so many, the best first; no two of them overlap."""
        left, mean, found = self.scores.copy(), float(self.scores.mean()), list[Match]()
        while len(found) < most and np.isfinite(left.max()):
            best = int(left.argmax())
            first, last = self._reach(best, left, (float(left[best]) + mean) / 2)
            row = replace(self.rows[best], start=self.rows[first].start, end=self.rows[last].end)
            if found and self.scores[best] <= mean:
                break  # what stands out is listed
            found.append(Match(row, float(self.scores[best])))
            self._leave_out(left, row)
        return found

    def _reach(self, best: int, left: Scores, bar: float) -> tuple[int, int]:
        """Return the first and last window of the moment around the best one, whose neighbours are above the bar."""
        first = last = best
        while first > 0 and left[first - 1] >= bar and self._touch(first - 1, first):
            first -= 1
        while last + 1 < len(left) and left[last + 1] >= bar and self._touch(last, last + 1):
            last += 1
        return first, last

    def _touch(self, one: int, after: int) -> bool:
        end, start = self.rows[one].end, self.rows[after].start
        return end is not None and start is not None and start <= end + 1e-3

    def _leave_out(self, left: Scores, moment: Row) -> None:
        """Take away the windows that show a part of a moment."""
        assert moment.start is not None
        assert moment.end is not None
        for place, row in enumerate(self.rows):
            if row.start is not None and row.end is not None and row.start < moment.end and row.end > moment.start:
                left[place] = -np.inf


def _films(blocks: Iterable[VectorBlock], queries: Vectors) -> Iterator[_Film]:
    def scored() -> Iterator[tuple[Row, float]]:
        for block in blocks:
            yield from zip(block.rows, cosines(block.vectors, queries).tolist(), strict=True)

    for _, group in groupby(scored(), key=lambda pair: pair[0].path):
        rows, scores = zip(*group, strict=True)
        yield _Film(list(rows), np.array(scores))

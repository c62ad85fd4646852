"""Turns scores of overlapping windows into labelled segments: pure maths, without models or videos.

    windows     [AAAAAAAA)                      scores of overlapping windows
                    [AAAABBBB)
                        [BBBBBBBB)
    cells       |A|A|A|A|A|?|B|B|B|B|B|B|       four per hop: mean of the covering windows, nearer centres weigh more
    segments    [A        )[B           )       the sequence with the highest total score among those without short
    segments

Labels are exclusive (softmax: one at a time, segments tile the time) or independent (sigmoid: each label has its own
segments, which may overlap).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import OptionError

Scores = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]

NO_LABEL = -1
INDEPENDENT_THRESHOLD = 0.5
# At most half of the segments that score just below this had the right label: benchmarks/unsure.py, docs/timeline.md.
UNSURE_BELOW = 0.45
# Between two windows the scores blend from one into the other; several cells per hop locate a boundary where the labels
# cross.
CELLS_A_HOP = 4
_SAME = 1e-6


@dataclass(frozen=True)
class SegmentRules:
    """How scores become segments. smooth, min_duration: seconds, min_duration None means one window; threshold: None means
    0, or 0.5 for independent labels; unsure_below: the mean score under which a segment is marked as unsure, 0 for none."""

    smooth: float = 0.0
    min_duration: float | None = None
    threshold: float | None = None
    unsure_below: float = UNSURE_BELOW

    def __post_init__(self) -> None:
        for name in ("smooth", "min_duration"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise OptionError.about(
                    name, "{name} must be 0 seconds or more, not {value:g}", name=name.replace("_", " "), value=value
                )
        for name in ("threshold", "unsure_below"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise OptionError.about(
                    name, "{name} must be between 0 and 1, not {value:g}", name=name.replace("_", " "), value=value
                )


@dataclass(frozen=True)
class Stretch:
    """A segment: start and end in seconds, label id (`NO_LABEL` for none), and mean score (nan without a label)."""

    start: float
    end: float
    label: int
    score: float


class Curve:
    """Scores per cell, computed on demand: for a long video with many labels they would not fit in memory.

    spans: (start, end) of every window, ascending; scores: (W, L).
    """

    def __init__(
        self, spans: Sequence[tuple[float, float]], scores: Scores, *, start: float, end: float, hop: float
    ) -> None:
        self.scores = scores
        self.cell = hop / CELLS_A_HOP
        self.count = max(1, round((end - start) / self.cell))
        self.edges: Floats = start + self.cell * np.arange(self.count + 1, dtype=np.float64)
        # time is divided into equal cells, except that the last one may be up to half a cell longer or shorter
        self.edges[-1] = end
        begins, ends = np.array(spans, dtype=np.float64).T
        self._centres, self._halves = (begins + ends) / 2, (ends - begins) / 2
        self._middles = (self.edges[:-1] + self.edges[1:]) / 2
        self._low = np.searchsorted(ends, self._middles, "right")
        self._high = np.searchsorted(begins, self._middles, "right")

    def at(self, cell: int) -> Floats:
        """Return the scores (L,) of one cell."""
        low, weights = self._weights(cell)
        return np.asarray(weights @ self.scores[low : low + len(weights)], np.float64)

    def mean(self, low: int, high: int, label: int) -> float:
        """Return the mean score of one label over cells low, ..., high - 1."""
        total = 0.0
        for cell in range(low, high):
            first, weights = self._weights(cell)
            total += float(weights @ self.scores[first : first + len(weights), label])
        return total / (high - low)

    def _weights(self, cell: int) -> tuple[int, Floats]:
        """Return the first window that covers a cell, and the weight of each: highest at a window's centre, 0 at its ends."""
        low, high, middle = int(self._low[cell]), int(self._high[cell]), self._middles[cell]
        if high <= low:  # no window covers it: use the nearest
            near = np.abs(self._centres[max(high - 1, 0) : low + 1] - middle)
            return max(high - 1, 0) + int(near.argmin()), np.ones(1)
        weights = 1 - np.abs(self._centres[low:high] - middle) / self._halves[low:high]
        weights = np.maximum(weights, _SAME)
        return low, weights / weights.sum()


def find_segments(
    spans: Sequence[tuple[float, float]],
    scores: Scores,
    *,
    start: float,
    end: float,
    window: float,
    hop: float,
    rules: SegmentRules,
    independent: bool,
) -> list[Stretch]:
    """Find the segments between `start` and `end`, ascending.

    spans: (start, end) of every window, ascending; scores: (W, L) in [0, 1]; window, hop: seconds.
    """
    curve = Curve(spans, smoothed(scores, reach=int(rules.smooth / 2 / hop + _SAME)), start=start, end=end, hop=hop)
    shortest = window if rules.min_duration is None else rules.min_duration
    cells = max(1, math.ceil(shortest / curve.cell - _SAME))
    if independent:
        threshold = INDEPENDENT_THRESHOLD if rules.threshold is None else rules.threshold
        return _independent(curve, threshold, min(cells, curve.count))
    labels = best_labels(curve, threshold=rules.threshold or 0.0, shortest=cells)
    found, at = [], 0
    for label, run in groupby(labels.tolist()):
        stop = at + len(list(run))
        found.append(_stretch(curve, at, stop, label))
        at = stop
    return found


def smoothed(scores: Scores, *, reach: int) -> Scores:
    """Average the scores (W, L) of each window with `reach` windows on either side, fewer at the ends."""
    if not reach:
        return scores
    count = len(scores)
    reach = min(reach, count)
    total = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0, dtype=np.float64)])
    low = np.maximum(np.arange(count) - reach, 0)
    high = np.minimum(np.arange(count) + reach + 1, count)
    return np.asarray((total[high] - total[low]) / (high - low)[:, None])


def best_labels(curve: Curve, *, threshold: float, shortest: int) -> npt.NDArray[np.int64]:
    """Find the label sequence (C,) with the highest sum of scores whose runs all have at least `shortest` cells.

    Cells without a label (`NO_LABEL`) score `threshold`. If there are fewer cells than `shortest`, all get one label.
    Dynamic programming: the best sequence up to a cell either extends its label, or appends a run of exactly `shortest`
    cells to the best sequence that ended there with another label.
    """
    count, labels = curve.count, curve.scores.shape[1] + 1
    begun = np.zeros((count + 1, labels), bool)  # is the run of `shortest` cells up to here a new one?
    before = np.zeros((count + 1, 2), np.int64)  # the best two labels in which a sequence up to here can end
    recent: deque[Floats] = deque()  # scores of the last `shortest` cells
    totals: deque[Floats] = deque()  # best total per final label, for the last `shortest` cells
    run = np.zeros(labels)
    best = np.full(labels, -np.inf)
    for cell in range(count):
        totals.append(best)
        before[cell] = _best_two(best)
        cell_scores = np.append(curve.at(cell), threshold)
        recent.append(cell_scores)
        run = run + cell_scores
        if len(recent) > shortest:
            run = run - recent.popleft()
            totals.popleft()
        extended = best + cell_scores
        fresh = np.full(labels, -np.inf)
        if cell + 1 == shortest or (cell + 1 < shortest and cell + 1 == count):
            fresh = run
        elif cell + 1 > shortest:
            first, second = before[cell + 1 - shortest]
            earlier = np.full(labels, totals[0][first])
            earlier[first] = totals[0][second]
            fresh = earlier + run
        begun[cell + 1] = fresh > extended
        best = np.maximum(extended, fresh)
    return _traced(begun, before, int(best.argmax()), shortest)


def _best_two(values: Floats) -> tuple[int, int]:
    first = int(values.argmax())
    rest = values.copy()
    rest[first] = -np.inf
    second = int(rest.argmax())
    return first, second if second != first else (first + 1) % len(values)


def _traced(
    begun: npt.NDArray[np.bool_], before: npt.NDArray[np.int64], label: int, shortest: int
) -> npt.NDArray[np.int64]:
    """Trace the chosen labels back from the last cell, which has `label`."""
    count, none = len(begun) - 1, begun.shape[1] - 1
    found = np.empty(count, np.int64)
    at = count
    while at > 0:
        first = max(at - shortest, 0) if begun[at, label] else at - 1
        found[first:at] = NO_LABEL if label == none else label
        if begun[at, label]:
            label = int(before[first, 0]) if before[first, 0] != label else int(before[first, 1])
        at = first
    return found


def _independent(curve: Curve, threshold: float, shortest: int) -> list[Stretch]:
    """Find each label's runs at or above the threshold: first close gaps that are too short, then drop short runs."""
    above = np.zeros((curve.count + 2, curve.scores.shape[1]), bool)
    for cell in range(curve.count):
        above[cell + 1] = curve.at(cell) >= threshold
    found = []
    for label in np.flatnonzero(above.any(axis=0)).tolist():
        changes = np.flatnonzero(np.diff(above[:, label].astype(np.int8))).tolist()
        runs: list[tuple[int, int]] = []
        for low, high in zip(changes[::2], changes[1::2], strict=True):
            if runs and low - runs[-1][1] < shortest:
                runs[-1] = (runs[-1][0], high)
            else:
                runs.append((low, high))
        found += [_stretch(curve, low, high, label) for low, high in runs if high - low >= shortest]
    return sorted(found, key=lambda stretch: (stretch.start, stretch.label))


def _stretch(curve: Curve, low: int, high: int, label: int) -> Stretch:
    score = curve.mean(low, high, label) if label != NO_LABEL else math.nan
    return Stretch(float(curve.edges[low]), float(curve.edges[high]), label, score)

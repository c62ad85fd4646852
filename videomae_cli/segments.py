"""Scores of windows -> segments under one label: pure maths over numbers and seconds. Knows no model and no video.

    windows     [AAAAAAAA)                      scores of overlapping windows
                    [AAAABBBB)
                        [BBBBBBBB)
    cells       |AAAA|AAAA|?BBB|BBBB|           one a hop: the mean of the windows over it, weighted by how much they cover
    smoothed    |AAAA|AAAA|BBBB|BBBB|           the mean over a few cells
    segments    [A        )[B       )           cells of one label joined; what is too short goes to its neighbours

Labels are alternatives (softmax: one holds at a time, segments tile the time) or independent (sigmoid: each has its own
segments, which may overlap).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import OptionError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NO_LABEL = -1
INDEPENDENT_THRESHOLD = 0.5
_SAME = 1e-6


@dataclass(frozen=True)
class SegmentRules:
    """How scores become segments; seconds. None: `smooth` and `min_duration` as long as a window; `threshold` 0, but 0.5
    where labels are independent."""

    smooth: float | None = None
    min_duration: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("smooth", "min_duration"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name.replace('_', ' ')} must be 0 seconds or more, not {value:g}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise OptionError(f"threshold must be between 0 and 1, not {self.threshold:g}")


@dataclass(frozen=True)
class Stretch:
    """A segment: seconds, the label's number (`NO_LABEL` for none), and the mean of its scores (nan for none)."""

    start: float
    end: float
    label: int
    score: float


@dataclass(frozen=True)
class Cells:
    """Scores hop by hop. edges: (C + 1,) seconds, ascending; scores: (C, L)."""

    edges: Floats
    scores: Floats

    @property
    def lengths(self) -> Floats:
        """(C,) seconds."""
        return np.diff(self.edges)


def find_segments(
    spans: Sequence[tuple[float, float]],
    scores: npt.NDArray[np.floating],
    *,
    start: float,
    end: float,
    window: float,
    hop: float,
    rules: SegmentRules,
    independent: bool,
) -> list[Stretch]:
    """The segments from `start` to `end`, ascending.

    spans: (start, end) of every window, ascending; scores: (W, L) in [0, 1]; window, hop: seconds.
    """
    cells = score_cells(spans, scores, start=start, end=end, hop=hop)
    smooth = window if rules.smooth is None else rules.smooth
    shortest = window if rules.min_duration is None else rules.min_duration
    smoothed = smooth_cells(cells, smooth, hop=hop)
    if independent:
        threshold = INDEPENDENT_THRESHOLD if rules.threshold is None else rules.threshold
        return _independent(cells, smoothed, threshold, shortest)
    threshold = rules.threshold or 0.0
    bounds, labels = absorb_short(cells.edges, smoothed, threshold=threshold, shortest=shortest)
    return [_stretch(cells, a, b, label) for a, b, label in zip(bounds[:-1], bounds[1:], labels, strict=True)]


def score_cells(
    spans: Sequence[tuple[float, float]], scores: npt.NDArray[np.floating], *, start: float, end: float, hop: float
) -> Cells:
    """Cut the time into cells of a hop, a rest of less than half a hop with the last of them, and score each by the windows
    over it. What no window covers has the scores of the nearest."""
    count = max(1, int((end - start) / hop + 0.5 + _SAME))
    edges: Floats = start + hop * np.arange(count + 1, dtype=np.float64)
    edges[-1] = end
    begins = np.array([span[0] for span in spans])
    ends = np.array([span[1] for span in spans])
    sums, weights = np.zeros((count, scores.shape[1])), np.zeros(count)
    first = np.clip(np.searchsorted(edges, begins + _SAME, "right") - 1, 0, count - 1)
    last = np.clip(np.searchsorted(edges, ends - _SAME, "left"), 1, count)
    for number in range(len(spans)):
        for cell in range(first[number], last[number]):
            covered = min(ends[number], edges[cell + 1]) - max(begins[number], edges[cell])
            if covered > 0:
                sums[cell] += covered * scores[number]
                weights[cell] += covered
    bare = weights <= 0
    if bare.any():
        middles, centres = (edges[:-1] + edges[1:])[bare] / 2, (begins + ends) / 2
        right = np.clip(np.searchsorted(centres, middles), 1, max(len(centres) - 1, 1))
        left = right - 1
        right = np.minimum(right, len(centres) - 1)
        nearest = np.where(middles - centres[left] <= centres[right] - middles, left, right)
        sums[bare], weights[bare] = scores[nearest], 1.0
    return Cells(edges, sums / weights[:, None])


def smooth_cells(cells: Cells, seconds: float, *, hop: float) -> Floats:
    """(C, L): the mean over the cells whose middles are within half of `seconds`; at the ends over those there are."""
    reach = int(seconds / 2 / hop + _SAME)
    if not reach or not len(cells.scores):
        return cells.scores
    count = len(cells.scores)
    total = np.concatenate([np.zeros((1, cells.scores.shape[1])), np.cumsum(cells.scores, axis=0)])
    low = np.maximum(np.arange(count) - reach, 0)
    high = np.minimum(np.arange(count) + reach + 1, count)
    means: Floats = (total[high] - total[low]) / (high - low)[:, None]
    return means


def absorb_short(edges: Floats, scores: Floats, *, threshold: float, shortest: float) -> tuple[Ints, Ints]:
    """The best label of every cell, joined to runs, until none is shorter than `shortest` seconds, or one is left.

    A run that is too short, the shortest first, is shared by its neighbours: up to the place where the two fit best. No
    label stands for a score of `threshold`. Returns the cells where runs begin, with the end (R + 1,), and labels (R,).
    """
    # A column for no label, with the number -1.
    filled = np.concatenate([scores, np.full((len(scores), 1), threshold)], axis=1)
    best = scores.argmax(axis=1)
    labels = np.where(scores[np.arange(len(scores)), best] >= threshold, best, NO_LABEL)
    starts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
    labels, bounds = labels[starts], np.append(starts, len(scores))
    weights = np.diff(edges)
    while len(labels) > 1:
        lengths = np.diff(edges[bounds])
        at = int(lengths.argmin())
        if lengths[at] >= shortest - _SAME:
            break
        low, high = int(bounds[at]), int(bounds[at + 1])
        if at == 0:
            cut = low
        elif at == len(labels) - 1:
            cut = high
        else:
            gain = (filled[low:high, labels[at - 1]] - filled[low:high, labels[at + 1]]) * weights[low:high]
            cut = low + int(np.concatenate([[0.0], np.cumsum(gain)]).argmax())
        bounds, labels = _without(bounds, labels, at, cut)
    return bounds.astype(np.int64), labels.astype(np.int64)


def _without(bounds: Ints, labels: Ints, at: int, cut: int) -> tuple[Ints, Ints]:
    """The runs without number `at`: what lies before cell `cut` goes to the run before it, the rest to the one after."""
    if at == 0:
        return np.delete(bounds, 1), labels[1:]
    if at == len(labels) - 1:
        return np.delete(bounds, at), labels[:-1]
    if labels[at - 1] == labels[at + 1]:
        return np.delete(bounds, [at, at + 1]), np.delete(labels, [at, at + 1])
    bounds = np.delete(bounds, at + 1)
    bounds[at] = cut
    return bounds, np.delete(labels, at)


def _independent(cells: Cells, smoothed: Floats, threshold: float, shortest: float) -> list[Stretch]:
    """For each label the runs above the threshold: gaps that are too short are closed, then runs that are left out."""
    found = []
    for label in np.flatnonzero((smoothed >= threshold).any(axis=0)):
        above = np.concatenate([[False], smoothed[:, label] >= threshold, [False]])
        changes = np.flatnonzero(np.diff(above.astype(np.int8)))
        runs: list[tuple[int, int]] = []
        for low, high in zip(changes[::2], changes[1::2], strict=True):
            if runs and cells.edges[low] - cells.edges[runs[-1][1]] < shortest - _SAME:
                runs[-1] = (runs[-1][0], int(high))
            else:
                runs.append((int(low), int(high)))
        whole = cells.edges[-1] - cells.edges[0]
        least = min(shortest, whole) - _SAME
        found += [_stretch(cells, a, b, int(label)) for a, b in runs if cells.edges[b] - cells.edges[a] >= least]
    return sorted(found, key=lambda stretch: (stretch.start, stretch.label))


def _stretch(cells: Cells, low: int, high: int, label: int) -> Stretch:
    start, end = float(cells.edges[low]), float(cells.edges[high])
    if label == NO_LABEL:
        return Stretch(start, end, NO_LABEL, math.nan)
    return Stretch(
        start, end, int(label), float(np.average(cells.scores[low:high, label], weights=cells.lengths[low:high]))
    )

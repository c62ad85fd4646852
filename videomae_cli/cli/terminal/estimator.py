"""Estimates the speed of work and the time left, for all progress that commands show.

    start-up   batch          batch          batch          now
    ...........|..............|..............|..............|
               first mark                    latest mark
               `--------- measured ----------'

The first mark is the end of the first batch, so that imports, loading, compilation and the first batch itself are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

from videomae_cli.cli.terminal.console import duration

# There is no estimate until this many batches (including the first) are done and the measurement spans this many
# seconds.
LEAST_BATCHES = 3
LEAST_SECONDS = 10.0
# The rate is measured over the last minute, or over the last LEAST_BATCHES if they take longer.
WINDOW_SECONDS = 60.0
# Files that finish within so short a time belong to the same batch and count as one mark.
_TOGETHER_SECONDS = 0.25


class Estimator:
    """Measures units of work per second over a window. now: a clock, in seconds.

    One thread may report progress while others read the rate, because marks are replaced as a whole.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._marks: tuple[tuple[float, float], ...] = ()  # (time in seconds, units done by then)
        self._latest = 0.0

    def moved(self, done: float) -> None:
        """Note that `done` units are finished in all, counted from any starting point."""
        moment, marks = self._now(), self._marks
        self._latest = moment
        if marks and moment - marks[-1][0] < _TOGETHER_SECONDS:
            self._marks = (*marks[:-1], (marks[-1][0], done))
            return
        marks = (*marks, (moment, done))
        while len(marks) > LEAST_BATCHES and marks[1][0] <= moment - WINDOW_SECONDS:
            marks = marks[1:]
        self._marks = marks

    @property
    def rate(self) -> float | None:
        """Units per second; None until enough has been measured."""
        return self._measured()[0]

    def left(self, units: float) -> float | None:
        """Estimate the seconds that `units` more will take from now; None until enough has been measured."""
        rate, under_way = self._measured()
        return None if rate is None else max(0.0, units / rate - under_way)

    def _measured(self) -> tuple[float | None, float]:
        """Return the rate, and for how many seconds the current batch has been running."""
        marks = self._marks
        if len(marks) < LEAST_BATCHES or marks[-1][0] - marks[0][0] < LEAST_SECONDS:
            return None, 0.0
        (began, before), (ended, after) = marks[0], marks[-1]
        idle = max(0.0, self._now() - self._latest)
        # A batch that takes much longer than all before it lowers the rate even before it ends.
        stalled = idle > 2 * max(later - earlier for (earlier, _), (later, _) in pairwise(marks))
        elapsed = ended - began + (idle if stalled else 0.0)
        return ((after - before) / elapsed if after > before else None), (0.0 if stalled else idle)


def speed(rate: float, unit: str) -> str:
    """Format a rate: "12.3 clips/s", or "23 s a clip" below one per second."""
    if rate >= 1:
        return f"{rate:.3g} {unit}s/s"
    return f"{duration(1 / rate)} a {unit}" if rate <= 0.1 else f"{1 / rate:.2g} s a {unit}"

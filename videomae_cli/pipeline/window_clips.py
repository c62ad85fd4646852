"""Assembles the clips of a file's windows from blocks of its frames; frames that windows share are stored once."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videomae_cli.video import FrameBlock, WindowGrid
from videomae_cli.video.windows import GRACE

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class WindowClip:
    """One window of a file: seconds, its frames (T, h, w, 3) uint8, and their numbers in the file."""

    start: float
    end: float
    frames: Frame
    numbers: tuple[int, ...]


class WindowAssembler:
    """Takes blocks of frames in order, and yields windows as they become complete.

    Holds the frames of about one window.
    """

    def __init__(self, grid: WindowGrid) -> None:
        self.grid = grid
        self._spans = grid.spans()
        self._next = next(self._spans, None)
        self._shown: list[float] = []  # the time from which each frame is on screen
        self._numbers: list[int] = []
        self._frames: list[Frame] = []
        self._yielded_end = -math.inf  # end of the window yielded last

    def add(self, block: FrameBlock) -> Iterator[WindowClip]:
        """Add a block, and yield the windows that it completes."""
        if block.restarted:
            self.__init__(self.grid)  # type: ignore[misc]
        self._shown += [time - GRACE for time in block.times]
        self._numbers += block.numbers
        self._frames += list(block.frames)
        while self._next is not None and self._complete(self._next, block):
            yield self._clip(self._next)
            self._yielded_end = self._next[1]
            self._next = next(self._spans, None)
        if block.last:
            yield from self._rest(self.grid.ending(block.end))
        else:
            self._forget(block.through)

    def _complete(self, span: tuple[float, float], block: FrameBlock) -> bool:
        if block.last and span[1] > block.end + GRACE:
            return False  # the file ends earlier than its packets promised
        ends_later = self.grid.end is None and span[1] > block.through
        return not ends_later and self.grid.moments(span)[-1] <= block.through

    def _rest(self, grid: WindowGrid) -> Iterator[WindowClip]:
        """Yield the last window from the frames that arrived, if the file ended before its end was known."""
        self._next = None
        if self._frames and grid.end is not None and grid.end > self._yielded_end + GRACE and grid.end > grid.start:
            yield self._clip((max(grid.start, grid.end - grid.window), grid.end))

    def _clip(self, span: tuple[float, float]) -> WindowClip:
        rows = [max(bisect_right(self._shown, moment) - 1, 0) for moment in self.grid.moments(span)]
        frames = np.stack([self._frames[row] for row in rows])
        return WindowClip(span[0], span[1], frames, tuple(self._numbers[row] for row in rows))

    def _forget(self, through: float) -> None:
        """Drop frames that no remaining window needs: neither the next window nor a last one that ends here."""
        first = min(self._next[0] if self._next is not None else through, through - self.grid.window)
        row = bisect_right(self._shown, first) - 1
        if row > 0:
            del self._shown[:row], self._numbers[:row], self._frames[:row]

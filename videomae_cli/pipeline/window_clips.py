"""Assembles the clips of a file's windows from blocks of its frames; frames that windows share are stored once."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import VideoError
from videomae_cli.pipeline.pipeline_model import source_from
from videomae_cli.results import Source
from videomae_cli.video import Decoder, FrameBlock, PassRequest, VideoInfo, WindowGrid
from videomae_cli.video.windows import GRACE

Frame = npt.NDArray[np.uint8]
# Called with the path, the seconds of the video that have been processed, and its length (0: unknown).
Moved = Callable[[str, float, float], None]


def unmoved(path: str, at: float, total: float) -> None:
    """Report nothing: a `Moved` for those who don't ask."""


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


class WindowPass:
    """One pass over the windows of a file. grid, info, last: what is known of it so far, None before its first frames.

    request: names the file and its windows; moved: called with the progress after each block's windows have been used.
    """

    def __init__(self, request: PassRequest, decoder: Decoder, moved: Moved = unmoved) -> None:
        assert request.windows is not None, "every frame has no windows"
        self._request, self._decoder, self._moved = request, decoder, moved
        self.grid: WindowGrid | None = None
        self.info: VideoInfo | None = None
        self.last: FrameBlock | None = None

    def __iter__(self) -> Iterator[tuple[bool, Iterator[WindowClip]]]:
        """Yield the windows that each block of frames completes, and whether the file begins again with them, because
        another decoder goes on with it. Raises what the decoder raises."""
        with self._decoder.stream(self._request) as stream:
            grid, self.info = stream.head.grid, stream.head.info
            assert grid is not None
            self.grid = grid
            assembler = WindowAssembler(grid)
            total = max((grid.end or self.info.duration) - grid.start, 0.0)
            for block in stream:
                yield block.restarted, assembler.add(block)
                if block.info is not None:
                    self.last, self.info = block, block.info
                self._moved(str(self._request.path), min(max(block.through - grid.start, 0.0), total), total)

    def nothing_there(self) -> VideoError:
        """Make the error for a file that had no frame for any window."""
        start = self.grid.start if self.grid is not None else 0.0
        return VideoError.about(self._request.path, "no frame lies after {start:g} s", start=start)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of the decoder."""
        return self.last.warnings if self.last is not None else ()

    def source(self, count: int) -> Source:
        """Describe the file, of which `count` windows were made, for its record."""
        assert self.grid is not None
        assert self.info is not None
        words = f"{count} windows of {self.grid.window:.2f} s" if count > 1 else "1 window"
        every = f" every {self.grid.hop:.2f} s" if count > 1 else ""
        sampling = f"{words}{every}, {self.grid.frames} frames each"
        return source_from(self.info, sampling=sampling, frames=(), timestamps=(), crops=1)

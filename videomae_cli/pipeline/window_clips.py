"""Assembles the clips of a file's windows from blocks of its frames; frames that windows share are stored once."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import VideoError
from videomae_cli.pipeline.pipeline_model import source_from
from videomae_cli.results import Source
from videomae_cli.video import CountedWindows, Decoder, FrameBlock, PassRequest, VideoInfo, WindowGrid
from videomae_cli.video.blocks import PassHead
from videomae_cli.video.windows import GRACE

# Bytes, or numbers where the transform makes them.
Frame = npt.NDArray[np.uint8 | np.float32]
# Called with the path, the seconds of the video that have been processed, and its length (0: unknown).
Moved = Callable[[str, float, float], None]


def unmoved(path: str, at: float, total: float) -> None:
    """Report nothing: a `Moved` for those who don't ask."""


@dataclass(frozen=True)
class WindowClip:
    """One window of a file: seconds, its frames (T, h, w, 3) from the transform, and their numbers in the file."""

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


class CountedAssembler:
    """Takes blocks of all frames in order, and yields windows that are counted in frames as they become complete.

    Holds the frames of one window. fps: says how long the last frame of a window is on screen.
    """

    def __init__(self, windows: CountedWindows, fps: float) -> None:
        self.windows, self._fps = windows, fps
        self._frames: deque[tuple[int, float, Frame]] = deque(maxlen=windows.frames)  # number, seconds, picture
        self._first = 0  # number of the first frame
        self._taken = 0  # frames so far

    def add(self, block: FrameBlock) -> Iterator[WindowClip]:
        """Add a block, and yield the windows that it completes."""
        if block.restarted:
            self.__init__(self.windows, self._fps)  # type: ignore[misc]
        for number, seconds, frame in zip(block.numbers, block.times, block.frames, strict=True):
            if not self._taken:
                self._first = number
            while self._taken < number - self._first:
                # One frame could not be converted; the one before it takes its place, so that later ones keep theirs.
                yield from self._take(self._frames[-1])
            yield from self._take((number, seconds, frame))
        if block.last and 0 < self._taken < self.windows.frames:
            while len(self._frames) < self.windows.frames:
                self._frames.append(self._frames[-1])
            yield self._clip()

    def _take(self, frame: tuple[int, float, Frame]) -> Iterator[WindowClip]:
        self._frames.append(frame)
        self._taken += 1
        begin = self._taken - self.windows.frames
        if begin >= 0 and begin % self.windows.step == 0:
            yield self._clip()

    def _clip(self) -> WindowClip:
        frames = np.stack([frame for _, _, frame in self._frames])
        end = self._frames[-1][1] + 1 / self._fps
        return WindowClip(self._frames[0][1], end, frames, tuple(number for number, _, _ in self._frames))


class WindowPass:
    """One pass over the windows of a file. grid, info, last: what is known of it so far, None before its first frames.

    request: names the file and its windows; moved: called with the progress after each block's windows have been used.
    """

    def __init__(self, request: PassRequest, decoder: Decoder, moved: Moved = unmoved) -> None:
        self._request, self._decoder, self._moved = request, decoder, moved
        self.grid: WindowGrid | None = None
        self.info: VideoInfo | None = None
        self.last: FrameBlock | None = None

    def __iter__(self) -> Iterator[tuple[bool, Iterator[WindowClip]]]:
        """Yield the windows that each block of frames completes, and whether the file begins again with them, because
        another decoder goes on with it. Raises what the decoder raises."""
        with self._decoder.stream(self._request) as stream:
            self.info = stream.head.info
            assembler = self._assembler(stream.head)
            start, end = self._span()
            total = max((end or self.info.duration) - start, 0.0)
            for block in stream:
                yield block.restarted, assembler.add(block)
                if block.info is not None:
                    self.last, self.info = block, block.info
                self._moved(str(self._request.path), min(max(block.through - start, 0.0), total), total)

    def nothing_there(self) -> VideoError:
        """Make the error for a file that had no frame for any window."""
        start, _ = self._span()
        return VideoError.about(self._request.path, "no frame lies after {start:g} s", start=start)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of the decoder."""
        return self.last.warnings if self.last is not None else ()

    def source(self, count: int) -> Source:
        """Describe the file, of which `count` windows were made, for its record."""
        assert self.info is not None
        return source_from(self.info, sampling=self._described(count), frames=(), timestamps=(), crops=1)

    def _assembler(self, head: PassHead) -> WindowAssembler | CountedAssembler:
        """Return what makes windows of this file's frames."""
        assert head.grid is not None, "every frame has no windows"
        self.grid = head.grid
        return WindowAssembler(head.grid)

    def _span(self) -> tuple[float, float | None]:
        """Return the seconds between which windows lie, as far as they are known."""
        return (self.grid.start, self.grid.end) if self.grid is not None else (0.0, None)

    def _described(self, count: int) -> str:
        assert self.grid is not None
        words = f"{count} windows of {self.grid.window:.2f} s" if count > 1 else "1 window"
        every = f" every {self.grid.hop:.2f} s" if count > 1 else ""
        return f"{words}{every}, {self.grid.frames} frames each"


class CountedPass(WindowPass):
    """One pass over the windows of a file that are counted in frames. request: for every frame, without windows."""

    def __init__(self, request: PassRequest, windows: CountedWindows, decoder: Decoder, moved: Moved = unmoved) -> None:
        super().__init__(replace(request, start=windows.start or 0.0, end=windows.end), decoder, moved)
        self._windows = windows

    def _assembler(self, head: PassHead) -> WindowAssembler | CountedAssembler:
        return CountedAssembler(self._windows, head.info.fps)

    def _span(self) -> tuple[float, float | None]:
        return self._request.start, self._request.end

    def _described(self, count: int) -> str:
        windows = self._windows
        every = f"{count} windows, one every {windows.step} frames" if count > 1 else "1 window"
        return f"{every}, {windows.frames} frames each ({windows.protocol})"

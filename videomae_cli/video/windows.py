"""Computes the windows of a long video, and the moments that each one shows: pure maths over seconds.

No I/O, no frames.

    time       0 . . . . . . . . . . . . . . . . . . . . . . . . . end
    windows    [ . . . . . . . . )                                     frames stand in the middle of equal parts
                       [ . . . . . . . . )                             the next window, a hop later
                                               ...  [ . . . . . . . . ) the last one ends at the end

Frame i is on screen from its own time until the next frame's. A window of the default length shows every `stride`-th
frame, as a clip of `sampling` does.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from videomae_cli.errors import OptionError, VideoError
from videomae_cli.video.sampling import DEFAULT_STRIDE, SamplingHints

# Containers store times in ticks, often of a millisecond: a frame may appear this many seconds before its moment.
GRACE = 5e-4
# Shortest window or hop in seconds: less than any frame lasts.
SHORTEST = 1e-3
_SAME = 1e-6
_LENGTH = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|min|m|h|)")
_FRAMES = re.compile(r"(\d{1,9})\s*f(?:rames?)?")
_UNITS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class FrameCount:
    """A length of time in frames of a file, at its average frame rate."""

    frames: int


Length: TypeAlias = float | FrameCount

# VideoMAE V2's published features: by data set, how many frames from one window to the next, and how many each shows
# (OpenGVLab/VideoMAEv2, extract_tad_feature.py).
PUBLISHED_STEPS = {"thumos14": 4, "fineaction": 16}
PUBLISHED_FRAMES = 16


@dataclass(frozen=True)
class CountedWindows:
    """Specifies windows by the numbers of their frames: of n frames they begin at range(0, n - frames + 1, step).

    Frames are counted however long each is on screen, and what is left at the end gets no window. A video that is shorter
    than a window gives one, which repeats the last frame. protocol: a data set of VideoMAE V2's published features; start,
    end: only frames between these seconds count.
    """

    protocol: str
    frames: int
    step: int
    start: float | None = None
    end: float | None = None

    @classmethod
    def published(cls, protocol: str) -> CountedWindows:
        """Return the windows of a protocol, "thumos14" or "fineaction"."""
        return cls(protocol, PUBLISHED_FRAMES, PUBLISHED_STEPS[protocol])

    def count(self, frames: int) -> int:
        """Return how many windows a video with this many frames has."""
        return len(range(0, frames - self.frames + 1, self.step)) or 1


@dataclass(frozen=True)
class WindowSpec:
    """Specifies the windows of a video, in seconds or in its frames.

    frames: how many each window shows; window: None for the length of `frames` frames at `stride`; hop: None for half a
    window.
    """

    frames: int = 16
    stride: int = 4
    window: Length | None = None
    hop: Length | None = None
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        for name in ("window", "hop"):
            value = getattr(self, name)
            if isinstance(value, FrameCount):
                if value.frames < 1:
                    raise OptionError.about(name, "{subject} must be at least 1 frame")
            elif value is not None and not SHORTEST <= value < math.inf:
                reason = "{subject} must be at least {shortest:g} seconds, not {value:g}"
                raise OptionError.about(name, reason, shortest=SHORTEST, value=value)
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise OptionError.about(
                    name, "{subject} must be a number of seconds, 0 or more, not {value:g}", value=value
                )
        if self.end is not None and self.end <= (self.start or 0.0):
            raise OptionError.about(
                "end", "end ({end:g} s) must be after start ({start:g} s)", end=self.end, start=self.start or 0.0
            )

    def for_model(self, hints: SamplingHints) -> WindowSpec:
        """Return this spec with the model's number of frames, at the stride it was trained with."""
        return replace(self, frames=hints.frames, stride=hints.stride or DEFAULT_STRIDE)

    def grid(self, *, fps: float, end: float | None) -> WindowGrid:
        """Lay out the windows in a file. Raises VideoError if `start` lies behind its end.

        fps: its frames per second; end: where it ends, None if that is not known yet.
        """
        start = self.start or 0.0
        if end is not None and start >= end - GRACE:
            raise VideoError(f"start ({start:g} s) is after the last frame (the file ends at {end:.3f} s)")
        stop = end if self.end is None else self.end if end is None else min(self.end, end)
        window = _seconds(self.window or FrameCount(self.frames * self.stride), fps)
        hop = window / 2 if self.hop is None else _seconds(self.hop, fps)
        in_frames = isinstance(self.window, FrameCount) or isinstance(self.hop, FrameCount)
        return WindowGrid(self.frames, window, hop, start, stop, same=0.5 / fps if in_frames else _SAME)


def stored_windows(values: Mapping[str, Any]) -> WindowSpec | CountedWindows:
    """Return the windows that `dataclasses.asdict` made plain values of, as outputs keep them.

    Raises TypeError or OptionError for values that no windows have.
    """
    if "protocol" in values:
        return CountedWindows(**values)
    lengths = {
        name: FrameCount(**values[name]) if isinstance(values.get(name), Mapping) else values.get(name)
        for name in ("window", "hop")
    }
    return WindowSpec(**{**values, **lengths})


@dataclass(frozen=True)
class WindowGrid:
    """The windows of one file, in seconds after its first frame. end: None while it is not known; same: places that are no
    further apart are one place."""

    frames: int
    window: float
    hop: float
    start: float = 0.0
    end: float | None = None
    same: float = _SAME

    def ending(self, end: float) -> WindowGrid:
        """Return this grid with `end` filled in, when it has become known."""
        return replace(self, end=end if self.end is None else min(self.end, end))

    def spans(self) -> Iterator[tuple[float, float]]:
        """Yield (start, end) of every window, ascending; endlessly if the end is not known."""
        if self.end is not None and self.end - self.start <= self.window + self.same:
            yield self.start, self.end
            return
        k = 0
        while self.end is None or self.start + k * self.hop + self.window <= self.end + self.same:
            begin = self.start + k * self.hop
            yield begin, begin + self.window
            k += 1
        last = self.start + (k - 1) * self.hop + self.window
        if last < self.end - self.same:
            yield self.end - self.window, self.end

    def count(self) -> int | None:
        """Return how many windows there are; None without an end."""
        if self.end is None:
            return None
        room = self.end - self.start - self.window
        if room <= self.same:
            return 1
        k = int((room + self.same) / self.hop)
        return k + 1 + (self.start + k * self.hop + self.window < self.end - self.same)

    def moments(self, span: tuple[float, float]) -> list[float]:
        """Return the moments whose frames a window shows: the middles of its equal parts."""
        step = (span[1] - span[0]) / self.frames
        return [span[0] + (t + 0.5) * step for t in range(self.frames)]

    def all_moments(self) -> Iterator[float]:
        """Yield the moments of all windows, ascending; moments that several windows share are repeated."""
        heap: list[float] = []
        for span in self.spans():
            while heap and heap[0] < span[0]:
                yield heapq.heappop(heap)
            for moment in self.moments(span):
                heapq.heappush(heap, moment)
        while heap:
            yield heapq.heappop(heap)


def _seconds(length: Length, fps: float) -> float:
    return length.frames / fps if isinstance(length, FrameCount) else length


def parse_window(text: str, name: str) -> Length:
    """Parse the length of a window or hop: frames from "16f", else seconds as `parse_length` does. Raises OptionError."""
    count = _FRAMES.fullmatch(text.strip().lower())
    if count is not None:
        return FrameCount(int(count[1]))
    if _LENGTH.fullmatch(text.strip().lower()) is None:
        reason = "{subject} {text!r} is no length of time: write 2s or 500ms, or 16f for frames"
        raise OptionError.about(name, reason, text=text)
    return parse_length(text, name)


def parse_length(text: str, name: str) -> float:
    """Parse seconds from "2s", "500ms", "1.5min" or "2". Raises OptionError."""
    match = _LENGTH.fullmatch(text.strip().lower())
    if match is None:
        raise OptionError.about(name, "{subject} {text!r} is no length of time: write 2s, 500ms or 2", text=text)
    return float(match[1]) * _UNITS[match[2]]

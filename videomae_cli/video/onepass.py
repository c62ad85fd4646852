"""One pass over a file of any length: each frame that is wanted, once, in the order of the file.

The packets' times, where they can be trusted, say which frames are wanted, so that all others are decoded but never
converted, and gaps that are worth it are jumped over. At the first frame that does not come as foretold, and in files
whose packets tell nothing, the walk goes on from where it is, by the times that the decoder reports: other than
`reader`, which would count the whole file first. Memory does not grow with the file, but for eight bytes a frame.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DecodeError
from videomae_cli.video.captures import Capture
from videomae_cli.video.cursor import (
    RESTART_NOTE,
    RESTART_SECONDS,
    SPARE_READS,
    UNTIMED_NOTE,
    IndexedCursor,
    IndexMismatchError,
)
from videomae_cli.video.reader import VideoInfo, VideoReader
from videomae_cli.video.windows import GRACE

Frame = npt.NDArray[np.uint8]
Moments = Callable[[], Iterator[float]]
Step = tuple[int, float, Frame | None]

# Frames that are walked over without a word.
_STRIDE = 100
# Of frames that are on screen for longer it is not known in time that they are wanted; the one before stands in.
_LONGEST_SECONDS = 2.0
_LONGEST_GAP_SECONDS = 86400.0
_MOST_NOTES = 5


class PassReader(VideoReader):
    """A file gone through once, from its first frame on. `walk` may be begun anew after a ReadAgainError."""

    _known: array[float] | None
    _indexed: IndexedCursor

    def _settle(self, capture: Capture) -> None:
        """Grab the first frame: nothing else is settled before the walk."""
        index = self._probe.index
        self._known = index.times if index.reliable else None
        self._times = array("d")
        self._unread, self._ended = 0, False
        self._shift, self._raw = 0.0, math.nan
        first: float | None = None
        if self._known is not None:
            self._indexed = IndexedCursor(capture, index)
            try:
                self._indexed.goto(0)
                self._times = self._known
                return
            except IndexMismatchError as mismatch:
                self._known, first = None, mismatch.time
        if first is None:
            first = self._grab(capture)
        if first is None:
            raise DecodeError(f"no frame of {self._probe.path!r} could be decoded")
        self._note_time(first)

    @property
    def end(self) -> float | None:
        """Seconds at which the file ends; None where only the walk will tell, and has not been there."""
        if self._known is None and not self._ended:
            return None
        return self._times[-1] - self._times[0] + 1 / self._probe.fps

    @property
    def info(self) -> VideoInfo:
        """The file in figures; before the walk has been to the end of one without an index, as its header has them."""
        info, probe = super().info, self._probe
        if self.end is not None:
            return info
        stored = max(len(probe.index.times), probe.declared, info.num_frames)
        return replace(info, duration=max(info.duration, probe.duration), num_frames=stored)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know: of frames that are missing only once the walk has been to the end."""
        return tuple(self._notes) if self.end is None else super().warnings

    def walk(self, moments: Moments | None, start: float, end: float) -> Iterator[Step]:
        """(number, seconds, frame) of each frame on screen at one of the moments, or of all, from `start` to `end`.

        A frame of None is not wanted: it says how far the walk is. Raises ReadAgainError where all so far was wrong.
        """
        if self._known is not None:
            try:
                for number in self._wanted(moments, start, end):
                    yield from self._go_to(number)
                    yield number, self._times[number] - self._times[0], self._try_picture(number)
                return
            except IndexMismatchError as mismatch:
                # Up to here it was as foretold; the frame that is not may be at hand already.
                self._times, self._known = self._times[: mismatch.number], None
                raw = self._grab(self._open_capture) if mismatch.time is None else mismatch.time
                if raw is None:
                    self._ended = True
                    return
                self._note_time(raw)
        yield from self._by_counting(moments, start, end)

    def _wanted(self, moments: Moments | None, start: float, end: float) -> Iterator[int]:
        times = self._times
        base, stop = times[0] - GRACE, len(times)
        if moments is None:
            yield from range(bisect_left(times, start + base), bisect_left(times, end + base))
            return
        number, told = 0, -1
        for moment in moments():
            while number + 1 < stop and times[number + 1] - times[0] - GRACE <= moment:
                number += 1
            if number != told:
                yield number
                told = number

    def _go_to(self, number: int) -> Iterator[Step]:
        """Long ways in steps, so that nobody takes them for a decoder that hangs."""
        cursor, times = self._indexed, self._times
        while number - cursor.position > _STRIDE and not cursor.seek_pays(number):
            cursor.goto(cursor.position + _STRIDE)
            yield cursor.position, times[cursor.position] - times[0], None
        cursor.goto(number)

    def _by_counting(self, moments: Moments | None, start: float, end: float) -> Iterator[Step]:
        """Whether a frame is wanted shows only when the next one is there: those that may be are converted."""
        capture, upcoming = self._open_capture, moments() if moments is not None else None
        reached = self._times[-1] - self._times[0]
        # Of the moments before, the frames are gone, and told; where every frame is wanted the next one always is.
        moment = _next_from(upcoming, reached) if upcoming is not None else start
        while reached < end - GRACE and moment < math.inf:
            number, now = len(self._times) - 1, reached
            picture = self._try_picture(number) if moment < now + _LONGEST_SECONDS else None
            raw = self._grab(capture)
            if raw is None:
                self._ended = True
                yield number, now, picture
                return
            self._note_time(raw)
            reached = self._times[-1] - self._times[0]
            wanted = moment < reached - GRACE if upcoming is not None else now >= start - GRACE
            yield number, now, picture if wanted else None
            if upcoming is not None and wanted:
                moment = _next_from(upcoming, reached)

    def _grab(self, capture: Capture) -> float | None:
        """The next frame's time; a read that fails is not the end while packets are left."""
        while self._unread <= max(self._probe.index.packets - len(self._times), 0) + SPARE_READS:
            raw = capture.grab()
            if raw is not None:
                return raw
            self._unread += 1
        return None

    def _note_time(self, raw: float) -> None:
        """Add the time of the frame at hand: as reported where that can be, and never going back (`cursor.straighten`)."""
        times, index, step = self._times, self._probe.index, 1 / self._probe.fps
        if index.counted and len(times) < len(index.times):
            times.append(index.times[len(times)])
        elif not index.times or not math.isfinite(raw):
            self._notes += [UNTIMED_NOTE.format(fps=self._probe.fps)] if not times and not index.times else []
            times.append(times[-1] + step if times else 0.0)
        else:
            if raw < self._raw - RESTART_SECONDS:
                self._shift += self._raw - raw + step
                self._notes += [RESTART_NOTE] if RESTART_NOTE not in self._notes else []
            if raw > self._raw + _LONGEST_GAP_SECONDS:
                self._shift -= raw - self._raw - step  # no picture is shown for days: the clock is wrong
            now, last = raw + self._shift, times[-1] if times else -math.inf
            if now <= last and index.reliable and len(times) < len(index.times):
                now = index.times[len(times)]  # what the decoder says can't be; the packet may know better
            times.append(max(now, last))
        self._raw = raw

    def _try_picture(self, number: int) -> Frame | None:
        """One frame that can't be converted is no reason to give up hours of others."""
        try:
            return self._picture(number)
        except DecodeError as error:
            if len(self._notes) < _MOST_NOTES:
                self._notes.append(str(error))
            return None

    def _check_twin(self, index: int, frame: Frame) -> None:
        # Where there is no index, looking a frame up means to count the whole file.
        if self._probe.index.reliable:
            super()._check_twin(index, frame)


def _next_from(moments: Iterator[float], reached: float) -> float:
    """The next moment at which the frame that came at `reached`, or a later one, is on screen."""
    return next((moment for moment in moments if moment >= reached - GRACE), math.inf)

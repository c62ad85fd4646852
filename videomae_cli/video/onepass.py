"""Reads the requested frames of a file of any length in one pass, each once and in the order of the file.

If the packets' times can be trusted, they determine which frames are needed: all others are decoded but not converted,
and large gaps are skipped by seeking. From the first frame that doesn't match the prediction, and in files whose
packets have no usable times, the pass relies on the times that the decoder reports instead (`reader` would count the
whole file first). Memory does not grow with the file, except for eight bytes per frame.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

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
from videomae_cli.video.image_capture import ImageCapture
from videomae_cli.video.reader import ReadAgainError, VideoInfo, VideoReader
from videomae_cli.video.windows import GRACE

Frame = npt.NDArray[np.uint8]
Moments = Callable[[], Iterator[float]]
Step = tuple[int, float, Frame | None]

# After walking this many unwanted frames, report progress.
_STRIDE = 100
# Whether a frame is needed is known only when the next one comes. A frame that is on screen for longer than this may
# not have been converted by then; the previous frame replaces it.
_LONGEST_SECONDS = 2.0
_LONGEST_GAP_SECONDS = 86400.0
# The decoder is told of so many wanted frames at a time.
_SOON = 1000
_MOST_NOTES = 5


class PassReader(VideoReader):
    """Goes through a file once, from its first frame on. After a ReadAgainError, call `walk` again."""

    _known: array[float] | None

    def _settle(self, capture: Capture) -> None:
        """Grab the first frame; everything else is found out during the walk."""
        index = self._probe.index
        self._known = index.times if index.reliable else None
        self._times = array("d")
        self._unread, self._ended = 0, False
        self._shift, self._raw = 0.0, math.nan
        first: float | None = None
        if self._known is not None:
            self._cursor = cursor = IndexedCursor(capture, index)
            try:
                cursor.goto(0)
                self._times = self._known
                return
            except IndexMismatchError as mismatch:
                if self._sparse is not None:
                    raise
                self._known, first = None, mismatch.time
        if first is None:
            first = self._grab(capture)
        if first is None:
            raise DecodeError.about(self._probe.path, "no frame of {subject!r} could be decoded")
        self._note_time(first)

    @property
    def end(self) -> float | None:
        """Return the time in seconds at which the file ends; None if the walk has to find out and is not there yet."""
        if self._known is None and not self._ended:
            return None
        return self._times[-1] - self._times[0] + 1 / self._probe.fps

    @property
    def info(self) -> VideoInfo:
        """Return the file's properties; without an index, the header's until the walk has reached the end."""
        info, probe = super().info, self._probe
        if self.end is not None:
            return info
        stored = max(len(probe.index.times), probe.declared, info.num_frames)
        return replace(info, duration=max(info.duration, probe.duration), num_frames=stored)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what the user should know; missing frames are included only once the walk has reached the end."""
        return tuple(self._notes) if self.end is None else super().warnings

    def walk(self, moments: Moments | None, start: float, end: float) -> Iterator[Step]:
        """Yield (number, seconds, frame) from `start` to `end`: the frames on screen at `moments`, or all without moments.

        A step whose `frame` is None only reports progress. Raises ReadAgainError if the frames so far may be wrong.
        """
        if self._known is not None:
            try:
                numbers = self._wanted(moments, start, end)
                while soon := tuple(islice(numbers, _SOON)):
                    self._expect(soon)
                    for number in soon:
                        yield from self._go_to(number)
                        yield number, self._times[number] - self._times[0], self._try_picture(number)
                return
            except IndexMismatchError as mismatch:
                if self._sparse is not None:
                    self._decode_all()
                    raise ReadAgainError from None
                # All frames before this one were as predicted; the one that isn't may have been grabbed already.
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
        number, yielded = 0, -1
        for moment in moments():
            while number + 1 < stop and times[number + 1] - times[0] - GRACE <= moment:
                number += 1
            if number != yielded:
                yield number
                yielded = number

    def _go_to(self, number: int) -> Iterator[Step]:
        """Go to a frame, a long way in several steps, so that the caller doesn't take this for a decoder that hangs."""
        cursor, times = self._cursor, self._times
        assert isinstance(cursor, IndexedCursor)
        while number - cursor.position > _STRIDE and not cursor.seek_pays(number):
            cursor.goto(cursor.position + _STRIDE)
            yield cursor.position, times[cursor.position] - times[0], None
        cursor.goto(number)

    def _by_counting(self, moments: Moments | None, start: float, end: float) -> Iterator[Step]:
        """Yield frames by the times that the decoder reports.

        Whether a frame is needed is known only when the next one has come: so every frame that might be is converted.
        """
        capture, upcoming = self._open_capture, moments() if moments is not None else None
        reached = self._times[-1] - self._times[0]
        # Frames before this time have been yielded already. Without moments, every frame from `start` on is needed.
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
        """Grab the next frame and return its time; a failed read is not the end of the file while packets are left."""
        while self._unread <= max(self._probe.index.packets - len(self._times), 0) + SPARE_READS:
            raw = capture.grab()
            if raw is not None:
                return raw
            self._unread += 1
        return None

    def _note_time(self, raw: float) -> None:
        """Append the grabbed frame's time: as reported if possible, and never decreasing (see `cursor.straighten`)."""
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
                self._shift -= raw - self._raw - step  # no picture stays on screen for days: the clock is wrong
            now, last = raw + self._shift, times[-1] if times else -math.inf
            if now <= last and index.reliable and len(times) < len(index.times):
                now = index.times[len(times)]  # the decoder's time can't be right; the packet's may be
            times.append(max(now, last))
        self._raw = raw

    def _try_picture(self, number: int) -> Frame | None:
        """Return a frame, or None if it can't be converted: one bad frame should not cost a whole video."""
        try:
            return self._picture(number)
        except DecodeError as error:
            if len(self._notes) < _MOST_NOTES:
                is_picture = isinstance(self._open_capture, ImageCapture)
                self._notes.append(
                    f"passed over: {error.reason}" if is_picture else f"frame {number} could not be converted to RGB"
                )
            return None

    def _check_twin(self, index: int, frame: Frame) -> None:
        # Without an index, looking up one frame would mean counting the whole file.
        if self._probe.index.reliable:
            super()._check_twin(index, frame)


def _next_from(moments: Iterator[float], reached: float) -> float:
    """Return the next moment that needs the frame at time `reached` or a later one."""
    return next((moment for moment in moments if moment >= reached - GRACE), math.inf)

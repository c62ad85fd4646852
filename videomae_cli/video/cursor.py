"""Brings a decoder to the frame with a given number, and verifies that it is there.

There are two ways. `IndexedCursor` seeks and walks by the packet index and checks the time of every frame it passes; at
the first one that does not come as predicted it raises `IndexMismatchError`. `WalkingCursor` trusts nothing and counts
from the first frame.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from videomae_cli.errors import DecodeError
from videomae_cli.video.captures import Capture
from videomae_cli.video.probe import PacketIndex

# OpenCV's own seek steps back this many frames before it looks for a keyframe.
_BACK_OFF = 16
# Walking this many frames is as cheap as one seek.
_SEEK_COST = 8
# If a seek lands too late, an earlier frame is tried; after this many tries, walking is faster.
_SEEK_TRIES = 3
_TOLERANCE = 2e-4
SPARE_READS = 64
# Seconds that a clock must go back to count as a restart; less is the disorder of a damaged stretch.
RESTART_SECONDS = 1.0
UNTIMED_NOTE = "the file has no usable times: {fps:g} fps assumed"
RESTART_NOTE = "the recording's clock restarts; time continues from the frame before"


class IndexMismatchError(Exception):
    """The decoder contradicts the packets: frame `number` came at `time`, or not at all (None)."""

    def __init__(self, number: int, time: float | None) -> None:
        super().__init__(f"frame {number} came at {time}")
        self.number, self.time = number, time


class IndexedCursor:
    """Goes to frames by number with the help of the packet index. `goto` leaves the decoder at the frame."""

    def __init__(self, capture: Capture, index: PacketIndex) -> None:
        self._capture, self._index = capture, index
        self._times = index.times
        self._position = -1
        self._seeks = capture.can_seek
        self._back_off = _BACK_OFF if capture.name == "opencv" else 1

    def goto(self, number: int) -> None:
        """Grab frame `number`; afterwards `capture.retrieve()` returns it."""
        if number == self._position:
            return
        if number < self._position or self.seek_pays(number):
            if self._seek(number):
                try:
                    return self._walk_to(number)
                except IndexMismatchError:
                    # The seek did not land where it claimed to: this decoder can't seek in this file.
                    self._seeks = False
            self.restart()
        self._walk_to(number)

    def restart(self) -> None:
        """Go back to before the first frame."""
        self._capture.restart()
        self._position = -1

    def count_passed(self, wanted: Sequence[int]) -> int:
        """Return how many other frames are decoded on the way to these, in ascending order."""
        position, passed = self._position, 0
        for number in wanted:
            if number < position:
                position = -1
            if self._seek_pays(number, position):
                position = self._last_key(number - self._back_off) - 1
            passed += max(number - position - 1, 0)
            position = number
        return passed

    def check_end(self) -> None:
        """Verify that the last frame of the index decodes and that none follows. Raises IndexMismatchError."""
        self.goto(len(self._times) - 1)
        if self._capture.grab() is not None:
            raise IndexMismatchError(len(self._times), math.nan)  # more frames than packets
        # Past the end some decoders can't seek back.
        self.restart()

    def _walk_to(self, number: int) -> None:
        while self._position < number:
            time = self._capture.grab()
            if time is None or not abs(time - self._times[self._position + 1]) <= _TOLERANCE:
                raise IndexMismatchError(self._position + 1, time)
            self._position += 1

    @property
    def position(self) -> int:
        """Return the number of the frame grabbed last; -1 before the first."""
        return self._position

    def seek_pays(self, number: int) -> bool:
        """Return whether seeking to a later frame is faster than decoding every frame up to it."""
        return self._seek_pays(number, self._position)

    def _seek_pays(self, number: int, position: int) -> bool:
        return self._seeks and self._last_key(number - self._back_off) > position + _SEEK_COST

    def _last_key(self, number: int) -> int:
        slot = bisect_right(self._index.keys, number) - 1
        return self._index.keys[slot] if slot >= 0 else -1

    def _seek(self, number: int) -> bool:
        """Seek to before `number`, to where decoding is clean; return False if walking from the start is better."""
        key = self._last_key(number)
        if not self._seeks or self._last_key(number - self._back_off) <= 0:
            return False
        # If not every keyframe is known, decoding is clean only if a known keyframe lies between the landing and the
        # frame.
        target, back = (number, 8) if self._index.seekable else (key, _BACK_OFF)
        for _ in range(_SEEK_TRIES):
            landed = self._locate(self._capture.seek(self._times[max(target, 0)]))
            if landed is not None and landed < number and (self._index.seekable or self._last_key(number) > landed):
                self._position = landed
                return True
            target, back = target - back, back * 2
            if target <= 0:
                break
        return False

    def _locate(self, time: float | None) -> int | None:
        if time is None or math.isnan(time):
            return None
        slot = bisect_left(self._times, time - _TOLERANCE)
        return slot if slot < len(self._times) and abs(self._times[slot] - time) <= _TOLERANCE else None


class WalkingCursor:
    """Goes to frames by number, counting every frame from the first.

    A failed read is not taken for the end of the file: `packets` says how many frames it should have.
    """

    def __init__(self, capture: Capture, packets: int) -> None:
        self._capture, self._packets = capture, packets
        self._position = -1
        self._misses = 0

    def goto(self, number: int) -> None:
        """Grab frame `number`; afterwards `capture.retrieve()` returns it. Raises DecodeError."""
        if number < self._position:
            self.restart()
        while self._position < number:
            if self._next() is None:
                raise DecodeError(f"frame {number} could not be decoded")

    def restart(self) -> None:
        """Go back to before the first frame."""
        self._capture.restart(careful=True)
        self._position, self._misses = -1, 0

    def measure(self) -> array[float]:
        """Decode the whole file and return the time of each frame (nan where unknown)."""
        self.restart()
        times = array("d")
        while (time := self._next()) is not None:
            times.append(time)
        return times

    def _next(self) -> float | None:
        while self._misses <= max(self._packets - self._position - 1, 0) + SPARE_READS:
            time = self._capture.grab()
            if time is not None:
                self._position += 1
                return time
            self._misses += 1
        return None


def straighten(times: array[float], index: PacketIndex, fps: float) -> tuple[array[float], str | None]:
    """Return times that never decrease, for frames that were counted one by one, and a warning if some were invented.

    If a recording's clock restarts, times continue from the frame before the restart.
    """
    known = all(math.isfinite(time) for time in times)
    if index.counted and len(index.times) >= len(times):
        return index.times[: len(times)], None
    if known and all(times[i] < times[i + 1] for i in range(len(times) - 1)):
        return times, None
    if index.reliable and len(index.times) == len(times):
        return index.times, None
    step = 1.0 / fps
    # A decoder that knows no times always reports zero; a clock that restarts goes back only once or twice.
    backward = sum(not times[i] < times[i + 1] for i in range(len(times) - 1))
    if not known or backward > max(3, len(times) // 20):
        return array("d", (i * step for i in range(len(times)))), UNTIMED_NOTE.format(fps=fps)
    result, shift, restarts = array("d", times[:1]), 0.0, 0
    for before, now in pairwise(times):
        if now < before - RESTART_SECONDS:
            shift += before - now + step
            restarts += 1
        result.append(max(now + shift, result[-1]))
    return result, RESTART_NOTE if restarts else None

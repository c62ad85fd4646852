"""Animated WebP: the times of its frames from the file's chunks, its pictures from OpenCV's image decoder.

ffmpeg, in OpenCV's VideoCapture and in PyAV alike, knows no animated WebP. OpenCV's image decoder does; it draws every
frame onto the ones before, from the first one on, so that a few frames are kept rather than decoded again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DecodeError, NotAVideoError
from videomae_cli.video.native import load_cv2
from videomae_cli.video.orientation import Orientation
from videomae_cli.video.probe import PacketIndex, Probe

_ANIMATED = 2
_KEPT_BYTES = 32 << 20
_DEFAULT_RATE = 25.0


@dataclass(frozen=True)
class WebPAnimation:
    """The outline of a file. width, height: pixels; durations: milliseconds of every frame that is all there; end: where
    the last of them ends, in bytes; stated: where the file should end."""

    width: int
    height: int
    durations: tuple[int, ...]
    end: int
    stated: int


def is_animated_webp(path: str) -> bool:
    """Whether the file says so in its first bytes. A WebP that is no animation is a picture."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(21)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & _ANIMATED)


def outline(data: bytes) -> WebPAnimation:
    """Walk through the chunks of an animated WebP."""
    stated = 8 + int.from_bytes(data[4:8], "little")
    stated += stated % 2
    position, end, size, durations = 12, 12, (0, 0), []
    while position + 8 <= min(len(data), stated):
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body, position = position + 8, position + 8 + length + length % 2
        if position > len(data):
            break
        if kind == b"VP8X":
            size = (_number(data, body + 4) + 1, _number(data, body + 7) + 1)
        elif kind == b"ANMF":
            durations.append(_number(data, body + 12))
        end = position
    return WebPAnimation(*size, durations=tuple(durations), end=end, stated=stated)


def _number(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 3], "little")


def probe_webp(path: str) -> Probe:
    """What `probe_video` says of other files. Raises NotAVideoError for an animation without frames."""
    animation = outline(Path(path).read_bytes())
    if not animation.durations:
        raise NotAVideoError(f"{path!r} holds no video, only the start of an animation")
    # A file that is cut off has lost about as many frames as bytes.
    declared = max(round(len(animation.durations) * animation.stated / animation.end), len(animation.durations))
    *starts, total = accumulate(animation.durations, initial=0)
    distinct = all(a < b for a, b in pairwise(starts))
    return Probe(
        path=path,
        stream=0,
        codec="webp",
        width=animation.width,
        height=animation.height,
        fps=1000 * len(starts) / total if total else _DEFAULT_RATE,
        declared=declared,
        duration=total / 1000,
        ends_stated=False,
        orientation=Orientation(),
        pixel_aspect=Fraction(1),
        start_time=0.0,
        avoid_opencv=None,
        index=PacketIndex(
            times=array("d", (start / 1000 for start in starts)),
            keys=array("q", [0]),
            packets=len(starts),
            decodable=len(starts),
            reliable=distinct,
            whole=animation.end >= animation.stated,
            torn=animation.end < animation.stated,
            complete=False,
            seekable=False,
            counted=False,
        ),
    )


class WebPCapture:
    """A `captures.Capture` of an animation. Going forward costs nothing, so that it need not seek."""

    name = "opencv"
    can_seek = False

    def __init__(self, probe: Probe) -> None:
        self._cv2: Any = load_cv2()
        data = Path(probe.path).read_bytes()
        if not probe.index.whole:
            # The decoder takes nothing that is cut off: leave out what is only half there.
            end = outline(data).end
            data = data[:4] + (end - 8).to_bytes(4, "little") + data[8:end]
        # OpenCV 4 wants one row, 5 takes that too.
        self._data = np.frombuffer(data, np.uint8)[None]
        self._times = probe.index.times
        self._position = -1
        self._kept_from = 0
        self._kept: list[npt.NDArray[np.uint8]] = []
        self._most = max(_KEPT_BYTES // (probe.width * probe.height * 4), 1)
        self._count = self._count_frames()
        if not self._count:
            raise DecodeError(f"OpenCV can't decode the animation {probe.path!r}")

    def restart(self, *, careful: bool = False) -> None:
        """Go before the first frame."""
        self._position = -1

    def grab(self) -> float | None:
        """Go to the next frame and return its time; None at the end."""
        if self._position + 1 >= self._count:
            return None
        self._position += 1
        return self._times[self._position]

    def retrieve(self) -> npt.NDArray[np.uint8] | None:
        """The frame last grabbed, RGB (H, W, 3) uint8."""
        frame = self._picture(self._position)
        if frame is None:
            return None
        code = self._cv2.COLOR_BGRA2RGB if frame.shape[2] == 4 else self._cv2.COLOR_BGR2RGB
        return np.asarray(self._cv2.cvtColor(frame, code), dtype=np.uint8)

    def seek(self, seconds: float) -> float | None:
        """Never done."""
        return None

    def close(self) -> None:
        """Free the frames."""
        self._kept.clear()

    def _picture(self, number: int) -> npt.NDArray[np.uint8] | None:
        if not 0 <= number - self._kept_from < len(self._kept):
            try:
                self._kept = list(self._cv2.imdecodeanimation(self._data, number, self._most)[1].frames)
            except self._cv2.error:
                self._kept = []
            self._kept_from = number
        return self._kept[number - self._kept_from] if number - self._kept_from < len(self._kept) else None

    def _count_frames(self) -> int:
        """How many frames decode; none behind one that doesn't."""
        stored = len(self._times)
        self._picture(max(stored - self._most, 0))
        if self._picture(stored - 1) is not None:
            return stored
        return bisect_left(range(stored), True, key=lambda number: self._picture(number) is None)

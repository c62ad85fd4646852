"""Animated WebP: the times of its frames from the file's chunks, its pictures from Pillow.

ffmpeg, in OpenCV's VideoCapture and in PyAV alike, knows no animated WebP. Pillow does, but tells times only of frames that it
has decoded, and refuses a file that is cut off: the chunks are read here.
"""

from __future__ import annotations

import io
from array import array
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DecodeError, NotAVideoError
from videomae_cli.video.orientation import Orientation
from videomae_cli.video.probe import PacketIndex, Probe

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
        raise NotAVideoError.about(path, "{subject!r} holds no video, only the start of an animation")
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
    """A `captures.Capture` of an animation, which Pillow decodes frame by frame, each onto the ones before."""

    name = "pillow"
    can_seek = False  # going back means starting anew, which Pillow does by itself

    def __init__(self, probe: Probe) -> None:
        from PIL import Image

        data = Path(probe.path).read_bytes()
        if not probe.index.whole:
            # The decoder takes nothing that is cut off: leave out what is only half there.
            end = outline(data).end
            data = data[:4] + (end - 8).to_bytes(4, "little") + data[8:end]
        try:
            self._image = Image.open(io.BytesIO(data), formats=["WEBP"])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DecodeError.about(
                probe.path, "Pillow can't decode the animation {subject!r}: {error}", error=error
            ) from None
        self._times = probe.index.times
        self._count = len(self._times)
        self._position = -1
        if self.grab() is None:
            raise DecodeError.about(probe.path, "Pillow can't decode the animation {subject!r}")
        self._position = -1

    def restart(self, *, careful: bool = False) -> None:
        """Go before the first frame."""
        self._position = -1

    def grab(self) -> float | None:
        """Decode the next frame and return its time; None at the end, and behind the first that does not decode."""
        if self._position + 1 >= self._count:
            return None
        try:
            self._image.seek(self._position + 1)
            self._image.load()
        except (EOFError, OSError, ValueError):
            self._count = self._position + 1
            return None
        self._position += 1
        return self._times[self._position]

    def retrieve(self) -> npt.NDArray[np.uint8] | None:
        """The frame last grabbed, RGB (H, W, 3) uint8, without its transparency."""
        return np.asarray(self._image.convert("RGB"), dtype=np.uint8)

    def seek(self, seconds: float) -> float | None:
        """Return None: an animation is always read from its start."""
        return None

    def close(self) -> None:
        """Close the file and its decoder."""
        self._image.close()

"""Reads animated WebP: frame times from the file's chunks, pictures from Pillow.

ffmpeg, which both OpenCV and PyAV use, can't decode animated WebP. Pillow can, but it tells only the times of frames
that it has decoded, and refuses truncated files, so the chunks are parsed here.
"""

from __future__ import annotations

import io
from array import array
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DecodeError, NotAVideoError
from videomae_cli.video.probe import PacketIndex, Probe
from videomae_cli.video.tar_members import opened

_DEFAULT_RATE = 25.0


def _frames(data: bytes) -> tuple[list[int], int, int]:
    """Walk through the chunks of an animated WebP.

    Returns the milliseconds of every complete frame, the position where the last complete chunk ends, and the position
    where the file should end, in bytes.
    """
    stated = 8 + _number(data, 4, 4)
    stated += stated % 2
    durations: list[int] = []
    end = 12
    while end + 8 <= min(len(data), stated):
        length = _number(data, end + 4, 4)
        after = end + 8 + length + length % 2
        if after > len(data):
            break
        if data[end : end + 4] == b"ANMF":
            durations.append(_number(data, end + 20))
        end = after
    return durations, end, stated


def _number(data: bytes, position: int, size: int = 3) -> int:
    return int.from_bytes(data[position : position + size], "little")


def probe_webp(path: str) -> Probe:
    """Describe an animation as `probe_video` does other files. Raises NotAVideoError for one without frames."""
    with opened(path) as file:
        data = file.read()
    durations, end, stated = _frames(data)
    count = len(durations)
    if not count:
        raise NotAVideoError.about(path, "{subject!r} holds no video, only the start of an animation")
    *starts, total = accumulate(durations, initial=0)
    return Probe(
        path=path,
        codec="webp",
        width=_number(data, 24) + 1,  # size from the chunk VP8X, which comes first in every animation
        height=_number(data, 27) + 1,
        fps=1000 * count / total if total else _DEFAULT_RATE,
        # A truncated file: estimate its frame count from the fraction of bytes that is left.
        declared=max(round(count * stated / end), count),
        duration=total / 1000,
        index=PacketIndex(
            times=array("d", (start / 1000 for start in starts)),
            keys=array("q", [0]),
            packets=count,
            decodable=count,
            reliable=all(a < b for a, b in pairwise(starts)),
            whole=end >= stated,
            torn=end < stated,
        ),
    )


class WebPCapture:
    """A `captures.Capture` of an animation, which Pillow decodes frame by frame, each drawn over the previous ones."""

    name = "pillow"
    can_seek = False  # going back means starting over, which Pillow does by itself

    def __init__(self, probe: Probe) -> None:
        from PIL import Image

        with opened(probe.path) as file:
            data = file.read()
        # Pillow refuses truncated data: leave out the incomplete part.
        end = _frames(data)[1]
        data = data[:4] + (end - 8).to_bytes(4, "little") + data[8:end]
        self._times, self._count = probe.index.times, len(probe.index.times)
        self.restart()
        try:
            self._image = Image.open(io.BytesIO(data), formats=["WEBP"])
            self._image.load()
        except (EOFError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DecodeError.about(
                probe.path, "Pillow can't decode the animation {subject!r}: {error}", error=error
            ) from None

    def restart(self, *, careful: bool = False) -> None:
        self._position = -1

    def grab(self) -> float | None:
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
        return np.asarray(self._image.convert("RGB"), dtype=np.uint8)

    def seek(self, seconds: float) -> float | None:
        return None  # an animation is always read from its start

    def close(self) -> None:
        self._image.close()

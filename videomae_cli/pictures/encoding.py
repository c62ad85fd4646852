"""Images one after the other -> an encoder, each with its time: a film of any length needs no more memory than a short one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.stream import VideoStream

from videomae_cli.errors import DependencyError

Image = npt.NDArray[np.uint8]

# H.264 is what every browser and phone plays; PyAV's wheels carry libx264, some other builds of FFmpeg only Cisco's.
H264 = ("libx264", "libopenh264")
VP9 = ("libvpx-vp9",)
CLOCK = 90_000  # ticks a second, MPEG's own; whole for every usual frame rate
_BT709 = 1  # the number of these colour coordinates in H.273, tables 2 to 4
_OPTIONS = {
    "libx264": {"crf": "17", "preset": "medium", "profile": "high"},
    "libopenh264": {"b": "6M"},
    "libvpx-vp9": {"crf": "24", "b": "0", "cpu-used": "4", "deadline": "good"},
}


class FilmEncoder:
    """Encodes into an open container. width, height: pixels, even; rate: frames a second, about."""

    def __init__(self, container: OutputContainer, encoder: str, *, width: int, height: int, rate: Fraction) -> None:
        self._container = container
        self._stream = cast(VideoStream, container.add_stream(encoder, rate=rate, options=_OPTIONS[encoder]))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, CLOCK)
        # Said in the stream, or a player guesses the matrix from the size of the picture, and colours shift.
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1  # limited, as for television
        self._durations: dict[int, int] = {}

    def add(self, image: Image, start: int, duration: int) -> None:
        """The next image (H, W, 3) uint8 RGB, shown from `start` for so many ticks."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=1)
        frame.pts, frame.time_base = start, Fraction(1, CLOCK)
        self._durations[start] = duration
        self._mux(frame)

    def finish(self) -> None:
        """After the last."""
        self._mux(None)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Hand packets on with their durations: encoders don't say them, and the last frame's would be a guess."""
        for packet in self._stream.encode(frame):
            assert packet.pts is not None
            packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)


def pick_encoder(
    names: Sequence[str], chosen: str, available: Callable[[], set[str]] = lambda: av.codecs_available
) -> str:
    """The first of the encoders that is there. chosen: the format, for the message. Raises DependencyError."""
    for name in names:
        if name in available():
            return name
    raise DependencyError(
        f"the FFmpeg inside this PyAV has no encoder for {chosen} ({' or '.join(names)}): "
        "write a .gif, or install PyAV's own wheel (pip install --force-reinstall av)"
    )

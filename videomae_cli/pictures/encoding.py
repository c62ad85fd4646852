"""Images one after the other -> an encoder, each with its time: a film of any length needs no more memory than a short one."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DependencyError
from videomae_cli.video.native import load_av

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer
    from av.video.stream import VideoStream

Image = npt.NDArray[np.uint8]

# H.264 is what every browser and phone plays; PyAV's wheels carry libx264, some other builds of FFmpeg only Cisco's.
ENCODERS = {"mp4": ("libx264", "libopenh264"), "webm": ("libvpx-vp9",)}
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
        self._container, self._av = container, load_av()
        self._stream = cast("VideoStream", container.add_stream(encoder, rate=rate, options=_OPTIONS[encoder]))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, CLOCK)
        # Said in the stream, or a player guesses the matrix from the size of the picture, and colours shift.
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1  # limited, as for television
        self._durations: dict[int, int] = {}

    def add(self, image: Image, start: int, duration: int) -> None:
        """The next image (H, W, 3) uint8 RGB, shown from `start` for so many ticks."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=1)
        frame.pts, frame.time_base = start, Fraction(1, CLOCK)
        self._durations[start] = duration
        self._mux(frame)

    def finish(self) -> None:
        """Flush the encoder after the last frame."""
        self._mux(None)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Hand packets on with their durations: encoders don't say them, and the last frame's would be a guess."""
        for packet in self._stream.encode(frame):
            assert packet.pts is not None
            packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)


def open_film(path: Path, format: str) -> OutputContainer:
    """Open a file to write a film of a format ("mp4" or "webm") to. Raises DependencyError, or what PyAV raises."""
    # faststart puts the index before the pictures, so that a browser plays before it has everything.
    options = {"movflags": "+faststart"} if format == "mp4" else {}
    return cast("OutputContainer", load_av().open(str(path), "w", format=format, options=options))


def pick_encoder(format: str, available: Callable[[], set[str]] = lambda: load_av().codecs_available) -> str:
    """Return the first encoder for a format that is there. Raises DependencyError, also where PyAV is missing."""
    there = available()
    for name in ENCODERS[format]:
        if name in there:
            return name
    raise DependencyError(
        f"the FFmpeg inside this PyAV has no encoder for {format} ({' or '.join(ENCODERS[format])}): "
        "write a .gif, or install PyAV's own wheel (pip install --force-reinstall av)"
    )

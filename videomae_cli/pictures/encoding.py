"""Encodes a film one image at a time, so that its length does not affect the memory needed."""

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

# Every browser and phone plays H.264. PyAV's wheels include libx264, some other builds of FFmpeg only Cisco's encoder.
ENCODERS = {"mp4": ("libx264", "libopenh264"), "webm": ("libvpx-vp9",)}
CLOCK = 90_000  # ticks per second, as in MPEG; a multiple of the usual frame rates
_BT709 = 1  # BT.709's code in tables 2 to 4 of H.273 (colour primaries, transfer function, matrix)
_OPTIONS = {
    "libx264": {"crf": "17", "preset": "medium", "profile": "high"},
    "libopenh264": {"b": "6M"},
    "libvpx-vp9": {"crf": "24", "b": "0", "cpu-used": "4", "deadline": "good"},
}


class FilmEncoder:
    """Encodes images into an open container. width, height: even, in pixels; rate: approximate frames per second."""

    def __init__(self, container: OutputContainer, encoder: str, *, width: int, height: int, rate: Fraction) -> None:
        self._container, self._av = container, load_av()
        self._stream = cast("VideoStream", container.add_stream(encoder, rate=rate, options=_OPTIONS[encoder]))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, CLOCK)
        # Without these fields, players guess the colour matrix from the picture's size, and colours shift.
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1  # limited (16 to 235)
        self._durations: dict[int, int] = {}

    def add(self, image: Image, start: int, duration: int) -> None:
        """Add the next image (H, W, 3) uint8 RGB, shown from `start` for `duration` ticks."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=1)
        frame.pts, frame.time_base = start, Fraction(1, CLOCK)
        self._durations[start] = duration
        self._mux(frame)

    def finish(self) -> None:
        """Flush the encoder after the last frame."""
        self._mux(None)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Write encoded packets with their durations, which encoders don't set: players would guess the last frame's."""
        for packet in self._stream.encode(frame):
            assert packet.pts is not None
            packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)


def open_film(path: Path, format: str) -> OutputContainer:
    """Open a file to write a film of a format ("mp4" or "webm") to. Raises DependencyError, or what PyAV raises."""
    # faststart puts the index first, so that a browser can play while it downloads.
    options = {"movflags": "+faststart"} if format == "mp4" else {}
    return cast("OutputContainer", load_av().open(str(path), "w", format=format, options=options))


def pick_encoder(format: str, available: Callable[[], set[str]] = lambda: load_av().codecs_available) -> str:
    """Return the first available encoder for a format. Raises DependencyError if there is none or PyAV is missing."""
    found = available()
    for name in ENCODERS[format]:
        if name in found:
            return name
    raise DependencyError.about(
        format,
        "the FFmpeg inside this PyAV has no encoder for {subject} ({encoders}): write a .gif, or install "
        "PyAV's own wheel (pip install --force-reinstall av)",
        encoders=" or ".join(ENCODERS[format]),
    )

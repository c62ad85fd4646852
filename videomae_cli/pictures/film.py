"""Images and their times -> a file that plays: gif, mp4, webm; or one image: png."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from PIL import Image

from videomae_cli.errors import DependencyError, OptionError
from videomae_cli.pictures.outputs import pick_format, publish
from videomae_cli.pictures.palette import in_palette

Film = npt.NDArray[np.uint8]

# H.264 is what every browser and phone plays; PyAV's wheels carry libx264, some other builds of FFmpeg only Cisco's.
_H264 = ("libx264", "libopenh264")
_VP9 = ("libvpx-vp9",)
_CLOCK = 90_000  # ticks a second, MPEG's own; whole for every usual frame rate
_GIF_BYTES_A_FRAME = 5_000_000 / 16
_GIF_SHRINK = 0.8
_BT709 = 1  # the number of these colour coordinates in H.273, tables 2 to 4


@dataclass(frozen=True)
class Written:
    """What came to be: bytes, width and height in pixels, and the share of its size a GIF was reduced to (else 1)."""

    size: int
    width: int
    height: int
    reduced: float = 1.0


def write_film(output: Path, film: Film, seconds: Sequence[float]) -> Written:
    """Write images (T, H, W, 3) uint8 RGB, image i shown for seconds[i]. Even sides for mp4 and webm.

    Raises OptionError, OutputError, or DependencyError where FFmpeg here has no encoder for the format.
    """
    chosen = pick_format(output)
    if chosen == "png":
        raise OptionError("a PNG holds one image, not a film")
    reduced = 1.0
    if chosen == "gif":
        data, reduced = _gif(film, seconds)
    else:
        data = _encoded(film, seconds, chosen)
    publish(output, data)
    height, width = (round(side * reduced) for side in film.shape[1:3])
    return Written(len(data), width, height, reduced)


def write_image(output: Path, image: Film) -> Written:
    """Write one image (H, W, 3) uint8 RGB as PNG. Raises OutputError."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    publish(output, buffer.getvalue())
    return Written(buffer.tell(), image.shape[1], image.shape[0])


def _gif(film: Film, seconds: Sequence[float]) -> tuple[bytes, float]:
    """The GIF and the share of the film's size it was reduced to: a GIF over about 5 MB for 16 frames is a nuisance."""
    budget = int(_GIF_BYTES_A_FRAME * max(len(film), 16))
    durations = _rounded(seconds)
    share = 1.0
    while True:
        images = in_palette(film if share == 1.0 else _resized(film, share))
        buffer = io.BytesIO()
        images[0].save(
            buffer, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
        )
        if buffer.tell() <= budget or share < 0.3:
            return buffer.getvalue(), share
        share *= _GIF_SHRINK


def _rounded(seconds: Sequence[float]) -> list[int]:
    """Milliseconds, whole hundredths of a second as a GIF has them, that add up to the right time; at least 20, since
    browsers slow down what is faster."""
    ends = np.round(np.cumsum(seconds) * 100).astype(int)
    return [max(20, int(step) * 10) for step in np.diff(ends, prepend=0)]


def _resized(film: Film, share: float) -> Film:
    height, width = (round(side * share) for side in film.shape[1:3])
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)) for frame in film]
    )


def _encoded(film: Film, seconds: Sequence[float], chosen: str) -> bytes:
    """H.264 in mp4 or VP9 in webm, 4:2:0 with 8 bits: of all they allow, what every decoder in hardware plays."""
    encoder = _encoder(_H264 if chosen == "mp4" else _VP9, chosen)
    # faststart puts the index before the pictures, so that a browser plays before it has everything.
    container_options = {"movflags": "+faststart"} if chosen == "mp4" else {}
    # Not in memory: faststart reads back what it wrote. In the system's folder, since the output's may be full or a pipe's.
    with tempfile.TemporaryDirectory(prefix="videomae-") as folder:
        path = Path(folder) / f"film.{chosen}"
        with av.open(str(path), "w", format=chosen, options=container_options) as container:
            _encode(container, film, seconds, encoder)
        return path.read_bytes()


def _encode(container: OutputContainer, film: Film, seconds: Sequence[float], encoder: str) -> None:
    rate = Fraction(1 / float(np.median(seconds))).limit_denominator(1001)
    stream = cast(VideoStream, container.add_stream(encoder, rate=rate, options=_OPTIONS[encoder]))
    stream.height, stream.width = film.shape[1:3]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, _CLOCK)
    # Said in the stream, or a player guesses the matrix from the size of the picture, and colours shift.
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = 1  # limited, as for television
    starts = np.round(np.concatenate([[0.0], np.cumsum(seconds)]) * _CLOCK).astype(int)
    for number, image in enumerate(film):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=1)
        frame.pts, frame.time_base = int(starts[number]), Fraction(1, _CLOCK)
        _mux(container, stream.encode(frame), starts)
    _mux(container, stream.encode(None), starts)


def _mux(container: OutputContainer, packets: Sequence[Packet[VideoStream]], starts: npt.NDArray[np.int64]) -> None:
    """Hand packets on with their durations: encoders don't say them, and the last frame's would be a guess."""
    for packet in packets:
        assert packet.pts is not None
        number = int(np.searchsorted(starts, packet.pts))
        packet.duration = int(starts[number + 1] - starts[number])
        container.mux(packet)


_OPTIONS = {
    "libx264": {"crf": "17", "preset": "medium", "profile": "high"},
    "libopenh264": {"b": "6M"},
    "libvpx-vp9": {"crf": "24", "b": "0", "cpu-used": "4", "deadline": "good"},
}


def _encoder(names: Sequence[str], chosen: str, available: Callable[[], set[str]] = lambda: av.codecs_available) -> str:
    for name in names:
        if name in available():
            return name
    raise DependencyError(
        f"the FFmpeg inside this PyAV has no encoder for {chosen} ({' or '.join(names)}): "
        "write a .gif, or install PyAV's own wheel (pip install --force-reinstall av)"
    )

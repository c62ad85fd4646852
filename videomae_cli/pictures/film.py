"""Writes images with durations as a gif, mp4 or webm animation, or a single image as png."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from videomae_cli.errors import OptionError
from videomae_cli.files import write_file
from videomae_cli.pictures.encoding import CLOCK, FilmEncoder, open_film, pick_encoder
from videomae_cli.pictures.palette import in_palette
from videomae_cli.pictures.picture_files import SOURCE, pick_format

Film = npt.NDArray[np.uint8]

_GIF_BYTES_A_FRAME = 5_000_000 / 16
_GIF_SHRINK = 0.8


@dataclass(frozen=True)
class Written:
    """A written file: bytes, width and height in pixels, and the scale that a GIF was reduced to (else 1)."""

    size: int
    width: int
    height: int
    reduced: float = 1.0


def write_film(output: Path, film: Film, seconds: Sequence[float]) -> Written:
    """Write images (T, H, W, 3) uint8 RGB, image i shown for seconds[i]. mp4 and webm need even sides.

    Raises OptionError, OutputError, or DependencyError if FFmpeg has no encoder for the format.
    """
    chosen = pick_format(output)
    if chosen == "png":
        raise OptionError.about("format", "a PNG holds one image, not a film")
    reduced = 1.0
    if chosen == "gif":
        data, reduced = _gif(film, seconds)
    else:
        data = _encoded(film, seconds, chosen)
    write_file(output, data)
    height, width = (round(side * reduced) for side in film.shape[1:3])
    return Written(len(data), width, height, reduced)


def write_image(output: Path, image: Film) -> Written:
    """Write one image (H, W, 3) uint8 RGB as PNG. Raises OutputError."""
    content = encode_image(image)
    write_file(output, content)
    return Written(len(content), image.shape[1], image.shape[0])


def encode_image(image: Film) -> bytes:
    """Encode one image (H, W, 3) uint8 RGB as PNG."""
    buffer = io.BytesIO()
    about = PngInfo()
    about.add_text("Source", SOURCE)
    Image.fromarray(image).save(buffer, format="PNG", optimize=True, pnginfo=about)
    return buffer.getvalue()


def _gif(film: Film, seconds: Sequence[float]) -> tuple[bytes, float]:
    """Encode a GIF, scaled down until it has at most about 5 MB per 16 frames; returns it and the scale."""
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
    """Round durations to multiples of 10 ms, a GIF's unit, without accumulating error; returns milliseconds.

    At least 20 ms each, since browsers slow down anything faster.
    """
    ends = np.round(np.cumsum(seconds) * 100).astype(int)
    return [max(20, int(step) * 10) for step in np.diff(ends, prepend=0)]


def _resized(film: Film, share: float) -> Film:
    height, width = (round(side * share) for side in film.shape[1:3])
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)) for frame in film]
    )


def _encoded(film: Film, seconds: Sequence[float], chosen: str) -> bytes:
    """Encode H.264 in mp4 or VP9 in webm, as 8-bit 4:2:0, which every hardware decoder plays."""
    encoder = pick_encoder(chosen)
    # In a file, since faststart rereads its output; in the system's temporary folder, since the output may be a pipe.
    with tempfile.TemporaryDirectory(prefix="videomae-") as folder:
        path = Path(folder) / f"film.{chosen}"
        with open_film(path, chosen) as container:
            rate = Fraction(1 / float(np.median(seconds))).limit_denominator(1001)
            encoding = FilmEncoder(container, encoder, width=film.shape[2], height=film.shape[1], rate=rate)
            ticks = np.round(np.concatenate([[0.0], np.cumsum(seconds)]) * CLOCK).astype(int).tolist()
            for number, image in enumerate(film):
                encoding.add(image, ticks[number], ticks[number + 1] - ticks[number])
            encoding.finish()
        return path.read_bytes()

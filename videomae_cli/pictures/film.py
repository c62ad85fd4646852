"""Writes images with durations as a gif, mp4 or webm animation, or a single image as png."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
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


def write_film(output: Path, film: Film, seconds: Sequence[float], smaller: Iterable[Film] = ()) -> Written:
    """Write images (T, H, W, 3) uint8 RGB, image i shown for seconds[i]. mp4 and webm need even sides.

    smaller: the same film drawn smaller, for a GIF that would be too large; what is too large all the same is reduced.
    Raises OptionError, OutputError, or DependencyError if FFmpeg has no encoder for the format.
    """
    chosen = pick_format(output)
    if chosen == "png":
        raise OptionError.about("format", "a PNG holds one image, not a film")
    reduced = 1.0
    if chosen == "gif":
        film, data, reduced = _gif(film, seconds, smaller)
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
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=about)
    return buffer.getvalue()


def _gif(film: Film, seconds: Sequence[float], smaller: Iterable[Film]) -> tuple[Film, bytes, float]:
    """Encode the first of the films that has at most about 5 MB per 16 frames as a GIF, or the last, reduced until it has.

    Returns the film, the GIF and the scale to which it was reduced, else 1.
    """
    budget = int(_GIF_BYTES_A_FRAME * max(len(film), 16))
    for drawn in chain([film], smaller):
        data = _whole_gif(drawn, seconds)
        if len(data) <= budget:
            return drawn, data, 1.0
    share = 1.0
    while len(data) > budget and share >= 0.3:
        share *= _GIF_SHRINK
        data = _whole_gif(_resized(drawn, share), seconds)
    return drawn, data, share


def _whole_gif(film: Film, seconds: Sequence[float]) -> bytes:
    images = in_palette(film)
    buffer = io.BytesIO()
    durations = _rounded(seconds)
    images[0].save(
        buffer, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
    )
    return buffer.getvalue()


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

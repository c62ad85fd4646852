"""Writes a stream of frames as an H.264 file, atomically and without overwriting other files."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from videomae_cli import files, filesystem
from videomae_cli.errors import not_written
from videomae_cli.pictures.encoding import CLOCK, FilmEncoder, open_film, pick_encoder
from videomae_cli.video.native import load_av

Image = npt.NDArray[np.uint8]
_PREFIX = ".clip."
# The index, which contains the comment, is at the beginning of the file and has about 20 bytes per frame.
_HEAD_BYTES = 2 << 20


def is_clip(file: Path, about: str) -> bool:
    """Return whether a file is a clip that `write_clip` wrote with this `about`."""
    try:
        with file.open("rb") as stream:
            return about.encode() in stream.read(_HEAD_BYTES)
    except OSError:
        return False


def write_clip(
    wanted: Path,
    frames: Iterable[tuple[float, Image]],
    *,
    end: float,
    rate: float,
    about: str = "",
    replaces: bool = False,
) -> Path | None:
    """Write frames (seconds, (H, W, 3) uint8 RGB), ascending, to `wanted`, or with -2, -3, ... if that name is taken.

    end: time in seconds at which the last frame ends; rate: approximate frames per second; about: a comment stored in
    the file; replaces: overwrite an existing clip of the same name and comment. An odd last row or column is cropped,
    since H.264 4:2:0 needs even sides. Returns the file, None if there are no frames. Raises OutputError,
    DependencyError, and what the frames raise.
    """
    encoder = pick_encoder("mp4")
    temporary: Path | None = None
    try:
        files.remove_leftovers(wanted.parent, _PREFIX, files.PART)
        sink, temporary = files.new_file(wanted.parent, _PREFIX, files.PART)
        with sink:  # kept open, so that no other process removes it as a leftover
            if not _encode(temporary, frames, end, rate, encoder, about):
                return None
            files.sync(sink)
            if not files.CLOSED_FIRST:
                return _publish(temporary, wanted, about, replaces)
        return _publish(temporary, wanted, about, replaces)
    except (OSError, load_av().FFmpegError) as error:
        raise not_written(wanted, error) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _publish(temporary: Path, wanted: Path, about: str, replaces: bool) -> Path:
    if replaces and not filesystem.is_link(wanted) and is_clip(wanted, about):
        files.replace(temporary, wanted)
        return wanted
    return files.publish_new(temporary, wanted)


def _encode(
    file: Path, frames: Iterable[tuple[float, Image]], end: float, rate: float, encoder: str, about: str
) -> int:
    """Encode the frames into a file; return how many there were."""
    count, first = 0, 0.0
    held: tuple[int, Image] | None = None
    encoding: FilmEncoder | None = None
    with open_film(file, "mp4") as container:
        container.metadata["comment"] = about
        for seconds, image in frames:
            height, width = (side - side % 2 for side in image.shape[:2])
            if encoding is None:
                first = seconds
                near = Fraction(rate).limit_denominator(1001)
                encoding = FilmEncoder(container, encoder, width=width, height=height, rate=near)
            tick = round((seconds - first) * CLOCK)
            # A frame's duration is only known once the next frame arrives.
            if held is not None and tick > held[0]:
                encoding.add(held[1], held[0], tick - held[0])
            held = tick, image[:height, :width]
            count += 1
        if encoding is not None and held is not None:
            last = max(round((end - first) * CLOCK) - held[0], 1)
            encoding.add(held[1], held[0], last)
            encoding.finish()
    return count

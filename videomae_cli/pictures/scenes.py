"""Writes scenes of panels as a film, sheet or folder of frames, for `reconstruct` and `attend`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import say
from videomae_cli.made import MadeFiles
from videomae_cli.pictures.film import encode_image, write_film, write_image
from videomae_cli.pictures.panels import Panel, contact_sheet, side_by_side
from videomae_cli.pictures.picture_files import is_own_picture, pick_format
from videomae_cli.visible import byte_size, counted

Film = npt.NDArray[np.uint8]
_FRAME = re.compile(r"clip[0-9]+-.*[0-9]{2,}\.png")


@dataclass(frozen=True)
class Scene:
    """One clip's panels. times: the frames' times in the file; seconds: how long each is shown; columns: panels per row
    of a film, or frames per panel of a sheet; across: panels side by side in a sheet; foot: draws a picture of a given
    width to put below the panels."""

    panels: Sequence[Panel]
    times: Sequence[float]
    seconds: Sequence[float]
    caption: str
    columns: int | None = None
    across: int = 1
    foot: Callable[[int], Film] | None = None


def which_clip(clip: int, timestamps: Sequence[Sequence[float]]) -> str:
    """Say in a caption which clip it is; empty if there is only one."""
    return f"Clip {clip + 1} of {len(timestamps)}, from {timestamps[clip][0]:.1f} s. " if len(timestamps) > 1 else ""


def save_scenes(output: Path, scenes: Sequence[Scene], smaller: Iterable[Sequence[Scene]] = ()) -> str:
    """Write scenes one after the other as a film, or one below the other as a sheet; returns a line about the file.

    smaller: the scenes drawn smaller, the largest first, for a GIF that would be too large. Raises OutputError.
    """
    if pick_format(output) == "png":
        sheets = [sheet_of(scene) for scene in scenes]
        written = write_image(output, np.concatenate(_same_size(sheets)))
        return f"{output}: {written.width}x{written.height} pixels, {byte_size(written.size)}"
    film = _film_of(scenes)
    seconds = [second for scene in scenes for second in scene.seconds]
    written = write_film(output, film, seconds, (_film_of(drawn) for drawn in smaller))
    reduced = "" if written.width == film.shape[2] else ", drawn smaller to keep the GIF small (an .mp4 would not be)"
    if written.reduced < 1:
        reduced = f", reduced to {written.reduced:.0%} to keep the GIF small (an .mp4 would not be)"
    return (
        f"{output}: {len(film)} frames of {written.width}x{written.height} pixels{reduced}, {byte_size(written.size)}"
    )


def _film_of(scenes: Sequence[Scene]) -> Film:
    films = [side_by_side(s.panels, columns=s.columns, caption=s.caption, foot=s.foot) for s in scenes]
    return np.concatenate(_same_size(films))


def sheet_of(scene: Scene) -> Film:
    """Draw a scene as one picture (H, W, 3)."""
    columns = scene.columns if scene.across == 1 else None  # otherwise they are a film's panels per row
    return contact_sheet(
        scene.panels, scene.times, columns=columns, across=scene.across, caption=scene.caption, foot=scene.foot
    )


def frames_in(folder: Path, *, overwrite: bool) -> MadeFiles:
    """Return the output folder of `save_frames`, which recognises frames of earlier runs."""
    return MadeFiles(
        folder,
        lambda file: _FRAME.fullmatch(file.name) is not None and is_own_picture(file),
        say("{folder} has frames in it already: give another folder, or {@overwrite:True}", folder=folder),
        overwrite=overwrite,
    )


def save_frames(folder: Path, named: Mapping[str, Film], *, overwrite: bool) -> str:
    """Write each film's frames as NAME-00.png, NAME-01.png, ... to a folder, created if needed. Raises OutputError."""
    with frames_in(folder, overwrite=overwrite) as made:
        images = {
            f"{name}-{number:02}.png": frame for name, frames in named.items() for number, frame in enumerate(frames)
        }
        made.check_free(images)
        files = {name: encode_image(frame) for name, frame in images.items()}
        made.fill(files)
    return f"{folder}: {counted(len(files), 'image')}, {byte_size(sum(map(len, files.values())))}"


def _same_size(pictures: Sequence[Film]) -> list[Film]:
    """Pad pictures (..., H, W, 3) with white to a common size, since captions differ in their number of lines."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (-3, -2))
    result = []
    for picture in pictures:
        missing = [(0, 0)] * (picture.ndim - 3) + [
            (0, height - picture.shape[-3]),
            (0, width - picture.shape[-2]),
            (0, 0),
        ]
        result.append(np.pad(picture, missing, constant_values=255))
    return result

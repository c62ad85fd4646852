"""Scenes of panels -> the file that was asked for, and the line that says so. Shared by `reconstruct` and `attend`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import OutputError
from videomae_cli.pictures.film import write_film, write_image
from videomae_cli.pictures.outputs import pick_format
from videomae_cli.pictures.panels import Panel, contact_sheet, side_by_side

Film = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """One clip's panels. times: of its frames in the file; seconds: how long each is shown; columns: panels in a row of a
    film, or frames in a row of a sheet; foot: draws what goes under the panels, for a width."""

    panels: Sequence[Panel]
    times: Sequence[float]
    seconds: Sequence[float]
    caption: str
    columns: int | None = None
    foot: Callable[[int], Film] | None = None


def which_clip(clip: int, timestamps: Sequence[Sequence[float]]) -> str:
    """Words for a caption, where there is more than one clip."""
    return f"Clip {clip + 1} of {len(timestamps)}, from {timestamps[clip][0]:.1f} s. " if len(timestamps) > 1 else ""


def save_scenes(output: Path, scenes: Sequence[Scene]) -> str:
    """Write scenes one after the other as a film, or one under the other as a sheet. Raises OutputError."""
    if pick_format(output) == "png":
        sheets = [contact_sheet(s.panels, s.times, columns=s.columns, caption=s.caption, foot=s.foot) for s in scenes]
        written = write_image(output, np.concatenate(_same_size(sheets)))
        return f"{output}: {written.width}x{written.height} pixels, {_amount(written.size)}"
    films = [side_by_side(s.panels, columns=s.columns, caption=s.caption, foot=s.foot) for s in scenes]
    film = np.concatenate(_same_size(films))
    written = write_film(output, film, [second for scene in scenes for second in scene.seconds])
    reduced = ""
    if written.reduced < 1:
        reduced = f", reduced to {written.reduced:.0%} to keep the GIF small (an .mp4 would not be)"
    return f"{output}: {len(film)} frames of {written.width}x{written.height} pixels, {_amount(written.size)}{reduced}"


def save_frames(folder: Path, named: Mapping[str, Film]) -> str:
    """Write each film's frames as NAME-00.png, NAME-01.png, ... into a folder, made if need be. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror or error}") from None
    count = 0
    for name, frames in named.items():
        for number, frame in enumerate(frames):
            write_image(folder / f"{name}-{number:02}.png", frame)
            count += 1
    return f"{folder}: {count} images"


def _same_size(pictures: Sequence[Film]) -> list[Film]:
    """Pictures (..., H, W, 3) padded with paper to the largest of them: captions may take one line more or less."""
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


def _amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} kB"

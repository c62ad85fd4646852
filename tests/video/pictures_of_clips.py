"""Makes folders of frames from the film that ships with the package, and tar archives."""

from __future__ import annotations

import io
import tarfile
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from videomae_cli.api.footage import demo_clip


@cache
def film_frames(count: int = 60) -> tuple[npt.NDArray[np.uint8], ...]:
    """The first frames of the film, (90, 160, 3) uint8 each."""
    with av.open(str(demo_clip())) as container:
        frames = []
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24", width=160, height=90))
            if len(frames) == count:
                return tuple(frames)
    raise AssertionError


def write_frames(
    folder: Path, numbers: list[int] | range = range(1, 41), *, pattern: str = "img_%05d.jpg", **options: object
) -> Path:
    """Write frames of the film as pictures: the one with number n is the film's frame n. options: Pillow's for saving."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(film_frames()[number % 60]).save(folder / (pattern % number), **options)  # type: ignore[arg-type]
    return folder


def jpeg(size: tuple[int, int] = (160, 90)) -> bytes:
    """Return a small JPEG."""
    sink = io.BytesIO()
    Image.new("RGB", size, (90, 20, 200)).save(sink, "JPEG")
    return sink.getvalue()


def write_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo], format: int = tarfile.PAX_FORMAT) -> Path:
    """Write an archive of the members, as they are named; what is no bytes is added as it is."""
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def read_members(folder: Path, key: str) -> dict[str, bytes]:
    """Return the pictures of a folder as members KEY.0001.jpg of an archive."""
    return {f"{key}.{number:04}.jpg": file.read_bytes() for number, file in enumerate(sorted(folder.iterdir()), 1)}

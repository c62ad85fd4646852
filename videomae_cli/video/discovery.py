"""Paths and folders -> the video files behind them. Opens nothing and knows no decoder.

A wrong path is a value, not an exception, so that one typing error among a thousand paths costs one record.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from videomae_cli.errors import VideoError, VideoMAEError, VideoNotFoundError

# Only used to pick files out of folders: a file named on the command line may be called anything.
VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".f4v", ".m4v", ".mov", ".mp4", ".qt"),
        *(".mk3d", ".mkv", ".webm", ".ivf", ".nut", ".ogm", ".ogv"),
        *(".m2t", ".m2ts", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ts", ".vob"),
        *(".amv", ".asf", ".avi", ".divx", ".dv", ".flv", ".rm", ".rmvb", ".wmv"),
        *(".264", ".265", ".h264", ".h265", ".hevc", ".m1v", ".m2v", ".mjpeg", ".mjpg", ".y4m"),
        *(".apng", ".gif"),
    }
)


@dataclass(frozen=True)
class FoundVideo:
    """One path to process, or one that can't be (`error` says why)."""

    path: str
    error: VideoMAEError | None = None


def discover(paths: Iterable[str | Path], *, recursive: bool = True) -> list[FoundVideo]:
    """Expand files and folders, in the order given; a file reached twice is listed once.

    A folder gives the files in it (and below it, if `recursive`) that have a video suffix, sorted by path.
    Hidden files and folders inside a folder are passed over.
    """
    found: list[FoundVideo] = []
    seen: set[str] = set()
    for path in paths:
        for item in _expand(os.fspath(path), recursive):
            identity = os.path.realpath(item.path)
            if identity not in seen:
                seen.add(identity)
                found.append(item)
    return found


def check_regular_file(path: str) -> None:
    """Raise `VideoNotFoundError` unless `path` is a regular file: a pipe or a device could block for ever."""
    error = _problem(path)
    if error is not None:
        raise error


def _expand(path: str, recursive: bool) -> Iterator[FoundVideo]:
    if not Path(path).is_dir():
        yield FoundVideo(path, _problem(path))
        return
    empty = True
    for item in _walk(path, recursive):
        empty = False
        yield item
    if empty:
        yield FoundVideo(path, VideoNotFoundError(f"no video files in folder {_quoted(path)}"))


def _walk(folder: str, recursive: bool) -> Iterator[FoundVideo]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        yield FoundVideo(folder, VideoNotFoundError(f"can't list folder {_quoted(folder)}: {error.strerror}"))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # Linked folders are not entered: a link to a parent would never end.
        if entry.is_dir(follow_symlinks=False):
            if recursive:
                yield from _walk(entry.path, recursive)
        elif Path(entry.name).suffix.lower() in VIDEO_SUFFIXES and not entry.is_dir():
            yield FoundVideo(entry.path, _problem(entry.path))


def _problem(path: str) -> VideoError | None:
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        if "://" in path:
            return VideoNotFoundError(f"{_quoted(path)} is an address, not a file: download it first")
        return VideoNotFoundError(f"no such file: {_quoted(path)}")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return VideoNotFoundError(f"can't read {_quoted(path)}: {reason}")
    if not stat.S_ISREG(mode):
        return VideoNotFoundError(f"{_quoted(path)} is not a regular file; only files on disk are read")
    if not os.access(path, os.R_OK):
        return VideoNotFoundError(f"can't read {_quoted(path)}: permission denied")
    return None


def _quoted(path: str) -> str:
    """The path as one printable line, whatever bytes a file name holds."""
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path) + "'"

"""Expands paths and folders into the video files behind them. Opens no video and knows no decoder.

A wrong path is returned with its error instead of raising one, so that a typo among a thousand paths spoils only one
record.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from videomae_cli import filesystem, storage
from videomae_cli.errors import (
    DependencyError,
    ObjectNotFoundError,
    StorageError,
    VideoError,
    VideoFetchError,
    VideoMAEError,
    VideoNotFoundError,
)
from videomae_cli.video.content import is_animated

# Suffixes of the files that are picked from folders; a file named on the command line may have any.
VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".f4v", ".m4v", ".mov", ".mp4", ".qt"),
        *(".mk3d", ".mkv", ".webm", ".ivf", ".nut", ".ogm", ".ogv"),
        *(".m2t", ".m2ts", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ts", ".vob"),
        *(".amv", ".asf", ".avi", ".divx", ".dv", ".flv", ".rm", ".rmvb", ".wmv"),
        *(".264", ".265", ".h264", ".h265", ".hevc", ".m1v", ".m2v", ".mjpeg", ".mjpg", ".y4m"),
        *(".apng", ".gif", ".webp"),
    }
)


@dataclass(frozen=True, slots=True)  # slots save memory: there may be millions of these
class FoundVideo:
    """A path to process, or one that can't be processed (`error` says why).

    Functions that take a path accept this, too.
    """

    path: str
    error: VideoMAEError | None = None

    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Filter:
    """Selects files by shell patterns, which are matched against the whole path and against the name alone.

    include: in folders, these replace the list of video suffixes; files named directly must match one of them, too.
    exclude: leaves out matching files, and matching folders with everything in them.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def excludes(self, path: str) -> bool:
        """Return whether a file or a folder is left out."""
        return bool(self.exclude) and _matches(path, self.exclude)

    def takes(self, path: str, *, named: bool) -> bool:
        """Return whether a file is taken. named: the user named the file, so any suffix will do."""
        if self.excludes(path):
            return False
        if self.include:
            return _matches(path, self.include)
        return named or (Path(path).suffix.lower() in VIDEO_SUFFIXES and not _is_picture(path))


def discover(
    paths: Iterable[str | Path],
    *,
    recursive: bool = True,
    only: Filter | None = None,
    globs: bool = False,
    seen: set[str] | None = None,
    addresses: bool = False,
) -> list[FoundVideo]:
    """Expand files and folders, in the order given; a file reached twice is listed once.

    A folder stands for the files in it (and in its subfolders, if `recursive`) that have a video suffix, sorted by
    name; links are followed, but each real folder is entered only once. Hidden files and folders are skipped. globs: a
    path that doesn't exist and contains * ? or [ is a pattern; ** goes through folders. seen: the files that earlier
    calls found; they are left out, and what this call finds is added. addresses: s3://bucket/clips/ and the like
    (`storage.is_address`) are read; otherwise they are errors. No server is asked about an address with a video suffix,
    nor, without `globs`, about any that does not end in a slash.
    """
    walker = _Walker(recursive, only or Filter(), addresses)
    found: list[FoundVideo] = []
    seen = set() if seen is None else seen
    for path in paths:
        for item, identity in walker.expand(os.fspath(path), globs=globs):
            if identity not in seen:
                seen.add(identity)
                found.append(item)
    return found


def check_regular_file(path: str) -> None:
    """Raise `VideoNotFoundError` unless `path` is a regular file: a pipe or a device could block forever."""
    error = _problem(path)
    if error is not None:
        raise error


class _Walker:
    """Expands one path after the other into files; each comes with its real path, which identifies it."""

    def __init__(self, recursive: bool, only: Filter, addresses: bool) -> None:
        self._recursive, self._only, self._addresses = recursive, only, addresses
        self._entered: set[str] = set()

    def expand(self, path: str, *, globs: bool) -> Iterator[tuple[FoundVideo, str]]:
        if self._addresses and storage.is_address(path):
            yield from self._remote(path, globs)
        elif globs and glob.has_magic(path) and not filesystem.is_named(path):
            yield from self._pattern(path)
        elif filesystem.is_folder(path):
            yield from self._folder(path)
        elif self._only.takes(path, named=True):
            yield FoundVideo(path, _problem(path)), filesystem.real(path)

    def _pattern(self, pattern: str) -> Iterator[tuple[FoundVideo, str]]:
        # A pattern that ends in a suffix means exactly the files that match; any other selects by suffix, as for a
        # folder.
        named = bool(Path(pattern).suffix) and not glob.has_magic(Path(pattern).suffix)
        try:
            matches = sorted(glob.iglob(pattern, recursive=True))  # noqa: PTH207 - Path.glob has no absolute patterns
        except (OSError, ValueError, RecursionError):
            matches = []  # no file can match: the pattern holds a zero byte, or is a thousand folders deep
        for path in matches:
            if filesystem.is_folder(path):
                # A pattern with ** has listed the files of its folders already.
                if "**" not in pattern:
                    yield from self._folder(path)
            elif self._only.takes(path, named=named):
                yield FoundVideo(path, _problem(path)), filesystem.real(path)
        if not matches:
            yield FoundVideo(pattern, VideoNotFoundError.about(pattern, "no file matches {subject!q}")), pattern

    def _remote(self, address: str, globs: bool) -> Iterator[tuple[FoundVideo, str]]:
        try:
            paths = self._stored(address, globs)
        except (StorageError, DependencyError) as error:
            problem = video_error(error) if isinstance(error, StorageError) else error
            yield FoundVideo(address, problem), address
        except VideoNotFoundError as error:
            yield FoundVideo(address, error), address
        else:
            for path in paths:
                yield FoundVideo(path), str(storage.Address.parse(path).canonical)

    def _stored(self, address: str, globs: bool) -> list[str]:
        """Return the objects that an address stands for. Raises StorageError, DependencyError or VideoNotFoundError."""
        place = storage.Address.parse(address)
        if not place.path or (place.path.endswith("/") and not (globs and glob.has_magic(place.path))):
            return self._stored_below(address)
        suffix = Path(place.path).suffix
        if globs and (glob.has_magic(place.path) or suffix.lower() not in VIDEO_SUFFIXES):
            kind = storage.look(address)
            if kind == "folder":
                return self._stored_below(address)
            if kind is None and glob.has_magic(place.path):
                return self._stored_pattern(address, named=bool(suffix) and not glob.has_magic(suffix))
            if kind is None:
                raise VideoNotFoundError.about(address, "there is no {subject!q}")
        return [address] if self._only.takes(place.plain, named=True) else []

    def _stored_pattern(self, pattern: str, *, named: bool) -> list[str]:
        matches = storage.matching(pattern)
        if not matches:
            raise VideoNotFoundError.about(pattern, "no file matches {subject!q}")
        found: list[str] = []
        for match in matches:
            if not match.folder:
                found += [match.address] if self._takes(match.address, named=named) else []
            elif "**" not in pattern:  # ** has listed the files of its folders already
                found += self._stored_below(match.address)
        return found

    def _stored_below(self, folder: str) -> list[str]:
        listed = storage.files_below(
            folder, recursive=self._recursive, enters=lambda below: not self._only.excludes(below)
        )
        found = [address for address in listed if self._takes(address, named=False)]
        if not found:
            raise VideoNotFoundError.about(folder, "no video files in folder {subject!q}")
        return found

    def _takes(self, address: str, *, named: bool) -> bool:
        return self._only.takes(storage.without_options(address), named=named)

    def _folder(self, path: str) -> Iterator[tuple[FoundVideo, str]]:
        # The same folder given twice is searched twice (`discover` drops the duplicates); this only cuts loops.
        self._entered = set()
        empty = True
        for item in self._walk(path, filesystem.real(path)):
            empty = False
            yield item
        if empty:
            yield FoundVideo(path, VideoNotFoundError.about(path, "no video files in folder {subject!q}")), path

    def _walk(self, folder: str, real: str) -> Iterator[tuple[FoundVideo, str]]:
        if real in self._entered:
            return
        self._entered.add(real)
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            problem = VideoNotFoundError.about(folder, "can't list folder {subject!q}: {reason}", reason=error.strerror)
            yield FoundVideo(folder, problem), real
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # realpath costs a system call for each part of a path: only where real is a link.
            resolved = filesystem.real(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)  # noqa: PTH118
            if _is_folder(entry):
                if self._recursive and not self._only.excludes(entry.path):
                    yield from self._walk(entry.path, resolved)
            elif self._only.takes(entry.path, named=False):
                yield FoundVideo(entry.path, _problem(entry.path)), resolved


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself, for example: it is taken for a file, and gets its error there


def _is_picture(path: str) -> bool:
    """Whether a WebP is a still picture, such as a preview beside a video.

    One in object storage counts as a still picture, to avoid asking the server.
    """
    if Path(path).suffix.lower() != ".webp":
        return False
    return storage.is_address(path) or (filesystem.is_file(path) and is_animated(path) is False)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    name = Path(path).name
    return any(fnmatchcase(name, pattern) or fnmatchcase(path, pattern) for pattern in patterns)


def _problem(path: str) -> VideoError | None:
    place = filesystem.look(path)
    if place.kind == "missing":
        if "://" in path:
            return VideoNotFoundError.about(path, "{subject!q} is an address, not a file", remedy="download it first")
        return VideoNotFoundError.about(
            path, "no such file: {subject!q}" if path else "no such file: the name is empty"
        )
    if place.kind == "unknown":
        return VideoNotFoundError.about(path, "can't read {subject!q}: {reason}", reason=place.reason)
    if not place.is_file:
        return VideoNotFoundError.about(path, "{subject!q} is not a regular file; only files on disk are read")
    if not os.access(path, os.R_OK):
        return VideoNotFoundError.about(path, "can't read {subject!q}: permission denied")
    return None


def video_error(error: StorageError) -> VideoError:
    """Turn a storage error into the error of one video."""
    return error.recast(VideoNotFoundError if isinstance(error, ObjectNotFoundError) else VideoFetchError)

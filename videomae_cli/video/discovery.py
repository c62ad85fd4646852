"""Expands paths and folders into the video files behind them. Opens no video and knows no decoder.

A wrong path is returned with its error instead of raising one, so that a typo among a thousand paths spoils only one
record.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path

from videomae_cli import filesystem, storage
from videomae_cli.content import VIDEO_SUFFIXES, content_in, is_animated
from videomae_cli.errors import (
    DependencyError,
    NotAVideoError,
    ObjectNotFoundError,
    StorageError,
    VideoError,
    VideoFetchError,
    VideoMAEError,
    VideoNotFoundError,
    Wording,
    check_choice,
)
from videomae_cli.video import tar_members
from videomae_cli.video.image_sequences import (
    FRAME_FOLDERS,
    PicturesFolder,
    find_sequence,
    is_folder,
    samples_in,
    why_not_frames,
)
from videomae_cli.video.seen_names import SeenNames
from videomae_cli.video.suffixes import IMAGE_SUFFIXES, suffix_of

log = logging.getLogger(__name__)

# What is looked at to tell whether a folder is a clip.
_MEDIA = VIDEO_SUFFIXES | IMAGE_SUFFIXES
# What a command wrote is recognised before a model is loaded if its name ends so.
_NO_VIDEOS = frozenset(
    {
        *(".csv", ".json", ".jsonl", ".ndjson", ".npz", ".parquet", ".pq"),
        *(".htm", ".html", ".pt", ".pth", ".safetensors"),
    }
)


@dataclass(frozen=True, slots=True)  # slots save memory: there may be millions of these
class FoundVideo:
    """A path to process, or one that can't be processed (`error` says why).

    Functions that take a path accept this, too. below: the length of the folder in `path` that was searched, 0 for a file
    that was named itself.
    """

    path: str
    error: VideoMAEError | None = None
    below: int = field(default=0, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The path below the folder that was searched, which is the same on machines that mount the folder elsewhere; the
        path as it was given for a file that was named itself."""
        remote = "://" in self.path and storage.is_address(self.path)
        return (storage.without_options(self.path) if remote else self.path)[self.below :]

    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Filter:
    """Selects files by shell patterns, which are matched against the whole path and against the name alone.

    include: in folders, these replace the list of video suffixes; files named directly must match one of them, too.
    exclude: leaves out matching files, and matching folders with everything in them. frame_folders: which folders of
    numbered pictures are clips: those that look like it ("auto", see `image_sequences.why_not_frames`), none ("never"),
    or all ("always").
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    frame_folders: str = "auto"

    def __post_init__(self) -> None:
        check_choice("frame_folders", self.frame_folders, FRAME_FOLDERS, what="way with folders of frames", last=" or ")

    def excludes(self, path: str) -> bool:
        """Return whether a file or a folder is left out."""
        return bool(self.exclude) and _matches(path, self.exclude)

    def takes(self, path: str, *, named: bool) -> bool:
        """Return whether a file is taken. named: the user named the file, so any suffix will do."""
        if self.excludes(path):
            return False
        if self.include:
            return _matches(path, self.include)
        return named or (suffix_of(path) in VIDEO_SUFFIXES and not _is_picture(path))


def discover(
    paths: Iterable[str | Path],
    *,
    recursive: bool = True,
    only: Filter | None = None,
    globs: bool = False,
    addresses: bool = False,
) -> list[FoundVideo]:
    """Return what `each_video` yields as a list."""
    return list(each_video(paths, recursive=recursive, only=only, globs=globs, addresses=addresses))


def each_video(
    paths: Iterable[str | Path],
    *,
    recursive: bool = True,
    only: Filter | None = None,
    globs: bool = False,
    seen: SeenNames | None = None,
    addresses: bool = False,
) -> Iterator[FoundVideo]:
    """Expand files and folders, in the order given; a file reached twice is listed once.

    A folder stands for the files in it (and in its subfolders, if `recursive`) that have a video suffix, sorted by
    name; links are followed, but each real folder is entered only once. Hidden files and folders are skipped. globs: a
    path that doesn't exist and contains * ? or [ is a pattern; ** goes through folders. seen: the files that earlier
    calls found; they are left out, and what this call finds is added. addresses: s3://bucket/clips/ and the like
    (`storage.is_address`) are read; otherwise they are errors. No server is asked about an address with a video suffix,
    nor, without `globs`, about any that does not end in a slash.
    """
    walker = _Walker(recursive, only or Filter(), addresses)
    seen = SeenNames() if seen is None else seen
    for path in paths:
        for item, identity in walker.expand(os.fspath(path), globs=globs):
            if seen.add(identity):
                yield item


def one_clip(path: str, *, addresses: bool = False) -> FoundVideo:
    """Return the one video that a path names; a folder is one if it has numbered pictures, however they look.

    addresses: as for `discover`. Raises VideoError for a folder or an archive of several.
    """
    if filesystem.is_folder(path):
        try:
            find_sequence(path)
        except VideoError as error:
            reason = "{subject} is a folder: give one video file, or a folder of numbered pictures ({error})"
            raise VideoError.about(path, reason, error=error) from None
        return FoundVideo(path.rstrip("/" + os.sep) or path)
    found = discover([path], addresses=addresses) or [FoundVideo(path)]
    if len(found) > 1:
        reason = "{subject} holds {count} clips: give one of them, such as {first}"
        raise VideoError.about(path, reason, count=len(found), first=found[0].path)
    return found[0]


def is_clip(path: str) -> bool:
    """Return whether a path names a clip that is no file of its own: pictures, or something in an archive."""
    try:
        return find_sequence(path) is not None or (
            not filesystem.is_file(path) and tar_members.find_video(path) is not None
        )
    except VideoError:
        return False


def check_readable(path: str) -> None:
    """Raise a VideoError unless `path` is a regular file, or names pictures or part of an archive.

    A pipe or a device could block forever.
    """
    if filesystem.is_folder(path):
        return
    error = _problem(path)
    if error is not None:
        raise error


# What is a clip, or holds some, on a disk, and not in object storage.
_ON_DISK = IMAGE_SUFFIXES | {tar_members.SUFFIX}


class _Walker:
    """Expands one path after the other into files; each comes with its real path, which identifies it."""

    def __init__(self, recursive: bool, only: Filter, addresses: bool) -> None:
        self._recursive, self._only, self._addresses = recursive, only, addresses
        self._entered: set[str] = set()
        self._below = 0
        # Why a folder of numbered pictures was passed over, the first time.
        self._passed_over: PicturesFolder | None = None

    def expand(self, path: str, *, globs: bool) -> Iterator[tuple[FoundVideo, str]]:
        if self._addresses and storage.is_address(path):
            yield from self._remote(path, globs)
        elif globs and glob.has_magic(path) and not filesystem.is_named(path):
            self._below = len(_before_magic(path, os.sep))
            yield from self._pattern(path)
        elif filesystem.is_folder(path):
            self._below = len(os.path.join(path, ""))  # noqa: PTH118 - Path drops "./", which names keep
            yield from self._folder(path)
        elif tar_members.is_archive(path):
            self._below = 0
            yield from self._archive(path, filesystem.real(path), named=True)
        elif self._only.takes(path, named=True):
            yield FoundVideo(path, _problem(path) or _no_video(path)), filesystem.real(path)

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
                if "**" in pattern:
                    yield from self._pictures(path, filesystem.real(path))
                else:
                    yield from self._folder(path)
            elif tar_members.is_archive(path):
                yield from self._archive(path, filesystem.real(path), named=named)
            elif self._only.takes(path, named=named):
                yield FoundVideo(path, _problem(path), self._below), filesystem.real(path)
        if not matches:
            yield FoundVideo(pattern, VideoNotFoundError.about(pattern, "no file matches {subject!q}")), pattern

    def _remote(self, address: str, globs: bool) -> Iterator[tuple[FoundVideo, str]]:
        folder = _searched(address)
        try:
            for path in self._stored(address, globs):
                below = len(folder) if path != address and path.startswith(folder) else 0
                yield FoundVideo(path, below=below), storage.canonical(path)
        except (StorageError, DependencyError) as error:
            problem = video_error(error) if isinstance(error, StorageError) else error
            yield FoundVideo(address, problem), address
        except VideoNotFoundError as error:
            yield FoundVideo(address, error), address

    def _stored(self, address: str, globs: bool) -> Iterator[str]:
        """Yield the objects that an address stands for. Raises StorageError, DependencyError or VideoNotFoundError."""
        plain = storage.without_options(address)
        path = plain.partition("://")[2].partition("/")[2]
        if not path or (path.endswith("/") and not (globs and glob.has_magic(path))):
            yield from self._stored_below(address)
            return
        suffix = suffix_of(path)
        if suffix == tar_members.SUFFIX and not glob.has_magic(path):
            reason = "archives are read on a disk, not in object storage: download {subject!q} first"
            raise VideoNotFoundError.about(address, reason)
        if globs and (glob.has_magic(path) or suffix not in VIDEO_SUFFIXES):
            kind = storage.look(address)
            if kind == "folder":
                yield from self._stored_below(address)
                return
            if kind is None and glob.has_magic(path):
                yield from self._stored_pattern(address, named=bool(suffix) and not glob.has_magic(suffix))
                return
            if kind is None:
                raise VideoNotFoundError.about(address, "there is no {subject!q}")
        if self._only.takes(plain, named=True):
            yield address

    def _stored_pattern(self, pattern: str, *, named: bool) -> Iterator[str]:
        matches = storage.matching(pattern)
        if not matches:
            raise VideoNotFoundError.about(pattern, "no file matches {subject!q}")
        for match in matches:
            if not match.folder:
                if self._takes(match.address, named=named):
                    yield match.address
            elif "**" not in pattern:  # ** has listed the files of its folders already
                yield from self._stored_below(match.address)

    def _stored_below(self, folder: str) -> Iterator[str]:
        listed = storage.files_below(
            folder, recursive=self._recursive, enters=lambda below: not self._only.excludes(below)
        )
        empty, left = True, None
        for address in listed:
            if self._takes(address, named=False):
                empty = False
                yield address
            elif left is None and (suffix := suffix_of(storage.without_options(address))) in _ON_DISK:
                left = "archives" if suffix == tar_members.SUFFIX else "pictures"
        if empty and left is not None:
            reason = "no video files in folder {subject!q}, and its {left} are read on a disk only: download them first"
            raise VideoNotFoundError.about(folder, reason, left=left)
        if empty:
            raise VideoNotFoundError.about(folder, "no video files in folder {subject!q}")

    def _takes(self, address: str, *, named: bool) -> bool:
        return self._only.takes(storage.without_options(address), named=named)

    def _folder(self, path: str) -> Iterator[tuple[FoundVideo, str]]:
        # The same folder given twice is searched twice (`discover` drops the duplicates); this only cuts loops.
        self._entered, self._passed_over = set(), None
        empty = True
        for item in self._walk(path, filesystem.real(path)):
            empty = False
            yield item
        if empty:
            yield FoundVideo(path, self._nothing_in(path)), path

    def _nothing_in(self, folder: str) -> VideoNotFoundError:
        if self._passed_over is None or self._only.frame_folders == "never":
            return VideoNotFoundError.about(folder, "no video files in folder {subject!q}")
        reason = "no video files in folder {subject!q}, and its pictures are not taken for a clip: {why}"
        why = why_not_frames(self._passed_over, self._only.frame_folders)
        remedy: Wording | str = ""
        with contextlib.suppress(NotAVideoError):
            if self._only.frame_folders == "auto" and why_not_frames(self._passed_over, "always") is None:
                remedy = Wording("{@frame_folders:always} takes them")
        return VideoNotFoundError.about(folder, reason, why=why, remedy=remedy, joined="; ")

    def _walk(self, folder: str, real: str) -> Iterator[tuple[FoundVideo, str]]:
        if real in self._entered:
            return
        self._entered.add(real)
        # Entries only of what isn't a plain file: those of a million files would take half a gigabyte.
        names, special = list[str](), dict[str, os.DirEntry[str]]()
        try:
            with os.scandir(folder) as listing:
                for entry in listing:
                    if not entry.name.startswith("."):
                        names.append(entry.name)
                        if entry.is_symlink() or is_folder(entry):
                            special[entry.name] = entry
        except OSError as error:
            problem = VideoNotFoundError.about(folder, "can't list folder {subject!q}: {reason}", reason=error.strerror)
            yield FoundVideo(folder, problem), real
            return
        names.sort()
        if self._only.frame_folders != "never":
            special_folders = {name for name, entry in special.items() if is_folder(entry)}
            media = [name for name in names if suffix_of(name) in _MEDIA and name not in special_folders]
            yield from self._clip(PicturesFolder(folder, media), real)
        for name in names:
            path, resolved = os.path.join(folder, name), os.path.join(real, name)  # noqa: PTH118
            other = special.get(name)
            # realpath costs a system call for each part of a path: only where real is a link.
            if other is not None and filesystem.is_link(path):
                resolved = filesystem.real(path)
            if other is not None and is_folder(other):
                if not self._only.excludes(path):
                    yield from (self._walk if self._recursive else self._pictures)(path, resolved)
            elif tar_members.is_archive(path):
                yield from self._archive(path, resolved, named=False)
            elif self._only.takes(path, named=False):
                yield FoundVideo(path, _problem(path), self._below), resolved

    def _pictures(self, folder: str, real: str) -> Iterator[tuple[FoundVideo, str]]:
        """Yield a folder if it is a clip of pictures, without searching it."""
        if self._only.frame_folders != "never":
            with contextlib.suppress(VideoNotFoundError):
                yield from self._clip(PicturesFolder.listed(folder), real)

    def _clip(self, folder: PicturesFolder, real: str) -> Iterator[tuple[FoundVideo, str]]:
        """Yield a folder, on disk or in an archive, if its files are the pictures of a clip, and it is selected."""
        path = folder.path.rstrip("/" + os.sep) or folder.path
        path = folder.path if tar_members.is_archive(path) else path
        if not any(suffix_of(name) in IMAGE_SUFFIXES for name in folder.names) or not self._selects(path):
            return
        below = self._below if self._below < len(path) else 0
        try:
            why_not = why_not_frames(folder, self._only.frame_folders)
        except NotAVideoError as error:
            yield FoundVideo(path, error, below), real
            return
        if why_not is None:
            yield FoundVideo(path, below=below), real
        else:
            log.info("%s is no clip: %s", path, why_not)
            self._passed_over = self._passed_over or folder

    def _selects(self, path: str) -> bool:
        """Return whether the patterns select something that no suffix tells to be a video."""
        return not self._only.excludes(path) and (not self._only.include or _matches(path, self._only.include))

    def _archive(self, path: str, real: str, *, named: bool) -> Iterator[tuple[FoundVideo, str]]:
        """Yield the clips in a tar archive, and an error for each name that leads out of it."""
        if self._only.excludes(path):
            return
        try:
            index = tar_members.index_of(path)
        except VideoError as error:
            yield FoundVideo(path, error, self._below), real
            return
        self._passed_over = None if named else self._passed_over
        empty = True
        for item in self._clips_in(path, index, real):
            empty = False
            yield item
        if index.problem is not None:
            yield FoundVideo(path, tar_members.damaged(path, index.problem), self._below), real
        elif empty and named:
            yield FoundVideo(path, VideoNotFoundError.about(path, "no clips in archive {subject!q}")), real

    def _clips_in(self, path: str, index: tar_members.TarIndex, real: str) -> Iterator[tuple[FoundVideo, str]]:
        for key in sorted({tar_members.key_path(name) for name in index.outside if suffix_of(name) in _MEDIA}):
            reason = "{subject!q} leads out of the archive: it is not read"
            yield (
                FoundVideo(f"{path}/{key}", VideoNotFoundError.about(f"{path}/{key}", reason), self._below),
                f"{real}/{key}",
            )
        for folder, names in sorted(index.folders.items()):
            above = f"{folder}/" if folder else ""
            # A WebP in an archive is taken for a picture.
            films = [name for name in names if suffix_of(name) not in IMAGE_SUFFIXES]
            taken = [name for name in films if self._only.takes(f"{path}/{above}{name}", named=False)]
            keys = Counter(tar_members.key_of(name) for name in taken)
            for name in sorted(taken):
                key = tar_members.key_of(name)
                # The key alone, unless something else has that name.
                short = key if keys[key] == 1 and above + key not in index.folders else name
                yield self._member(index.members[above + name], f"{path}/{above}{short}"), f"{real}/{above}{short}"
            if self._only.frame_folders == "never":
                continue
            samples = samples_in(names)
            for key in sorted(samples.keys() - keys.keys()):
                if self._selects(f"{path}/{above}{key}"):
                    yield FoundVideo(f"{path}/{above}{key}", below=self._below), f"{real}/{above}{key}"
            # In the outermost folder, numbered pictures are usually single ones, each with its own label beside it.
            if folder or self._only.frame_folders == "always":
                others = [name for name in names if tar_members.key_of(name) not in samples]
                yield from self._clip(PicturesFolder(f"{path}/{folder}", others), f"{real}/{folder}")

    def _member(self, member: tar_members.Member, path: str) -> FoundVideo:
        error = None if member.kind == "file" else tar_members.not_read(path, member)
        return FoundVideo(path, error, self._below)


def _searched(address: str) -> str:
    """Return the folder that an address or a pattern searches, ending in a slash."""
    plain = storage.without_options(address)
    return _before_magic(plain, "/") if glob.has_magic(plain) else plain.rstrip("/") + "/"


def _before_magic(pattern: str, separator: str) -> str:
    """Return the folders of a pattern before the first that has a wildcard, with the separator that follows."""
    literal = takewhile(lambda part: not glob.has_magic(part), pattern.split(separator))
    return "".join(part + separator for part in literal)


def _is_picture(path: str) -> bool:
    """Return whether a WebP is a still picture, such as a preview beside a video.

    One in object storage counts as a still picture, to avoid asking the server.
    """
    if suffix_of(path) != ".webp":
        return False
    return storage.is_address(path) or (filesystem.is_file(path) and is_animated(path) is False)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    name = Path(path).name
    return any(fnmatchcase(name, pattern) or fnmatchcase(path, pattern) for pattern in patterns)


def _problem(path: str) -> VideoError | None:
    place = filesystem.look(path)
    if place.kind == "missing":
        member = tar_members.find_video(path)
        if member is not None:
            return None if member.kind == "file" else tar_members.not_read(path, member)
        try:
            if find_sequence(path) is not None:
                return None
        except VideoError as error:
            return error
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


def _no_video(path: str) -> VideoError | None:
    """Return the error for a file that a command of this program wrote, or that is a model, going by its name and its beginning.

    So nothing is downloaded before it is told.
    """
    if Path(path).suffix.lower() not in _NO_VIDEOS:
        return None
    content = content_in(path)
    if content is None or content.family not in ("output", "page", "weights"):
        return None
    return NotAVideoError.about(path, "{subject!r} is no video but {advice}", advice=content.advice)


def video_error(error: StorageError) -> VideoError:
    """Turn a storage error into the error of one video."""
    return error.recast(VideoNotFoundError if isinstance(error, ObjectNotFoundError) else VideoFetchError)

"""Finds files inside tar archives and reads them in place; nothing is ever unpacked.

A member's path is the archive's, a slash, and its name: `shard.tar/clip.mp4`. Of a video the name may be the key alone,
as WebDataset calls what stands before the first dot: `shard.tar/clip`. Archives are not trusted: every number in a
header is checked, links are not followed, and a name that leads out of the archive opens nothing.
"""

from __future__ import annotations

import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, Literal, cast

from videomae_cli import filesystem
from videomae_cli.content import VIDEO_SUFFIXES, content_in
from videomae_cli.errors import DecodeError, NotAVideoError, VideoNotFoundError
from videomae_cli.video.suffixes import IMAGE_SUFFIXES, suffix_of

SUFFIX = ".tar"
Kind = Literal["file", "folder", "link", "other"]

_BLOCK = 512
_EMPTY = bytes(_BLOCK)
# Names and extended headers that are longer than this were not made by an archiver.
_LONGEST_HEADER = 1 << 20
_KINDS: dict[bytes, Kind] = {b"0": "file", b"\0": "file", b"7": "file", b"5": "folder", b"1": "link", b"2": "link"}
_INSIDE = re.compile(r"\.tar[/\\]", re.IGNORECASE)
_ARCHIVES_AT_ONCE = 8
# A WebP in an archive is taken for a picture.
_VIDEOS = VIDEO_SUFFIXES - IMAGE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: `size` bytes from `offset` on in the file `archive`."""

    archive: str
    name: str
    offset: int
    size: int
    kind: Kind = "file"

    def opened(self) -> BinaryIO:
        """Open the member for reading. Raises OSError, and ValueError for what is no file."""
        if self.kind != "file":
            raise ValueError(f"it is {_unread(self)}")
        return cast(BinaryIO, io.BufferedReader(_Range(filesystem.opened(self.archive), self.offset, self.size)))


@dataclass(frozen=True)
class TarIndex:
    """What is in an archive. members: by name, links included; folders: the names in each folder, "" for the outermost;
    videos: the names of the videos by their key path; outside: names that lead out of the archive, which are left alone;
    problem: why the rest can't be read, or None."""

    members: dict[str, Member]
    outside: tuple[str, ...] = ()
    problem: str | None = None
    folders: dict[str, list[str]] = field(default_factory=dict)
    videos: dict[str, list[str]] = field(default_factory=dict)


def is_archive(path: str) -> bool:
    """Return whether a path is that of a tar archive, by its suffix."""
    return path[-len(SUFFIX) :].lower() == SUFFIX and filesystem.is_file(path)


def split_path(path: str) -> tuple[str, str] | None:
    """Split the path of something in an archive into the archive's path and the name in it; None for any other path."""
    for found in _INSIDE.finditer(path):
        if filesystem.is_file(path[: found.end() - 1]):
            return path[: found.end() - 1], path[found.end() :].replace("\\" if os.sep == "\\" else "/", "/")
    return None


def index_of(archive: str) -> TarIndex:
    """List an archive. Raises NotAVideoError if it is none, VideoNotFoundError if it can't be read."""
    try:
        status = os.stat(archive)  # noqa: PTH116 - as the path is written
        return _index(archive, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoNotFoundError.about(archive, "can't read {subject!q}: {reason}", reason=reason) from None


def find_video(path: str) -> Member | None:
    """Return the member with a video that a path means, by its whole name or its key; None for any other path."""
    parts = split_path(path)
    if parts is None:
        return None
    try:
        index = index_of(parts[0])
    except (NotAVideoError, VideoNotFoundError):
        return None
    if parts[1] in index.members:
        return index.members[parts[1]] if suffix_of(parts[1]) in _VIDEOS else None
    alike = index.videos.get(parts[1], []) if parts[1] not in index.folders else []
    return index.members[alike[0]] if len(alike) == 1 else None


def key_path(name: str) -> str:
    """Return the key of a member, below its folders."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + key_of(last)


def key_of(name: str) -> str:
    """Return the key of a WebDataset sample that a file belongs to: its name before the first dot."""
    return name.partition(".")[0]


@lru_cache(maxsize=_ARCHIVES_AT_ONCE)
def _index(archive: str, size: int, changed: int) -> TarIndex:
    members: dict[str, Member] = {}
    outside: list[str] = []
    problem: str | None = None
    with filesystem.opened(archive) as file:
        try:
            for member in _scan(archive, file, size):
                name = member.name
                if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or "\0" in name or name[1:2] == ":":
                    outside.append(name)
                elif member.kind != "folder":
                    members[name] = member  # of two members with one name, the last one counts
        except _DamagedError as error:
            problem = str(error)
    if problem is not None and not members and not outside:
        raise _none(archive, problem)
    folders: dict[str, list[str]] = defaultdict(list)
    videos: dict[str, list[str]] = defaultdict(list)
    for name in members:
        folder, _, last = name.rpartition("/")
        folders[folder].append(last)
        if suffix_of(last) in _VIDEOS:
            videos[key_path(name)].append(name)
    return TarIndex(members, tuple(outside), problem, dict(folders), dict(videos))


def _none(archive: str, problem: str) -> NotAVideoError:
    """Make the error for a file of which not even one member can be read."""
    content = content_in(archive)
    if content is not None and content.family == "archive" and content.suffix != SUFFIX:
        return NotAVideoError.about(archive, "{subject!q} is no plain tar archive, it is {what}", what=content.advice)
    return NotAVideoError.about(archive, "{subject!q} is no tar archive, or a damaged one: {problem}", problem=problem)


class _DamagedError(Exception):
    """The rest of an archive can't be read."""


def _scan(archive: str, file: BinaryIO, size: int) -> Iterator[Member]:
    """Yield the members one after the other. Raises _DamagedError."""
    position, long_name, extended = 0, None, dict[str, str]()
    while position + _BLOCK <= size:
        file.seek(position)
        head = file.read(_BLOCK)
        if head == _EMPTY:
            return
        if not _is_header(head):
            raise _DamagedError(f"there is no header at byte {position}")
        length, kind = _number(head[124:136]), head[156:157]
        if kind in (b"L", b"K", b"x", b"g"):
            if length is None or length > _LONGEST_HEADER:
                raise _DamagedError(f"the header at byte {position} is too long")
            content = file.read(length)
            if kind == b"L":
                long_name = content.partition(b"\0")[0]
            elif kind == b"x":
                extended = _extended(content)
            position += _BLOCK + _padded(length)
            continue
        name = os.fsdecode(_name(head) if long_name is None else long_name)
        name = extended.get("GNU.sparse.name", extended.get("path", name))
        stated = extended.get("size", "")
        length = int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 19 else length
        what = _KINDS.get(kind, "other")
        if any(key.startswith("GNU.sparse") for key in extended):
            what = "other"
        if what == "file" and name.endswith("/"):
            what = "folder"  # as archives from before POSIX have them
        if length is None:
            raise _DamagedError(f"the header at byte {position} has no size")
        if what in ("link", "folder"):
            length = 0
        position += _BLOCK
        if position + length > size:
            raise _DamagedError(f"it is cut off in {name!r}")
        yield Member(archive, _plain(name), position, length, what)
        position += _padded(length)
        long_name, extended = None, {}
    if position != size:
        raise _DamagedError("it is cut off")


def _plain(name: str) -> str:
    """Return a name without the ./ that `tar -C folder .` puts before it."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _is_header(head: bytes) -> bool:
    """Return whether the sum of a header's bytes is what it says; some archivers add them up as signed ones."""
    stated = _number(head[148:156])
    rest = head[:148] + b" " * 8 + head[156:]
    total = sum(rest)
    return stated == total or (stated is not None and stated == total - 256 * sum(byte > 127 for byte in rest))


def _number(field: bytes) -> int | None:
    """Read a number in octal digits or, where they don't suffice, in binary; None for anything else."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip()
    return int(digits, 8) if digits and not digits.strip(b"01234567") else 0 if not digits else None


def _name(head: bytes) -> bytes:
    name, prefix = (head[first:stop].partition(b"\0")[0] for first, stop in ((0, 100), (345, 500)))
    return prefix + b"/" + name if head[257:263] == b"ustar\0" and prefix else name


def _extended(content: bytes) -> dict[str, str]:
    """Read the records "LENGTH KEY=VALUE" of a POSIX extended header, as far as they are sound."""
    found: dict[str, str] = {}
    at = 0
    while at < len(content):
        digits, space, _ = content[at : at + 20].partition(b" ")
        if not (space and digits.isdigit()):
            break
        length = int(digits)
        key, equals, value = content[at + len(digits) + 1 : max(at + length - 1, at)].partition(b"=")
        if not equals or at + length > len(content):
            break
        found[os.fsdecode(key)] = os.fsdecode(value)
        at += length
    return found


def _padded(length: int) -> int:
    return -(-length // _BLOCK) * _BLOCK


class _Range(io.RawIOBase):
    """A part of a file, read as if it were a file of its own."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._offset, self._size, self._at = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(self._size - self._at, 0))
        self._file.seek(self._offset + self._at)
        read = self._file.readinto(memoryview(buffer)[:wanted])  # type: ignore[attr-defined]
        self._at += read
        return int(read)

    def close(self) -> None:
        self._file.close()
        super().close()


def opened(path: str) -> BinaryIO:
    """Open a file on disk or a video in an archive. Raises OSError and ValueError."""
    member = None if filesystem.is_file(path) else find_video(path)
    return filesystem.opened(path) if member is None else member.opened()


def not_read(path: str, member: Member) -> VideoNotFoundError:
    """Make the error for a member that is no plain file."""
    return VideoNotFoundError.about(path, "{subject!q} is {what}", what=_unread(member))


def _unread(member: Member) -> str:
    if member.kind == "link":
        return "a link, and links in archives are not followed"
    return "a pipe, a device or a file with holes in the archive, and is not read"


def damaged(archive: str, problem: str) -> DecodeError:
    """Make the error for an archive that ends early, or holds rubbish."""
    return DecodeError.about(
        archive, "{subject!q} is damaged: {problem}; what comes before it can be read", problem=problem
    )

"""Questions about paths, such as whether one is a folder, that are answered without raising.

A user's path may be too long, contain a zero byte, loop through links, or lie in a folder without access or on a disk
that is gone. `Path.is_dir` and the like raise for some of that in some versions of Python and return False in others;
here the problem is part of the answer, so that one bad path does not stop a batch.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import select
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

Kind = Literal["file", "folder", "other", "missing", "unknown"]

# Errors that simply mean that nothing with this name exists.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EBADF})
# Seconds to wait for a writer to open a named pipe.
_WRITER_SECONDS = 10.0
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Place:
    """What the file system has at a path.

    kind: "other" is a device, pipe or socket, "unknown" means that the system refused to say; reason: the system's
    message if missing or unknown; size: bytes, for files.
    """

    kind: Kind
    reason: str = ""
    size: int = 0

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, or a link to one."""
        return self.kind == "file"

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, or a link to one."""
        return self.kind == "folder"

    @property
    def is_there(self) -> bool:
        """Whether anything is known to be there."""
        return self.kind in ("file", "folder", "other")


def look(path: str | os.PathLike[str]) -> Place:
    """Find out what is at a path, following links. Never raises: errors are part of the answer.

    An empty name counts as missing, whereas `Path("")` is the working directory.
    """
    try:
        if not os.fspath(path):
            return Place("missing", "the name is empty")
        status = os.stat(path)  # noqa: PTH116 - Path("") is "."
    except OSError as error:
        reason = error.strerror or str(error)
        return Place("missing" if error.errno in _ABSENT else "unknown", reason)
    except ValueError as error:  # a zero byte, or characters that no file name can hold
        return Place("unknown", "no file can have such a name" if isinstance(error, UnicodeError) else str(error))
    if stat.S_ISREG(status.st_mode):
        return Place("file", size=status.st_size)
    return Place("folder" if stat.S_ISDIR(status.st_mode) else "other")


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is known to be a folder."""
    return look(path).is_folder


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is known to be a regular file."""
    return look(path).is_file


def is_there(path: str | os.PathLike[str]) -> bool:
    """Return whether something is known to exist at a path, following links."""
    return look(path).is_there


def names_in(folder: str | os.PathLike[str]) -> list[str]:
    """List the names in a folder, sorted; empty if it is missing or can't be listed."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - Path("") is "."
    except (OSError, ValueError):
        return []


def is_named(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder has an entry of this name, broken links included."""
    try:
        os.lstat(path)
    except (OSError, ValueError):
        return False
    return bool(os.fspath(path))


def is_link(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is known to be a symbolic link."""
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def entries(folder: str | os.PathLike[str], pattern: str = "*") -> list[Path]:
    """List the paths in a folder whose names match a pattern, sorted; empty if the folder can't be listed."""
    return [Path(folder, name) for name in names_in(folder) if fnmatch.fnmatchcase(name, pattern)]


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading.

    Raises OSError, also for devices and pipes, since reading them might never end.
    """
    place = look(path)
    if place.kind == "other":
        raise OSError(errno.EINVAL, "it is no file but a pipe or a device")
    try:
        return open(path, "rb")  # noqa: PTH123 - Path("") is "."
    except ValueError as error:
        raise OSError(errno.EINVAL, place.reason or str(error)) from None


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Make a folder and those above it, where they are missing. Raises OSError, also for a name that no folder can have."""
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - Path("") is "."
    except ValueError as error:
        raise OSError(errno.EINVAL, look(folder).reason or str(error)) from None


def contents(path: str | os.PathLike[str]) -> bytes:
    """Read everything in a file, or until a pipe or terminal is closed.

    Raises OSError, also for other devices, which may never end, and for a pipe without a writer.
    """
    place = look(path)
    if place.kind != "other" or not hasattr(os, "O_NONBLOCK") or same(path, os.devnull):
        with opened(path) if place.kind != "other" else open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    # Opening a pipe in the usual, blocking way would wait forever for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        if not pipe and not os.isatty(descriptor):
            raise OSError(errno.EINVAL, "it is no file but a device")
        return _read_until_end(descriptor, deadline=time.monotonic() + _WRITER_SECONDS if pipe else 0.0)
    finally:
        os.close(descriptor)


def _read_until_end(descriptor: int, deadline: float) -> bytes:
    """Read a descriptor to its end; an end before any data and before `deadline` means that no writer has opened it yet."""
    parts: list[bytes] = []
    begun = False
    while True:
        try:
            part = os.read(descriptor, _CHUNK)
        except BlockingIOError:  # a process has it open for writing
            begun = True
            # Not forever: a signal that arrives right before the wait takes effect only when the wait ends.
            select.select([descriptor], [], [], 1.0)
            continue
        if part:
            parts.append(part)
        elif begun or parts or deadline == 0.0:
            return b"".join(parts)
        elif time.monotonic() > deadline:
            raise OSError(errno.EPIPE, "nothing writes to this pipe")
        else:
            time.sleep(0.05)


def real(path: str | os.PathLike[str]) -> str:
    """Resolve the links in a path; unchanged if the file system can't."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return os.fspath(path)


def identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return what tells a regular file from all others, whatever its names; None for anything else."""
    try:
        status = os.stat(path)  # noqa: PTH116 - Path("") is "."
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Return whether two paths are known to name one file."""
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 - Path("") is "."
    except (OSError, ValueError):
        return False


def home_expanded(path: str) -> str:
    """Replace a leading ~ by the home folder; unchanged if there is none."""
    try:
        return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises where there is no home
    except (OSError, ValueError):
        return path

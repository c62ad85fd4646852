"""What the file system says of a path, as an answer and never as an exception.

A name from outside may be too long, hold a zero byte, loop through links, lie in a folder that nobody may enter or on a disk
that is gone. `Path.is_dir` and its kin raise for some of that on some versions of Python and answer False on others; here
whatever is wrong with one path is the reason of that path alone. The names of outputs are made in `filenames`.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Literal

Kind = Literal["file", "folder", "other", "missing", "unknown"]

# Errors that say no more than that there is nothing of this name.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EBADF})


@dataclass(frozen=True, slots=True)
class Place:
    """What is at a path. kind: "other" is a device, a pipe or a socket; "unknown" means that the system would not say.
    reason: why it is missing or unknown, in the system's words; size: bytes, of files."""

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
    """Ask the file system about a path, through links. Never raises: what goes wrong is in the answer.

    An empty name is missing: `Path` would make the working directory of it.
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
    """Whether a path is known to be a folder."""
    return look(path).is_folder


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path is known to be a regular file."""
    return look(path).is_file


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether something is known to be at a path, through links."""
    return look(path).is_there


def names_in(folder: str | os.PathLike[str]) -> list[str]:
    """The names in a folder, sorted; none where it isn't there or can't be listed."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - Path("") is "."
    except (OSError, ValueError):
        return []


def is_named(path: str | os.PathLike[str]) -> bool:
    """Whether a folder has an entry of this name, be it a link to nowhere."""
    try:
        os.lstat(path)
    except (OSError, ValueError):
        return False
    return bool(os.fspath(path))


def real(path: str | os.PathLike[str]) -> str:
    """The path without links, as far as the file system tells; else as it was given."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return os.fspath(path)


def same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths are known to be one file."""
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 - Path("") is "."
    except (OSError, ValueError):
        return False


def home_expanded(path: str) -> str:
    """A leading ~ replaced by the home folder, where there is one; else the path as it was given."""
    try:
        return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises where there is no home
    except (OSError, ValueError):
        return path

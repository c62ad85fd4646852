"""Manages output folders that may contain other files: which files a command may write, replace or remove there.

Nothing is replaced without `overwrite`. Files of an earlier run are removed when a new run replaces its results; other
files are never touched. Which files are a command's own is judged by their contents, not only by their names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import OutputError
from videomae_cli.files import PART, Lock, lock_output, making, remove_leftovers, write_file

_LOCK = ".videomae.lock"


class MadeFiles:
    """A context manager that creates and locks an output folder for the block; a new folder that stays empty is removed.

    is_own: whether this command made a given file; taken: the error message if something is in the way; overwrite:
    allow replacing files. Raises OutputError if the folder can't be written or another process is writing to it.
    """

    def __init__(self, folder: Path, is_own: Callable[[Path], bool], taken: str, *, overwrite: bool = False) -> None:
        self.folder = folder
        self._is_own, self._taken, self._overwrite = is_own, taken, overwrite
        self._lock: Lock | None = None
        self._new = False

    def __enter__(self) -> MadeFiles:
        self._new = not filesystem.is_named(self.folder)
        with making(self.folder):
            filesystem.make_folder(self.folder)
            self._lock = lock_output(self.folder / _LOCK, self.folder)
            # leftovers under any name: the interrupted run may have written other files
            remove_leftovers(self.folder, None, PART)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._lock is not None:
            self._lock.release(remove=True)
            self._lock = None
        if self._new:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # nothing was written

    def earlier(self) -> set[str]:
        """Return the names of the files that earlier runs made."""
        names = filesystem.names_in(self.folder)
        return {name for name in names if is_inside(self.folder, name) and self._is_own(self.folder / name)}

    def check_free(self, names: Iterable[str] = ()) -> None:
        """Raise OutputError if one of `names` exists or the folder holds an earlier run's results.

        With `overwrite`, only a folder that has the name of a file is an error.
        """
        for name in names:
            place = self.folder / name
            if filesystem.is_folder(place):
                raise OutputError.about(place, "{subject} is a folder, in the place of a file: give another folder")
            if filesystem.is_named(place) and not self._overwrite:
                raise OutputError(self._taken, subject=str(self.folder))
        if not self._overwrite and self.earlier():
            raise OutputError(self._taken, subject=str(self.folder))

    def fill(self, contents: Mapping[str, bytes]) -> None:
        """Write files atomically, then remove all other files of earlier runs. Raises OutputError."""
        for name, content in contents.items():
            write_file(self.folder / name, content)
        self.remove(self.earlier() - contents.keys())

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of earlier runs, given the names that `earlier` returned."""
        for name in names:
            remove_inside(self.folder, name)


def is_inside(folder: Path, name: str) -> bool:
    """Return whether an untrusted relative name is a regular file below a folder, reached through no links."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        return False
    place = folder / name
    above = os.path.join(filesystem.real(folder), *parts[:-1])  # noqa: PTH118
    return filesystem.real(place.parent) == above and filesystem.is_file(place) and not filesystem.is_link(place)


def remove_inside(folder: Path, name: str) -> None:
    """Remove a file below a folder, then the folders in between that have become empty; errors are ignored."""
    with contextlib.suppress(OSError):
        (folder / name).unlink()
        for between in (folder / name).parents[: len(Path(name).parts) - 1]:
            between.rmdir()

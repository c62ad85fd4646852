"""Files that a command makes in a folder beside whatever else is there: one rule for all folders of results.

Nothing that is there is replaced without `overwrite`; what an earlier run made goes when another takes its place; anything else is
never touched. Whether a file is a command's own is told by what it holds, not by its name alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import OutputError
from videomae_cli.files import PART, FileLockedError, Lock, lock_removed, remove_leftovers, write_file

_LOCK = ".videomae.lock"


class MadeFiles:
    """A context manager: while the block runs the folder is there, and no other process fills it. One that was made for it
    and that nothing came into is removed.

    is_own: whether a file is one that this command makes; taken: what to say where something is in the way; overwrite: whether
    files may be replaced. Raises OutputError where the folder can't be written or another process fills it.
    """

    def __init__(self, folder: Path, is_own: Callable[[Path], bool], taken: str, *, overwrite: bool = False) -> None:
        self.folder = folder
        self._is_own, self._taken, self._overwrite = is_own, taken, overwrite
        self._lock: Lock | None = None
        self._new = False

    def __enter__(self) -> MadeFiles:
        self._new = not filesystem.is_named(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = lock_removed(self.folder / _LOCK)
            remove_leftovers(self.folder, None, PART)  # of names that this run may not have
        except FileLockedError:
            raise OutputError(f"another process is writing {self.folder}: wait for it or stop it first") from None
        except OSError as error:
            raise OutputError(f"can't make the folder {self.folder}: {error.strerror or error}") from None
        return self

    def __exit__(self, *exc: object) -> None:
        if self._lock is not None:
            self._lock.release(remove=True)
            self._lock = None
        if self._new:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # nothing was written

    def earlier(self) -> set[str]:
        """The names of the files that earlier runs made."""
        names = filesystem.names_in(self.folder)
        return {name for name in names if is_inside(self.folder, name) and self._is_own(self.folder / name)}

    def check_free(self, names: Iterable[str] = ()) -> None:
        """Raise OutputError where a name is taken, or an earlier run's files are there, which the new ones would be mixed with.

        With `overwrite` only for folders in the place of files.
        """
        for name in names:
            place = self.folder / name
            if filesystem.is_folder(place):
                raise OutputError(f"{place} is a folder, in the place of a file: give another folder")
            if filesystem.is_named(place) and not self._overwrite:
                raise OutputError(self._taken)
        if not self._overwrite and self.earlier():
            raise OutputError(self._taken)

    def fill(self, contents: Mapping[str, bytes]) -> None:
        """Write files, each whole or not at all, then remove what earlier runs made beside them. Raises OutputError."""
        for name, content in contents.items():
            write_file(self.folder / name, content)
        self.remove(self.earlier() - contents.keys())

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of earlier runs, as `earlier` named them."""
        for name in names:
            remove_inside(self.folder, name)


def is_inside(folder: Path, name: str) -> bool:
    """Whether a name, which may come from anywhere, is that of a regular file below a folder, with no link on the way."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        return False
    place = folder / name
    above = os.path.join(filesystem.real(folder), *parts[:-1])  # noqa: PTH118
    return filesystem.real(place.parent) == above and filesystem.is_file(place) and not filesystem.is_link(place)


def remove_inside(folder: Path, name: str) -> None:
    """Remove a file below a folder, and the folders between them that are empty then; what can't be removed stays."""
    with contextlib.suppress(OSError):
        (folder / name).unlink()
        for between in (folder / name).parents[: len(Path(name).parts) - 1]:
            between.rmdir()

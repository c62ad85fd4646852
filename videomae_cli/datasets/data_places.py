"""Where a dataset lies: its folders and tables, on a disk or in object storage, and the clips that a table names.

Folders are texts here, a path or an address, because an address with options is no path.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from videomae_cli import filesystem, storage
from videomae_cli.datasets.rows import TABLES
from videomae_cli.errors import DatasetError, DependencyError, StorageError


@contextmanager
def storage_reported() -> Iterator[None]:
    """Make a DatasetError of what object storage says in the block, or of a package that it needs."""
    try:
        yield
    except (StorageError, DependencyError) as error:
        raise error.recast(DatasetError) from None


def is_table(source: str) -> bool:
    """Return whether DATA is a table that is there. Raises DatasetError if the storage doesn't say."""
    if suffix_of(source) not in TABLES:
        return False
    if not storage.is_address(source):
        return filesystem.is_file(source)
    with storage_reported():
        return storage.look(source) == "file"


def is_folder(source: str) -> bool:
    """Return whether DATA is a folder. Raises DatasetError if the storage doesn't say."""
    if not storage.is_address(source):
        return filesystem.is_folder(source)
    with storage_reported():
        return storage.look(source) == "folder"


def suffix_of(source: str) -> str:
    """Return the suffix of a path or an address, in small letters."""
    return Path(storage.without_options(source) if storage.is_address(source) else source).suffix.lower()


@contextmanager
def local_table(source: str) -> Iterator[Path]:
    """Yield the path of a table, or of a copy that is deleted afterwards. Raises DatasetError if it can't be fetched."""
    if not storage.is_address(source):
        yield Path(source)
        return
    with ExitStack() as stack:
        with storage_reported():
            copy = stack.enter_context(storage.local_copy(source))
        yield copy


def folder_of(table: str) -> str:
    """Return the folder of a table, which relative names in it begin from."""
    if not storage.is_address(table):
        return os.fspath(Path(table).parent)
    address = storage.Address.parse(table)
    return str(address.at(address.path.rpartition("/")[0]))


def clip_in(folder: str, name: str) -> str:
    """Return the place of a clip that a table in `folder` names: an address or an absolute path stays as it is written."""
    if storage.is_address(name) or os.path.isabs(name):  # noqa: PTH117 - as the path is written
        return name
    place = below(folder, name)
    if storage.is_address(place) and ".." in place:  # storage has no folders, and so none above them
        address = storage.Address.parse(place)
        place = str(address.at(posixpath.normpath(address.path)))
    return place


def subfolders(root: str) -> list[str]:
    """List the folders directly in a folder, sorted, without hidden ones. Raises DatasetError."""
    if storage.is_address(root):
        with storage_reported():
            return [below(root, name) for name in storage.folders_in(root)]
    try:
        folders = [path for path in Path(root).iterdir() if filesystem.is_folder(path) and path.name[0] != "."]
    except OSError as error:
        raise DatasetError.about(root, "can't list {subject!r}: {reason}", reason=error.strerror) from None
    return [os.fspath(path) for path in sorted(folders)]


def below(folder: str, name: str) -> str:
    """Return the place of a name in a folder."""
    if storage.is_address(folder):
        return str(storage.Address.parse(folder).below(name))
    return os.path.join(folder, name)  # noqa: PTH118 - keeps a path as it is written


def name_of(folder: str) -> str:
    """Return the last part of a folder's place."""
    return Path(storage.without_options(folder) if storage.is_address(folder) else folder).name


def searched(folder: str) -> str:
    """Return a folder as `discover` takes it: an address that is a folder for certain ends in a slash."""
    if not storage.is_address(folder):
        return folder
    address = storage.Address.parse(folder)
    return str(address.at(address.path.rstrip("/") + "/" if address.path else ""))

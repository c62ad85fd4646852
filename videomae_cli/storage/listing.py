"""Lists folders and expands patterns in object storage, as on a disk: sorted by name, without hidden files."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import takewhile

from videomae_cli.errors import ObjectNotFoundError, StorageError
from videomae_cli.storage.addresses import Address
from videomae_cli.storage.failures import reported
from videomae_cli.storage.stores import store_of

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListingEntry:
    """A file or folder that matches a pattern."""

    address: str
    folder: bool


def files_below(
    folder: str, *, recursive: bool = True, enters: Callable[[str], bool] = lambda folder: True
) -> list[str]:
    """Return the addresses of all files in a folder, in the order of a directory walk.

    enters: given a subfolder's address without options, whether to include its contents.
    Raises ObjectNotFoundError if the folder is missing, StorageError or DependencyError.
    """
    root = Address.parse(folder)
    allowed: dict[Parts, bool] = {(): True}

    def entered(parts: Parts) -> bool:
        if parts not in allowed:
            allowed[parts] = entered(parts[:-1]) and enters(root.below("/".join(parts)).plain)
        return allowed[parts]

    listed = sorted(parts for parts, is_folder in _listed(root, recursive) if not is_folder)
    return [
        str(root.below("/".join(parts))) for parts in listed if not any(map(_hidden, parts)) and entered(parts[:-1])
    ]


def names_in(folder: str) -> list[str]:
    """List the names of the files directly in a folder, hidden ones included, sorted; empty if it is missing.

    Raises StorageError or DependencyError.
    """
    try:
        listed = _listed(Address.parse(folder), recursive=False)
    except ObjectNotFoundError:
        return []
    return sorted(parts[0] for parts, is_folder in listed if not is_folder)


def matching(pattern: str) -> list[ListingEntry]:
    """Return the files and folders that match a pattern with `*`, `?`, `[` or `**`, sorted; possibly none.

    Only the folder before the first wildcard is listed. Raises StorageError or DependencyError.
    """
    address = Address.parse(pattern)
    if glob.has_magic(address.authority):
        raise StorageError.about(pattern, "{subject!r}: a pattern can't choose the bucket")
    parts = address.path.split("/")
    literal = list(takewhile(lambda part: not glob.has_magic(part), parts))
    rest = tuple(part for part in parts[len(literal) :] if part)
    root = address.at("/".join(literal))
    try:
        listed = _listed(root, len(rest) > 1 or "**" in rest)
    except ObjectNotFoundError:
        return []
    found = sorted(entry for entry in listed if _fits(entry[0], rest))
    return [
        ListingEntry(str(root.below("/".join(names))), folder)
        for names, folder in found
        if folder or not address.path.endswith("/")
    ]


def _listed(folder: Address, recursive: bool) -> list[tuple[Parts, bool]]:
    """List a folder's contents as (parts of the relative path, whether it is a folder)."""
    store = store_of(folder)
    path = store.path(folder)
    with reported(folder):
        from pyarrow import fs

        infos = store.filesystem.get_file_info(fs.FileSelector(path, recursive=recursive))
    start = len(path.rstrip("/")) + 1
    return [(tuple(info.path[start:].split("/")), info.type == fs.FileType.Directory) for info in infos]


def _fits(names: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] != "**":
        return bool(names) and _named(names[0], pattern[0]) and _fits(names[1:], pattern[1:])
    if len(pattern) == 1:
        return not any(map(_hidden, names))
    return _fits(names, pattern[1:]) or (bool(names) and not _hidden(names[0]) and _fits(names[1:], pattern))


def _named(name: str, pattern: str) -> bool:
    return (pattern.startswith(".") or not _hidden(name)) and fnmatchcase(name, pattern)


def _hidden(name: str) -> bool:
    return name.startswith(".")

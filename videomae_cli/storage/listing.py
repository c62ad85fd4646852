"""Lists folders and expands patterns in object storage, as on a disk: sorted by name, without hidden files."""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain, islice, takewhile
from typing import Any

from videomae_cli.errors import ObjectNotFoundError, StorageError
from videomae_cli.storage.addresses import Address
from videomae_cli.storage.failures import reported
from videomae_cli.storage.patience import patiently
from videomae_cli.storage.stores import store_of

Parts = tuple[str, ...]
# Subfolders that are listed at once. A list comes in pages of 1,000 names, one after the other; if the first folders have
# fewer than `_WORTH` files each, one long list asks for fewer pages than a list of each folder, even so many at once.
_AT_ONCE, _TRIED, _WORTH = 8, 16, 100


@dataclass(frozen=True, slots=True)
class ListingEntry:
    """A file or folder that matches a pattern."""

    address: str
    folder: bool


def files_below(
    folder: str, *, recursive: bool = True, enters: Callable[[str], bool] = lambda folder: True
) -> Iterator[str]:
    """Yield the addresses of all files in a folder, in the order of a directory walk.

    enters: given a subfolder's address without options, whether to include its contents. Several subfolders are listed
    at once, where that asks the server less often than it would for one long list.
    Raises ObjectNotFoundError if the folder is missing, StorageError or DependencyError.
    """
    root = Address.parse(folder)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="videomae-listing") as pool:
        for parts in _walk(_Walk(root, enters, pool), (), recursive):
            yield str(root.below("/".join(parts)))


@dataclass
class _Walk:
    """A walk through a folder. pool: what lists subfolders while others are gone through."""

    root: Address
    enters: Callable[[str], bool]
    pool: Executor

    def below(self, parts: Parts) -> Address:
        return self.root.below("/".join(parts))

    def takes(self, folder: Parts) -> bool:
        """Return whether a folder is gone through, those above it being so."""
        return not _hidden(folder[-1]) and self.enters(self.below(folder).plain)

    def list_all(self, folder: Parts) -> list[Parts]:
        """List all files in a folder and its subfolders by one long list, sorted, as parts of the relative path."""
        allowed: dict[Parts, bool] = {(): True}

        def entered(parts: Parts) -> bool:
            if parts not in allowed:
                allowed[parts] = entered(parts[:-1]) and self.takes(folder + parts)
            return allowed[parts]

        try:
            entries = _listed(self.below(folder), recursive=True)
        except ObjectNotFoundError:  # it had been listed: its files were deleted meanwhile
            return []
        listed = sorted(parts for parts, is_folder in entries if not is_folder)
        return [folder + parts for parts in listed if entered(parts[:-1]) and not _hidden(parts[-1])]


def _walk(walk: _Walk, folder: Parts, recursive: bool) -> Iterator[Parts]:
    """Yield the files in a folder, in order, as parts of their paths relative to the root."""
    entries = sorted(
        ((*folder, *parts), is_folder) for parts, is_folder in _listed(walk.below(folder), recursive=False)
    )
    folders = [parts for parts, is_folder in entries if recursive and is_folder and walk.takes(parts)]
    if len(folders) == 1:  # nothing to do at once yet
        below: Iterator[Iterable[Parts]] = iter([_walk(walk, folders[0], recursive)])
    else:
        below = _ahead(walk.pool, walk.list_all, folders[:_TRIED])
        if len(folders) > _TRIED:
            tried = list(below)
            if sum(map(len, tried)) < _TRIED * _WORTH:
                yield from walk.list_all(folder)
                return
            below = chain(tried, _ahead(walk.pool, walk.list_all, folders[_TRIED:]))
    taken = set(folders)
    for parts, is_folder in entries:
        if not is_folder and not _hidden(parts[-1]):
            yield parts
        elif is_folder and parts in taken:
            yield from next(below)


def _ahead(pool: Executor, call: Callable[[Parts], list[Parts]], folders: Sequence[Parts]) -> Iterator[list[Parts]]:
    """Yield the results of calls in order, a few of them made ahead."""
    rest, running = iter(folders), deque[Future[list[Parts]]]()
    try:
        running.extend(pool.submit(call, folder) for folder in islice(rest, _AT_ONCE))
        while running:
            yield running.popleft().result()
            running.extend(pool.submit(call, folder) for folder in islice(rest, 1))
    finally:
        for future in running:
            future.cancel()


def names_in(folder: str) -> list[str]:
    """List the names of the files directly in a folder, hidden ones included, sorted; empty if it is missing.

    Raises StorageError or DependencyError.
    """
    try:
        listed = _listed(Address.parse(folder), recursive=False)
    except ObjectNotFoundError:
        return []
    return sorted(parts[0] for parts, is_folder in listed if not is_folder)


def folders_in(folder: str) -> list[str]:
    """List the names of the folders directly in a folder, sorted, without hidden ones.

    Raises ObjectNotFoundError if the folder is missing, StorageError or DependencyError.
    """
    listed = _listed(Address.parse(folder), recursive=False)
    return sorted(parts[0] for parts, is_folder in listed if is_folder and not _hidden(parts[0]))


def times_in(folder: str) -> dict[str, float | None]:
    """Return when each file directly in a folder was written, in seconds by the storage's clock, if it tells; else None.

    Raises StorageError or DependencyError.
    """
    try:
        infos = _infos(Address.parse(folder), recursive=False)
    except ObjectNotFoundError:
        return {}
    return {info.base_name: info.mtime_ns and info.mtime_ns / 1e9 for info in infos if info.is_file}


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
    start = len(store_of(folder).path(folder).rstrip("/")) + 1
    return [(tuple(info.path[start:].split("/")), not info.is_file) for info in _infos(folder, recursive)]


def _infos(folder: Address, recursive: bool) -> list[Any]:
    """List a folder's contents as pyarrow describes them."""

    def ask() -> list[Any]:
        store = store_of(folder)
        with reported(folder):
            from pyarrow import fs

            selector = fs.FileSelector(store.path(folder), recursive=recursive)
            return list(store.filesystem.get_file_info(selector))

    return patiently(folder, ask)


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

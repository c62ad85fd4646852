"""What a user types for videos -> paths: names, `@LIST`, and `-` for names on standard input.

A list holds one name a line, or names that each end in a zero byte (`find -print0`), which may then hold line ends; or it is a
Parquet table with a column of names (`storage.manifest_names`), known by its first bytes. A name in a list is a name,
whatever it looks like: no pattern, no option, no other list.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from videomae_cli.errors import OptionError, StorageError
from videomae_cli.storage import PARQUET_MAGIC, is_address, local_copy, manifest_names
from videomae_cli.video.discovery import Filter, FoundVideo, discover


def find_videos(
    arguments: Iterable[str], *, recursive: bool = True, only: Filter | None = None, addresses: bool = False
) -> list[FoundVideo]:
    """All files behind the arguments of a command, each once, in a stable order (`discovery.discover`).

    addresses: objects in a storage too, and lists that lie there. Raises OptionError where a list can't be read.
    """
    found: list[FoundVideo] = []
    seen: set[str] = set()
    for names, globs in _groups(arguments, addresses):
        found += discover(names, recursive=recursive, only=only, globs=globs, seen=seen, addresses=addresses)
    return found


def split_names(content: bytes) -> list[str]:
    """The names in a list."""
    if b"\0" in content:
        return [os.fsdecode(name) for name in content.split(b"\0") if name]
    lines = content.split(b"\n")
    # Written on Windows, every line but perhaps the last ends in a carriage return.
    if all(line.endswith(b"\r") for line in lines[:-1] if line):
        lines = [line.removesuffix(b"\r") for line in lines]
    return [os.fsdecode(line) for line in lines if line]


def _groups(arguments: Iterable[str], addresses: bool) -> Iterator[tuple[list[str], bool]]:
    """Runs of names, and whether they may be patterns: in one call, so that order and duplicates are seen at once."""
    typed: list[str] = []
    for argument in arguments:
        listed = _listed(argument, addresses)
        if listed is None:
            typed.append(argument)
            continue
        if typed:
            yield typed, True
            typed = []
        yield listed, False
    if typed:
        yield typed, True


def _listed(argument: str, addresses: bool) -> list[str] | None:
    """The names that an argument stands for, or None where it is a name itself."""
    if argument == "-":
        if sys.stdin is None or sys.stdin.closed:
            raise OptionError("standard input is closed: there are no names to read for -")
        return _read("on standard input", sys.stdin.buffer)
    if not argument.startswith("@") or os.path.lexists(argument):
        return None
    name = argument[1:]
    try:
        if not (addresses and is_address(name)):
            with Path(name).open("rb") as stream:
                return _read(repr(name), stream)
        with local_copy(name) as copy, copy.open("rb") as stream:
            return _read(repr(name), stream)
    except OSError as error:
        raise OptionError(f"can't read the list {name!r}: {error.strerror}") from None
    except StorageError as error:
        raise OptionError(f"can't read the list: {error}") from None


def _read(name: str, stream: BinaryIO) -> list[str]:
    """The names in an open list, of either kind. name: of the list, for messages."""
    head = stream.read(len(PARQUET_MAGIC))
    if head != PARQUET_MAGIC:
        return split_names(head + stream.read())
    if stream.seekable():
        stream.seek(0)
    else:
        stream = io.BytesIO(head + stream.read())
    try:
        return manifest_names(stream)
    except OptionError as error:
        raise OptionError(f"can't read the list {name}: {error}") from None

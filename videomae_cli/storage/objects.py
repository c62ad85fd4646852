"""Operations on one object: does it exist, copy it to this disk, read, write atomically, delete."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from videomae_cli import filesystem
from videomae_cli.errors import (
    DependencyError,
    MachineError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from videomae_cli.files import scratch_folder
from videomae_cli.storage.addresses import Address
from videomae_cli.storage.failures import reported
from videomae_cli.storage.patience import patiently
from videomae_cli.storage.stores import Store, store_of

# Bytes per request to S3, which is also what a transfer holds in memory.
CHUNK_BYTES = 8 * 2**20
# Objects up to this size are one request; pyarrow divides those of 10 MB and more into parts.
_AT_ONCE_BYTES = 8 * 2**20
_LONGEST_SUFFIX = 16
# Objects that are looked at together: what takes is waiting for the answers.
_AT_ONCE = 16
# Objects that a storage may refuse before it is taken for one that can't be reached.
_MOST_REFUSED = 2 * _AT_ONCE
_fetched, _counting = [0], Lock()


@dataclass(frozen=True, slots=True)
class ObjectStamp:
    """What changes when an object, or a file, is written anew. size: bytes; changed: nanoseconds since 1970, and etag: of the
    content; None if the storage doesn't tell."""

    size: int
    changed: int | None
    etag: str | None = None


@contextmanager
def _located(address: str) -> Iterator[tuple[Store, str]]:
    """Yield the store of an address and its path there; errors in the block are about the address."""
    place = Address.parse(address)
    store = store_of(place)
    with reported(place):
        yield store, store.path(place)


def look(address: str) -> str | None:
    """Return "file", "folder", or None if nothing is there. Raises StorageError or DependencyError."""

    def ask() -> str | None:
        with _located(address) as (store, path):
            from pyarrow.fs import FileType

            kind = store.filesystem.get_file_info(path).type
            return {FileType.File: "file", FileType.Directory: "folder"}.get(kind)

    return patiently(address, ask)


def stamp(address: str) -> ObjectStamp | None:
    """Return the size and the time of an object, None if there is none. Raises StorageError or DependencyError."""

    def ask() -> ObjectStamp | None:
        with _located(address) as (store, path):
            with suppress(FileNotFoundError, NotImplementedError), store.filesystem.open_input_file(path) as source:
                told = source.metadata() or {}  # one request; a listing tells no ETag
                if b"ETag" in told or "ETag" in told:
                    etag, time = (_text(told, name) for name in ("ETag", "Last-Modified"))
                    return ObjectStamp(source.size(), _nanoseconds(time), etag)
            info = store.filesystem.get_file_info(path)
            return ObjectStamp(info.size, info.mtime_ns) if info.is_file else None

    return patiently(address, ask)


def _text(told: Mapping[Any, Any], name: str) -> str:
    value = told.get(name, told.get(name.encode(), ""))
    return (value.decode() if isinstance(value, bytes) else str(value)).strip('"')


def _nanoseconds(time: str) -> int | None:
    """Read a time as 2026-11-30T01:17:53Z, which has no parts of a second."""
    try:
        return int(datetime.fromisoformat(time).timestamp()) * 10**9
    except ValueError:
        return None


def stamps(addresses: Iterable[str]) -> dict[str, ObjectStamp]:
    """Return the stamps of those objects that can be looked at, several asked for at once.

    A storage that refuses many of them is asked for no more: where it can't be reached, each would take its time to fail.
    """
    refused: list[str] = []

    def ask(address: str) -> ObjectStamp | None:
        if len(refused) < _MOST_REFUSED:
            try:
                return stamp(address)
            except (StorageError, DependencyError):
                refused.append(address)
        return None

    wanted = list(dict.fromkeys(addresses))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="videomae-stamps") as pool:
        return {address: found for address, found in zip(wanted, pool.map(ask, wanted), strict=True) if found}


@contextmanager
def local_copy(address: str, *, stopped: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Copy an object to a temporary file (in TMPDIR) with the same suffix, deleted after the block.

    stopped: polled after each chunk of `CHUNK_BYTES`; True aborts with StorageError. For `file://` the file itself is
    yielded. Raises ObjectNotFoundError, StorageError, DependencyError, or MachineError if this disk has no space for
    it.
    """
    place = Address.parse(address)
    if place.scheme == "file":
        file = Path("/" + place.key)
        if not filesystem.is_file(file):
            raise ObjectNotFoundError.about(address, "there is no {subject!r}")
        yield file
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder())
            copy = folder / f"copy{Path(place.path).suffix[:_LONGEST_SUFFIX]}"
            sink = stack.enter_context(copy.open("wb"))
        except OSError as error:
            raise _no_room(error) from None
        with sink:
            patiently(place, lambda: _download(place, sink, stopped), stopped=stopped)
        yield copy


def _download(place: Address, sink: BinaryIO, stopped: Callable[[], bool]) -> None:
    store = store_of(place)
    sink.seek(0)  # an earlier try may have been cut off
    sink.truncate()
    with reported(place):
        source = store.filesystem.open_input_file(store.path(place))
        size, done = source.size(), 0
    with source:
        while done < size:
            with reported(place):
                part = source.read(min(CHUNK_BYTES, size - done))
            if not part or stopped():
                raise StorageUnavailableError.about(
                    place, "{subject!r} is cut off: {done} of {size} bytes came", done=done, size=size
                )
            try:
                sink.write(part)
            except OSError as error:
                raise _no_room(error) from None
            done += len(part)
            with _counting:
                _fetched[0] += len(part)


def _no_room(error: OSError) -> MachineError:
    return MachineError.about(
        tempfile.gettempdir(),
        "can't keep a copy in {subject}: {reason}; TMPDIR names another folder",
        reason=error.strerror or error,
    )


def fetched_bytes() -> int:
    """Return how many bytes this process has copied from object storage, those of broken transfers included."""
    return _fetched[0]


def read_bytes(address: str) -> bytes:
    """Read a whole object. Raises ObjectNotFoundError, StorageError or DependencyError."""

    def ask() -> bytes:
        with _located(address) as (store, path), store.filesystem.open_input_file(path) as source:
            return bytes(source.read())

    return patiently(address, ask)


def read_begin(address: str, most: int = 1024) -> bytes:
    """Read the first bytes of an object, to find out whether this machine can. Raises as `read_bytes` does."""

    def ask() -> bytes:
        with _located(address) as (store, path), store.filesystem.open_input_file(path) as source:
            return bytes(source.read(min(most, source.size())))

    return patiently(address, ask)


def opened(address: str) -> BinaryIO:
    """Open an object for random access. Raises ObjectNotFoundError, StorageError or DependencyError."""

    def ask() -> BinaryIO:
        with _located(address) as (store, path):
            stream: BinaryIO = store.filesystem.open_input_file(path)
            return stream

    return patiently(address, ask)


def put(file: Path, address: str) -> None:
    """Upload a local file atomically, replacing what is there. Raises StorageError or DependencyError.

    Storage whose uploads are not atomic gets a temporary name first, then a rename.
    """
    patiently(address, lambda: _upload(file, address))


def _upload(file: Path, address: str) -> None:
    with _located(address) as (store, path):
        if store.completes:
            # In a thread of its own, because a signal handler in this one could drop the stream half way, and a stream
            # that is dropped publishes what it has. The block waits for the thread.
            with ThreadPoolExecutor(1, thread_name_prefix="upload") as sender:
                sender.submit(_send, store, file, path).result()
            return
        folder, _, name = path.rpartition("/")
        store.filesystem.create_dir(folder or "/", recursive=True)
        part = f"{folder}/.{name}.{uuid.uuid4().hex}.part"
        try:
            with file.open("rb") as source, store.filesystem.open_output_stream(part) as sink:
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
            store.filesystem.move(part, path)
        except BaseException:
            with suppress(Exception):
                store.filesystem.delete_file(part)
            raise


def _send(store: Store, file: Path, path: str) -> None:
    """Write an object in one call and close it: `pyarrow.fs.copy_files` closes it without looking at what that says, and so
    takes an upload that failed for one that succeeded."""
    import pyarrow as pa

    size = file.stat().st_size
    content = pa.memory_map(os.fspath(file)).read_buffer() if size else b""
    sink = (store.at_once if size <= _AT_ONCE_BYTES else store.filesystem).open_output_stream(path)
    sink.write(content)
    sink.close()


def move(address: str, target: str) -> None:
    """Rename an object within its bucket, on the server. Raises ObjectNotFoundError, StorageError or DependencyError."""

    def ask() -> None:
        with _located(address) as (store, path):
            store.filesystem.move(path, store.path(Address.parse(target)))

    try:
        patiently(address, ask)
    except ObjectNotFoundError:
        if look(target) != "file":  # it may be there already, if an answer got lost
            raise


def make_folder(address: str) -> None:
    """Create a folder if the storage has folders; on S3 this tests write permission.

    Raises StorageError, ObjectNotFoundError (no bucket) or DependencyError.
    """

    def ask() -> None:
        with _located(address) as (store, path):
            store.filesystem.create_dir(path, recursive=True)

    patiently(address, ask)


def delete(address: str) -> None:
    """Delete an object; a missing one is not an error. Raises StorageError or DependencyError."""

    def ask() -> None:
        with _located(address) as (store, path):
            store.filesystem.delete_file(path)

    with suppress(ObjectNotFoundError):
        patiently(address, ask)


def delete_empty(folder: str) -> None:
    """Delete a folder if it is empty; a missing one is not an error. Raises StorageError or DependencyError."""

    def ask() -> None:
        with _located(folder) as (store, path):
            from pyarrow import fs

            if not store.filesystem.get_file_info(fs.FileSelector(path)):
                store.filesystem.delete_dir(path)

    with suppress(ObjectNotFoundError):
        patiently(folder, ask)

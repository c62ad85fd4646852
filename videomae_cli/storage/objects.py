"""Operations on one object: does it exist, copy it to this disk, read, write atomically, delete."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem
from videomae_cli.errors import MachineError, ObjectNotFoundError, StorageError
from videomae_cli.storage.addresses import Address
from videomae_cli.storage.failures import reported
from videomae_cli.storage.stores import Store, store_of

# Bytes per request to S3, which is also what a transfer holds in memory.
CHUNK_BYTES = 8 * 2**20
_LONGEST_SUFFIX = 16


def look(address: str) -> str | None:
    """Return "file", "folder", or None if nothing is there. Raises StorageError or DependencyError."""
    place = Address.parse(address)
    store = store_of(place)
    with reported(place):
        from pyarrow.fs import FileType

        kind = store.filesystem.get_file_info(store.path(place)).type
        return {FileType.File: "file", FileType.Directory: "folder"}.get(kind)


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
    store = store_of(place)
    try:
        suffix = Path(place.path).suffix[:_LONGEST_SUFFIX]
        descriptor, name = tempfile.mkstemp(prefix="videomae-", suffix=suffix)
    except OSError as error:
        raise _no_room(error) from None
    copy = Path(name)
    try:
        with open(descriptor, "wb") as sink:  # noqa: PTH123 - a descriptor, not a path
            _download(store, place, sink, stopped)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _download(store: Store, place: Address, sink: BinaryIO, stopped: Callable[[], bool]) -> None:
    with reported(place):
        source = store.filesystem.open_input_file(store.path(place))
        size, done = source.size(), 0
    with source:
        while done < size:
            with reported(place):
                part = source.read(min(CHUNK_BYTES, size - done))
            if not part or stopped():
                raise StorageError.about(
                    place, "{subject!r} is cut off: {done} of {size} bytes came", done=done, size=size
                )
            try:
                sink.write(part)
            except OSError as error:
                raise _no_room(error) from None
            done += len(part)


def _no_room(error: OSError) -> MachineError:
    return MachineError.about(
        tempfile.gettempdir(),
        "can't keep a copy in {subject}: {reason}; TMPDIR names another folder",
        reason=error.strerror or error,
    )


def read_bytes(address: str) -> bytes:
    """Read a whole object. Raises ObjectNotFoundError, StorageError or DependencyError."""
    place = Address.parse(address)
    store = store_of(place)
    with reported(place), store.filesystem.open_input_file(store.path(place)) as source:
        return bytes(source.read())


def opened(address: str) -> BinaryIO:
    """Open an object for random access. Raises ObjectNotFoundError, StorageError or DependencyError."""
    place = Address.parse(address)
    store = store_of(place)
    with reported(place):
        stream: BinaryIO = store.filesystem.open_input_file(store.path(place))
    return stream


def put(file: Path, address: str) -> None:
    """Upload a local file atomically, replacing what is there. Raises StorageError or DependencyError.

    Storage whose uploads are not atomic gets a temporary name first, then a rename. The copy is a single call because a
    Python signal handler between several writes could drop the stream half way, and closing it would publish the
    partial object.
    """
    place = Address.parse(address)
    store = store_of(place)
    path = store.path(place)
    with reported(place):
        from pyarrow import fs

        if store.completes:
            fs.copy_files(os.fspath(file), path, fs.LocalFileSystem(), store.filesystem, chunk_size=CHUNK_BYTES)
            return
        folder, _, name = path.rpartition("/")
        store.filesystem.create_dir(folder or "/", recursive=True)
        part = f"{folder}/.{name}.{uuid.uuid4().hex}.part"
        try:
            fs.copy_files(os.fspath(file), part, fs.LocalFileSystem(), store.filesystem, chunk_size=CHUNK_BYTES)
            store.filesystem.move(part, path)
        except BaseException:
            with suppress(Exception):
                store.filesystem.delete_file(part)
            raise


def make_folder(address: str) -> None:
    """Create a folder if the storage has folders; on S3 this tests write permission.

    Raises StorageError, ObjectNotFoundError (no bucket) or DependencyError.
    """
    place = Address.parse(address)
    store = store_of(place)
    with reported(place):
        store.filesystem.create_dir(store.path(place), recursive=True)


def delete(address: str) -> None:
    """Delete an object; a missing one is not an error. Raises StorageError or DependencyError."""
    place = Address.parse(address)
    store = store_of(place)
    with suppress(ObjectNotFoundError), reported(place):
        store.filesystem.delete_file(store.path(place))


def delete_empty(folder: str) -> None:
    """Delete a folder if it is empty; a missing one is not an error. Raises StorageError or DependencyError."""
    place = Address.parse(folder)
    store = store_of(place)
    with suppress(ObjectNotFoundError), reported(place):
        from pyarrow import fs

        if not store.filesystem.get_file_info(fs.FileSelector(store.path(place))):
            store.filesystem.delete_dir(store.path(place))

"""One object: whether it is there, a copy of it on this disk, written whole or not at all, deleted."""

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

# Each part is a request of its own to S3; of as many bytes as are in memory at once.
CHUNK_BYTES = 8 * 2**20
_LONGEST_SUFFIX = 16


def look(address: str) -> str | None:
    """What is there: "file", "folder" or None. Raises StorageError or DependencyError."""
    place = Address.parse(address)
    store = store_of(place)
    with reported(place):
        from pyarrow.fs import FileType

        kind = store.filesystem.get_file_info(store.path(place)).type
        return {FileType.File: "file", FileType.Directory: "folder"}.get(kind)


@contextmanager
def local_copy(address: str, *, stopped: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """A copy of an object in the folder for temporary files (TMPDIR), under a name with the same suffix, deleted afterwards.

    stopped: asked after each chunk of `CHUNK_BYTES`; True breaks it off, as an error. Of `file://` it is the file itself.
    Raises ObjectNotFoundError, StorageError, DependencyError, or MachineError where this disk has no room for it.
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
    return MachineError(
        f"can't keep a copy in {tempfile.gettempdir()}: {error.strerror or error}; TMPDIR names another folder"
    )


def read_bytes(address: str) -> bytes:
    """All of an object. Raises ObjectNotFoundError, StorageError or DependencyError."""
    place = Address.parse(address)
    store = store_of(place)
    with reported(place), store.filesystem.open_input_file(store.path(place)) as source:
        return bytes(source.read())


def opened(address: str) -> BinaryIO:
    """An object to read here and there. Raises ObjectNotFoundError, StorageError or DependencyError."""
    place = Address.parse(address)
    store = store_of(place)
    with reported(place):
        stream: BinaryIO = store.filesystem.open_input_file(store.path(place))
    return stream


def put(file: Path, address: str) -> None:
    """Write a file of this disk to an address, over what is there. Raises StorageError or DependencyError.

    It appears whole or not at all: at once where the storage does it so, else by a temporary name beside it. The copying is
    one call, so that no signal of Python comes between its parts: a stream that is dropped half way would be completed.
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
    """Make a folder, where the storage has such things; in S3 that shows that one may write there. Raises StorageError,
    ObjectNotFoundError (no bucket) or DependencyError."""
    place = Address.parse(address)
    store = store_of(place)
    with reported(place):
        store.filesystem.create_dir(store.path(place), recursive=True)


def delete(address: str) -> None:
    """Delete an object; one that is not there is no error. Raises StorageError or DependencyError."""
    place = Address.parse(address)
    store = store_of(place)
    with suppress(ObjectNotFoundError), reported(place):
        store.filesystem.delete_file(store.path(place))


def delete_empty(folder: str) -> None:
    """Delete a folder that holds nothing; any other stays, and one that is not there is no error. Raises StorageError or
    DependencyError."""
    place = Address.parse(folder)
    store = store_of(place)
    with suppress(ObjectNotFoundError), reported(place):
        from pyarrow import fs

        if not store.filesystem.get_file_info(fs.FileSelector(store.path(place))):
            store.filesystem.delete_dir(store.path(place))

"""Copies of outputs in object storage on this disk, for what reads them several times or side by side."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videomae_cli.errors import MachineError, ObjectNotFoundError, VideoMAEError
from videomae_cli.storage import Address, is_address, local_copy, look, names_in


def place_of(text: str | os.PathLike[str]) -> Path | str:
    """Return an address unchanged, and anything else as a path: `Path` would make s3:/bucket of s3://bucket."""
    name = os.fspath(text)
    if not is_address(name):
        return Path(name)
    address = Address.parse(name)
    return Path("/" + address.key) if address.scheme == "file" else name


@contextmanager
def nearby(place: Path | str, wanted: re.Pattern[str], unfinished: str) -> Iterator[Path]:
    """Yield a path unchanged, and for an address a copy in TMPDIR, which is removed after the block.

    wanted: the names of the files of a folder that are copied; unfinished: a subfolder that marks an output as incomplete,
    of which the copy has an empty one. Errors in the block name the address. Raises ObjectNotFoundError, StorageError,
    DependencyError, or MachineError without space on this disk.
    """
    if isinstance(place, Path):
        yield place
        return
    folder = copied(place, wanted, unfinished)
    try:
        yield folder
    except VideoMAEError as error:
        raise error.rename(str(folder), place.rstrip("/")) from None
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def copied(place: str, wanted: re.Pattern[str], unfinished: str) -> Path:
    """Copy an object or a folder's files to a new temporary folder; see `nearby`. The caller removes the copy's parent."""
    address = Address.parse(place)
    kind = look(place)
    if kind is None:
        raise ObjectNotFoundError.about(place, "there is no {subject!r}")
    try:
        scratch = Path(tempfile.mkdtemp(prefix="videomae-"))
    except OSError as error:
        raise MachineError.about(
            tempfile.gettempdir(), "can't keep a copy in {subject}: {reason}", reason=error.strerror or error
        ) from None
    try:
        copy = scratch / (Path(address.path.rstrip("/")).name or "copy")
        if kind == "file":
            _copy_to(place, copy)
            return copy
        copy.mkdir()
        for name in filter(wanted.fullmatch, names_in(place)):
            _copy_to(str(address.below(name)), copy / name)
        if look(str(address.below(unfinished))) == "folder":
            (copy / unfinished).mkdir()
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return copy


def _copy_to(address: str, file: Path) -> None:
    with local_copy(address) as copy:
        copy.replace(file)

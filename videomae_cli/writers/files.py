"""Whole files or none: a temporary name in the same folder, synced, then renamed.

A link stays a link, and what is no regular file (/dev/null, a named pipe) is written as it is.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem
from videomae_cli.errors import OutputError
from videomae_cli.filenames import temporary_prefix


@contextmanager
def whole_file(output: Path, *, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """A binary file that appears as `output` when the block ends well, and leaves nothing behind when it does not.

    scratch: a folder on the same disk for the temporary file, where a kill may leave it; else beside the output.
    Raises OutputError: a folder, no rights, a full disk.
    """
    temporary: Path | None = None
    try:
        if filesystem.is_folder(output):
            raise OutputError(f"{output} is a folder: give a file name to write to")
        if is_special(output):
            with output.open("wb") as sink:  # a rename would replace the device by a file
                yield sink
            return
        target = linked(output)
        descriptor, name = tempfile.mkstemp(
            prefix=temporary_prefix(target.name), suffix=".part", dir=_scratch(scratch, target.parent)
        )
        temporary = Path(name)
        with open(descriptor, "wb") as sink:  # noqa: PTH123 - a descriptor, not a path
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's 0600 is not what a user's other files have
        temporary.replace(target)
        temporary = None
        sync_folder(target.parent)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"can't write {output}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _scratch(scratch: Path | None, beside: Path) -> Path:
    """The folder for a temporary file that can be renamed to be one in `beside`: a subfolder may be a link to another disk."""
    return scratch if scratch is not None and scratch.stat().st_dev == beside.stat().st_dev else beside


def is_special(output: Path) -> bool:
    """Whether `output` is there and neither a file nor a folder: a device, a named pipe."""
    try:
        mode = output.stat().st_mode
    except OSError:
        return False  # nothing there, or nothing that can be: whoever opens it says so
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def linked(output: Path) -> Path:
    """What a link ends at: a rename over the link itself would leave the linked file as it was."""
    return Path(os.path.realpath(output))


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can sync folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

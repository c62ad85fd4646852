"""Where pictures go: formats by the name, nothing overwritten unasked, files complete or not at all. Imports nothing heavy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.filenames import temporary_prefix

FORMATS = ("gif", "mp4", "webm", "png")


def pick_format(output: Path) -> str:
    """The format that a name ends in. Raises OptionError."""
    suffix = output.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise OptionError(f"can't tell the format of {output.name!r}: end it in .{', .'.join(FORMATS[:-1])} or .png")
    return suffix


def check_free(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Raises OutputError for a folder in the place of a file, and for a file that is there already, unless `overwrite`."""
    for path in paths:
        if filesystem.is_folder(path):
            raise OutputError(f"{path} is a folder: give a file name to write to")
        if not filesystem.is_folder(path.parent):
            raise OutputError(f"can't write {path}: there is no folder {path.parent}")
        if filesystem.is_file(path) and not overwrite:
            raise OutputError(f"{path} is there already: give another name, or --overwrite")


def publish(output: Path, data: bytes) -> None:
    """Under a temporary name in the same folder, forced to disk, then renamed; a link stays a link. What is no regular
    file (/dev/null, a pipe) is written as it is. Raises OutputError."""
    target = Path(os.path.realpath(output))
    temporary: Path | None = None
    try:
        if filesystem.look(target).kind == "other":
            target.write_bytes(data)
            return
        descriptor, name = tempfile.mkstemp(prefix=temporary_prefix(target.name), suffix=".part", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's 0600 is not what a user's other files have
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"can't write {output}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)

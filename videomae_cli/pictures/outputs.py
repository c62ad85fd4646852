"""Where pictures go: formats by the name, nothing overwritten unasked. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import OptionError, OutputError

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

"""Checks the names of picture files: their format, and what is in the way. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videomae_cli.errors import OptionError, Wording
from videomae_cli.files import check_new

FORMATS = ("gif", "mp4", "webm", "png")
# Text stored in every picture to recognise our own (no version or date, so that output is reproducible); it is in the
# first bytes.
SOURCE, _HEAD_BYTES = "videomae-cli", 1024


def is_own_picture(file: Path) -> bool:
    """Return whether a file is a PNG that this package wrote, by the text chunk before its pixels."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return False
    return head.startswith(b"\x89PNG") and b"Source\0" + SOURCE.encode() in head


def pick_format(output: Path) -> str:
    """Return the format that a file's suffix stands for. Raises OptionError."""
    suffix = output.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise OptionError.about(
            output,
            "can't tell the format of {name!r}: end it in .{formats} or .png",
            name=output.name,
            formats=", .".join(FORMATS[:-1]),
        )
    return suffix


def check_free(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Raise OutputError for a path that is a folder, lies in no folder, or exists already without `overwrite`."""
    for path in paths:
        check_new(path, overwrite=overwrite, remedy=Wording("give another name, or {@overwrite:True}"))

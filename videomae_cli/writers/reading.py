"""Reads the records of a written file one at a time, to join outputs or to see whether one is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.content import TIMELINE, content_in
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.results import Record
from videomae_cli.writers.csv_file import read_csv
from videomae_cli.writers.formats import pick_format
from videomae_cli.writers.parquet import ROW_GROUP, read_parquet


def read_records(
    file: Path, format: str | None = None, *, narrow: bool = False, size: int = ROW_GROUP
) -> Iterator[Record]:
    """Yield the records of a file. Raises OutputError if it is missing, damaged, or not an output of this package.

    narrow: accept a narrow CSV too, whose records hold no more than its few columns (see `narrow_csv`); size:
    how many records of a Parquet file are in memory at once.
    """
    format = format or _format_of(file)
    check_readable(file, format)
    try:
        filesystem.opened(file).close()  # refuse a pipe, which would block
        if format == "parquet":
            records = read_parquet(file, size)
        else:
            records = read_csv(file, narrow=narrow) if _is_csv(format) else _READERS[format](file)
        for record in records:
            if not isinstance(record, dict) or not isinstance(record.get("path"), str) or "index" not in record:
                raise ValueError("it holds something else than records of videomae")
            yield record
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from None
    except RecursionError:
        raise unreadable(file, ValueError("it is nested too deeply to be records of videomae")) from None


def _format_of(file: Path) -> str:
    """Return the format that a file's name ends in. Raises OutputError for one that no output of this program has."""
    try:
        format = pick_format(None, file)
        return "timeline-csv" if _is_csv(format) and content_in(file) is TIMELINE else format
    except OptionError:
        content = content_in(file)
        what = f"is {content.words}" if content is not None else "is named like no output of this program"
        reason = "{subject} {what}, and results are read from .jsonl, .json, .csv and .parquet"
        raise OutputError.about(file, reason, what=what) from None


def unreadable(file: Path, error: Exception, damaged: str = "can't read {subject}: {error}") -> OutputError:
    """Make the error for a file that can't be opened, or whose content is wrong. damaged: the message for such content."""
    if isinstance(error, OSError):
        return OutputError.about(file, "can't read {subject}: {reason}", reason=error.strerror or error)
    return OutputError.about(file, damaged, error=error)


def check_readable(file: Path, format: str) -> None:
    """Raise OutputError for a format whose records can't be read back."""
    if format in _READERS or _is_csv(format):
        return
    known = "jsonl, json and parquet" if format.startswith("timeline") else "jsonl, json, csv and parquet"
    what = "the CSV of a timeline" if format.startswith("timeline-csv") else "a text table"
    raise OutputError.about(
        file, "{subject}: {what} can't be read back, only {known}: give such an output instead", what=what, known=known
    )


def _read_lines(file: Path) -> Iterator[Record]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                raise ValueError(f"line {number} is cut off")
            yield json.loads(line)


def _read_document(file: Path) -> Iterator[Record]:
    content = json.loads(file.read_bytes())
    if not isinstance(content, list):
        raise ValueError("it holds no list")
    yield from content


def _is_csv(format: str) -> bool:
    return format in ("csv", "csv-wide")


_READERS = {"jsonl": _read_lines, "json": _read_document, "parquet": read_parquet}

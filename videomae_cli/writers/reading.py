"""Reads the records of a written file one at a time, to join outputs or to see whether one is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import OutputError
from videomae_cli.results import Record
from videomae_cli.writers.csv_file import read_csv
from videomae_cli.writers.formats import pick_format


def read_records(file: Path, format: str | None = None, *, narrow: bool = False) -> Iterator[Record]:
    """Yield the records of a file. Raises OutputError if it is missing, damaged, or not an output of this package.

    narrow: also of a CSV for people, whose records hold no more than its columns (see `narrow_csv`).
    """
    format = format or pick_format(None, file)
    check_readable(file, format)
    try:
        filesystem.opened(file).close()  # refuse a pipe, which would block
        for record in read_csv(file, narrow=narrow) if _is_csv(format) else _READERS[format](file):
            if not isinstance(record, dict) or not isinstance(record.get("path"), str) or "index" not in record:
                raise ValueError("it holds something else than records of videomae")
            yield record
    except OSError as error:
        raise OutputError.about(file, "can't read {subject}: {reason}", reason=error.strerror) from None
    except ValueError as error:
        raise OutputError.about(file, "can't read {subject}: {error}", error=error) from None
    except RecursionError:
        raise OutputError.about(
            file, "can't read {subject}: it is nested too deeply to be records of videomae"
        ) from None


def check_readable(file: Path, format: str) -> None:
    """Raise OutputError for a format whose records can't be read back."""
    if format in _READERS or _is_csv(format):
        return
    known = "jsonl and json" if format.startswith("timeline") else "jsonl, json, csv and parquet"
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


def _read_parquet(file: Path) -> Iterator[Record]:
    from videomae_cli.writers.parquet import read_parquet

    yield from read_parquet(file)


_READERS = {"jsonl": _read_lines, "json": _read_document, "parquet": _read_parquet}

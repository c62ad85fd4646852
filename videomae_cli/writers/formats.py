"""The formats by name. A writer's module, and what it needs, is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import BinaryIO, ClassVar

from videomae_cli.errors import OptionError
from videomae_cli.results import Record


class Writer:
    """Writes records to a binary sink that it neither opens nor closes."""

    format: ClassVar[str]

    def __init__(self, sink: BinaryIO) -> None:
        self.sink = sink

    def write(self, record: Record, seconds: float | None = None) -> None:
        """Add one record. seconds: how long it took, where that is known and shown."""
        raise AssertionError("a subclass writes")

    def finish(self) -> None:
        """Called once, after the last record."""

    def put(self, text: str) -> None:
        """Write text as UTF-8; what UTF-8 can't hold becomes a question mark."""
        self.sink.write(text.encode("utf-8", "replace"))


_HOME = {
    "table": ("text", "TextWriter"),
    "json": ("json_lines", "JsonWriter"),
    "jsonl": ("json_lines", "JsonLinesWriter"),
    "csv": ("csv_file", "CsvWriter"),
    "parquet": ("parquet", "ParquetWriter"),
}
FORMATS = tuple(_HOME)
_SUFFIXES = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "table",
}


def make_writer(format: str, sink: BinaryIO) -> Writer:
    """The writer of a format. Raises DependencyError where a package for it is missing."""
    module, name = _HOME[format]
    writer = getattr(import_module(f"videomae_cli.writers.{module}"), name)(sink)
    assert isinstance(writer, Writer)
    return writer


def pick_format(asked: str | None, output: Path | None) -> str:
    """The format asked for, else the one that the output's name ends in, else a table. Raises OptionError."""
    if asked is not None:
        if asked not in FORMATS:
            raise OptionError(f"unknown format {asked!r}: choose {', '.join(FORMATS)}")
        return asked
    if output is None:
        return "table"
    suffix = output.suffix.lower()
    if suffix not in _SUFFIXES:
        known = ", ".join(dict.fromkeys(_SUFFIXES))
        raise OptionError(f"can't tell the format of {output.name!r}: end it in one of {known}, or give --format")
    return _SUFFIXES[suffix]

"""The formats by name. A writer's module, and what it needs, is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from videomae_cli.errors import OptionError, Wording
from videomae_cli.results import Record
from videomae_cli.visible import FALLBACK


class Writer:
    """Writes records to a binary sink that it neither opens nor closes."""

    format: ClassVar[str]
    # Of text for people on a terminal, the terminal's; data are UTF-8.
    encoding = "utf-8"
    # Whether it is written to a terminal, where nothing reads it back.
    for_people = False
    # Of all files of the job, where a table needs them for its widths.
    names: Sequence[str] = ()

    def __init__(self, sink: BinaryIO) -> None:
        self.sink = sink

    def write(self, record: Record, seconds: float | None = None) -> None:
        """Add one record. seconds: how long it took, where that is known and shown."""
        raise AssertionError("a subclass writes")

    def finish(self) -> None:
        """Called once, after the last record."""

    def put(self, text: str) -> None:
        """Write text; what the encoding can't hold becomes an escape."""
        self.sink.write(text.encode(self.encoding, FALLBACK))


@dataclass(frozen=True)
class VectorLayout:
    """What every vector of an output has in common. storage: "float32" or "float16"; settings: of the job."""

    dimensions: int
    storage: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    shard: str | None = None

    @property
    def bytes_each(self) -> int:
        """The size of one vector in bytes."""
        return self.dimensions * (2 if self.storage == "float16" else 4)


_HOME = {
    "table": ("text", "TextWriter"),
    "json": ("json_lines", "JsonWriter"),
    "jsonl": ("json_lines", "JsonLinesWriter"),
    "csv": ("csv_file", "CsvWriter"),
    "parquet": ("parquet", "ParquetWriter"),
}
FORMATS = tuple(_HOME)
# How timelines are written where that differs.
_TIMELINE_HOME = {
    "timeline-table": ("timelines", "TimelineTextWriter"),
    "timeline-csv": ("timelines", "TimelineCsvWriter"),
}
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
    module, name = (_HOME | _TIMELINE_HOME)[format]
    writer = getattr(import_module(f"videomae_cli.writers.{module}"), name)(sink)
    assert isinstance(writer, Writer)
    return writer


VECTOR_FORMATS = ("parquet", "npz", "jsonl")


def pick_format(asked: str | None, output: Path | None) -> str:
    """The format asked for, else the one that the output's name ends in, else a table. Raises OptionError."""
    return "table" if asked is None and output is None else _pick(asked, output, FORMATS, _SUFFIXES)


def pick_vector_format(asked: str | None, output: Path) -> str:
    """The format asked for, else the one that the output's name ends in. Raises OptionError."""
    suffixes = {suffix: format for suffix, format in _SUFFIXES.items() if format in VECTOR_FORMATS} | {".npz": "npz"}
    return _pick(asked, output, VECTOR_FORMATS, suffixes)


def _pick(asked: str | None, output: Path | None, formats: Sequence[str], suffixes: Mapping[str, str]) -> str:
    if asked is not None:
        if asked not in formats:
            raise OptionError(f"unknown format {asked!r}: choose {', '.join(formats)}")
        return asked
    assert output is not None
    suffix = output.suffix.lower()
    if suffix not in suffixes:
        raise OptionError(
            f"can't tell the format of {output.name!r}",
            remedy=Wording("end it in one of {known}, or give {@format}", known=", ".join(suffixes)),
        )
    return suffixes[suffix]

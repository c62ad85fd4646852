"""Finds writers by format name, and imports a writer's module only when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from videomae_cli.errors import OptionError, Wording, check_choice
from videomae_cli.results import Record
from videomae_cli.visible import FALLBACK


class Writer:
    """Writes records to a binary sink that it neither opens nor closes."""

    # Encoding of the sink: the terminal's for text that people read there, UTF-8 for data.
    encoding = "utf-8"
    # Whether the sink is a terminal: then no program will read the text back.
    for_people = False

    def __init__(self, sink: BinaryIO) -> None:
        self.sink = sink

    def write(self, record: Record, seconds: float | None = None) -> None:
        """Add one record. seconds: how long it took, if known and shown."""
        raise AssertionError("a subclass writes")

    def finish(self) -> None:
        """Complete the output; called once, after the last record."""

    def put(self, text: str) -> None:
        """Write text, escaping characters that the encoding can't hold."""
        self.sink.write(text.encode(self.encoding, FALLBACK))


@dataclass(frozen=True)
class VectorLayout:
    """What all vectors of an output have in common. storage: "float32" or "float16"; settings: the job's; shard and listed: as
    in `results.Stamp`."""

    dimensions: int
    storage: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    shard: str | None = None
    listed: str | None = None

    @property
    def bytes_each(self) -> int:
        """The size of one vector in bytes."""
        return self.dimensions * (2 if self.storage == "float16" else 4)


_HOME = {
    "table": ("text", "TextWriter"),
    "json": ("json_lines", "JsonWriter"),
    "jsonl": ("json_lines", "JsonLinesWriter"),
    "csv": ("narrow_csv", "NarrowCsvWriter"),
    "parquet": ("parquet", "ParquetWriter"),
}
FORMATS = tuple(_HOME)
# Formats whose layout differs for timelines.
_TIMELINE_HOME = {
    "timeline-table": ("timelines", "TimelineTextWriter"),
    "timeline-csv": ("narrow_csv", "NarrowTimelineCsvWriter"),
}
# Format -> the format with all columns that `widened` returns for it.
_WIDE_HOME = {
    "csv-wide": ("csv_file", "CsvWriter"),
    "timeline-csv-wide": ("timelines", "TimelineCsvWriter"),
}
SUFFIXES = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "table",
}


def make_writer(format: str, sink: BinaryIO) -> Writer:
    """Make the writer of a format. Raises DependencyError if a package for it is missing."""
    module, name = (_HOME | _TIMELINE_HOME | _WIDE_HOME)[format]
    writer = getattr(import_module(f"videomae_cli.writers.{module}"), name)(sink)
    assert isinstance(writer, Writer)
    return writer


VECTOR_FORMATS = ("parquet", "npz", "jsonl")


def pick_format(asked: str | None, output: Path | None) -> str:
    """Return the requested format, else the one of the output's suffix, else "table". Raises OptionError."""
    return "table" if asked is None and output is None else pick_among(asked, output, FORMATS, SUFFIXES)


def widened(format: str, wide: bool) -> str:
    """Return the name of a format, or if `wide` of its variant with all columns.

    Raises OptionError for a format that has no such variant.
    """
    if not wide:
        return format
    if f"{format}-wide" not in _WIDE_HOME:
        reason = "{@wide:True} is about the columns of CSV: leave it out for {format}"
        raise OptionError.about("wide", reason, format=format.removeprefix("timeline-"))
    return f"{format}-wide"


def pick_label_format(asked: str | None, output: Path | None, *, wide: bool, sharded: bool) -> str:
    """Return the format of an output of labels, see `pick_format` and `widened`. Raises OptionError.

    sharded: the output is for `merge`, which needs every column.
    """
    chosen = pick_format(asked, output)
    return widened(chosen, wide or (sharded and chosen == "csv"))


def pick_vector_format(asked: str | None, output: Path) -> str:
    """Return the requested format, else the one of the output's suffix. Raises OptionError."""
    suffixes = {suffix: format for suffix, format in SUFFIXES.items() if format in VECTOR_FORMATS} | {".npz": "npz"}
    return pick_among(asked, output, VECTOR_FORMATS, suffixes)


def pick_among(asked: str | None, output: Path | None, formats: Sequence[str], suffixes: Mapping[str, str]) -> str:
    """Return the requested format, one of `formats`, else the one of the output's suffix. Raises OptionError."""
    if asked is not None:
        check_choice("format", asked, formats)
        return asked
    assert output is not None
    suffix = output.suffix.lower()
    if suffix not in suffixes:
        raise OptionError.about(
            output,
            "can't tell the format of {name!r}",
            name=output.name,
            remedy=Wording("end it in one of {known}, or give {@format}", known=", ".join(suffixes)),
        )
    return suffixes[suffix]

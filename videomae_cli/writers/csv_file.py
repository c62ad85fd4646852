"""Writes and reads CSV (RFC 4180, UTF-8): one row per file, lists as JSON text, texts safe for spreadsheets (`cells`)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from videomae_cli.results import Record
from videomae_cli.writers.cells import csv_row, json_cell, read_cell
from videomae_cli.writers.columns import COLUMNS, are_ours, to_record, to_row
from videomae_cli.writers.formats import Writer
from videomae_cli.writers.narrow_csv import are_narrow, read_narrow

_PARSE: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": json.loads,
    "text": read_cell,
    "json": json.loads,
}


class CsvWriter(Writer):
    """Writes a header, then one row per record; None becomes an empty cell."""

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__(sink)
        self.put(csv_row(COLUMNS))

    def write(self, record: Record, seconds: float | None = None) -> None:
        row = to_row(record)
        for name, kind in COLUMNS.items():
            if kind in ("json", "bool") and row[name] is not None:
                row[name] = json_cell(row[name])
        self.put(csv_row((row[name] for name in COLUMNS), for_people=self.for_people))


def read_csv(file: Path, *, narrow: bool = False) -> Iterator[Record]:
    """Yield the records of a file that `CsvWriter` wrote.

    narrow: also accept a file that `NarrowCsvWriter` wrote, whose records are incomplete.

    Raises ValueError for any other file.
    """
    csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8", newline="") as stream:
        rows = csv.reader(stream)
        names = next(rows, [])
        if are_narrow(names):
            if not narrow:
                raise ValueError(f"it holds only {', '.join(names)}: make it with all columns (wide CSV), or as jsonl")
            yield from read_narrow(rows, names)
            return
        if not are_ours(names):
            raise ValueError("its columns are not those of videomae")
        for row in rows:
            if len(row) != len(names):
                raise ValueError(f"line {rows.line_num} is cut off")
            cells = {
                name: _PARSE[COLUMNS[name]](text) if text != "" else None for name, text in zip(names, row, strict=True)
            }
            yield to_record(cells)

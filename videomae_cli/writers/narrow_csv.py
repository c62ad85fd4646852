"""Writes CSV for people, with only a few columns, and reads it back.

Columns of classifications: `path`, `label`, `score`, `error`; for a regression model: `path`, one column per output,
`error`. Columns of timelines: `path`, `start`, `end`, `label`, `score`, `unsure`, `error`, and `kind` after the path if
windows are listed too. `error` is empty, or the kind of failure and the reason: `decode: no frame can be decoded`. All columns:
`csv_file`, `timelines`.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from videomae_cli.results import Record
from videomae_cli.writers.cells import csv_row, read_cell
from videomae_cli.writers.formats import Writer
from videomae_cli.writers.timelines import rows_of

SCORED = ("label", "score")
_STRETCH = ("start", "end", *SCORED, "unsure")
_ERROR = re.compile(r"([a-z_]+): (.*)", re.DOTALL)


class _NarrowWriter(Writer):
    """Writes a header, then the rows of each record.

    The first record without an error determines the columns; failures before it are held back until then.
    """

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__(sink)
        self._columns: tuple[str, ...] = ()
        self._waiting: list[Record] = []

    @abstractmethod
    def columns(self, record: Record | None) -> tuple[str, ...]:
        """Return the columns between `path` and `error`.

        record: the first one without an error, None if there is none.
        """

    @abstractmethod
    def rows(self, record: Record) -> Iterator[Record]:
        """Yield the values of these columns by name, row by row."""

    def write(self, record: Record, seconds: float | None = None) -> None:
        if not self._columns and record["error"] and not record.get("segments"):
            self._waiting.append(record)
            return
        self._begin(record)
        self._put(record)

    def finish(self) -> None:
        self._begin(None)

    def _begin(self, record: Record | None) -> None:
        if self._columns:
            return
        self._columns = ("path", *self.columns(record), "error")
        self.put(csv_row(self._columns, for_people=self.for_people))
        for failed in self._waiting:
            self._put(failed)
        self._waiting.clear()

    def _put(self, record: Record) -> None:
        common = {"path": record["path"], "error": _reason(record)}
        for row in self.rows(record):
            values = {**row, **common}
            self.put(csv_row((values.get(name) for name in self._columns), for_people=self.for_people))


class NarrowCsvWriter(_NarrowWriter):
    """Writes path, best label, score and error of each file, or the values of a regression model."""

    def columns(self, record: Record | None) -> tuple[str, ...]:
        values = record.get("values") if record is not None else None
        return SCORED if values is None else _headings(values)

    def rows(self, record: Record) -> Iterator[Record]:
        values = record.get("values")
        if values is not None:
            yield dict(zip(_headings(values), values.values(), strict=True))
        else:
            yield next(iter(record["predictions"]), {})


class NarrowTimelineCsvWriter(_NarrowWriter):
    """Writes a row for each segment, with the times in seconds; a file without segments has a row too."""

    def columns(self, record: Record | None) -> tuple[str, ...]:
        kind = ("kind",) if record is not None and record["windows"] else ()
        return (*kind, *_STRETCH)

    def rows(self, record: Record) -> Iterator[Record]:
        return rows_of(record, windows="kind" in self._columns)


def _headings(values: Sequence[str] | dict[str, float]) -> tuple[str, ...]:
    """Return column names for a model's outputs, changed if they would clash with the other columns."""
    return tuple(f"value {name}" if name in ("path", "error", *SCORED) else name for name in values)


def _reason(record: Record) -> str | None:
    error = record["error"]
    return f"{error['kind']}: {error['message']}" if error else None


def are_narrow(names: Sequence[str]) -> bool:
    """Return whether a table has the columns of a `NarrowCsvWriter`: path first, error last, label and score or values
    between."""
    timelines = _STRETCH, ("kind", *_STRETCH)
    return len(names) > 2 and names[0] == "path" and names[-1] == "error" and tuple(names[1:-1]) not in timelines


def narrow_record(names: Sequence[str], cells: Sequence[str], index: int) -> Record:
    """Rebuild the part of a record that a row contains: path, best prediction or values, and error.

    index: the row's number from 0, which is the file's position in its list. Raises ValueError for a damaged row.
    """
    path, *middle, reason = cells
    record: Record = {"index": index, "path": read_cell(path), "predictions": [], "value": None, "values": None}
    if (error := _ERROR.fullmatch(read_cell(reason))) is not None:
        return record | {"status": "error", "error": {"kind": error[1], "message": error[2]}}
    if reason:
        raise ValueError(f"line {index + 2} holds an error of no known kind")
    record |= {"status": "ok", "error": None}
    if tuple(names[1:-1]) == SCORED:
        label, score = middle
        return record | {"predictions": [{"label": read_cell(label), "score": float(score)}] if score else []}
    values = {read_cell(name): float(cell) for name, cell in zip(names[1:-1], middle, strict=True)}
    return record | {"values": values, "value": next(iter(values.values())) if len(values) == 1 else None}


def read_narrow(rows: Iterator[list[str]], names: Sequence[str]) -> Iterator[Record]:
    """Yield the part of a record that each row contains (see `narrow_record`). Raises ValueError for a damaged row."""
    for index, cells in enumerate(rows):
        if len(cells) != len(names):
            raise ValueError(f"line {index + 2} is cut off")
        yield narrow_record(names, cells, index)

"""Reads the rows of CSV, TSV, list, Parquet and JSON Lines files, with their columns renamed to ours.

`tables` interprets the rows.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from videomae_cli.column_names import PICTURE_COLUMNS, find_columns
from videomae_cli.content import VIDEO_SUFFIXES
from videomae_cli.storage.manifests import load_pyarrow
from videomae_cli.writers.cells import read_cell

Row = Mapping[str, Any]
TABLES = {".csv": ",", ".tsv": "\t", ".txt": " ", ".parquet": "", ".jsonl": "", ".ndjson": ""}
# The names under which a row holds its target values, next to our names of the other columns.
_TARGET = "target {}"
_NUMBERED = re.compile(r"^(.*\S)[ \t,]+(\d+(?:[|;]\d+)*)$")


@dataclass(frozen=True)
class WantedColumns:
    """The columns that a table must have besides a path. targets: names of the columns of values to predict."""

    label: bool = True
    targets: tuple[str, ...] = ()

    def columns(self, names: Iterable[str]) -> tuple[dict[str, str], str | None]:
        """Map our column names to the table's; also return the first required column that is missing, or None."""
        names = list(names)
        columns = find_columns(names)
        missing = [name for name in ("path", "label")[: 1 + self.label] if name not in columns]
        for number, target in enumerate(self.targets):
            alike = [name for name in names if str(name).strip().lower() == target.strip().lower()]
            found = target if target in names else alike[0] if len(alike) == 1 else None
            if found is None:
                missing.append(target)
            else:
                columns[_TARGET.format(number)] = found
        return columns, next(iter(missing), None)

    def values(self, row: Row) -> list[Any]:
        """Return the target cells of a row, in the order of `targets`."""
        return [row.get(_TARGET.format(number)) for number in range(len(self.targets))]


def column_names(file: Path) -> tuple[str, ...]:
    """Return a table's columns, our names first; empty if it has no header or can't be read."""
    try:
        if file.suffix.lower() == ".parquet":
            _, parquet = load_pyarrow()
            names = list(parquet.read_schema(file).names)
        elif file.suffix.lower() in (".jsonl", ".ndjson"):
            with file.open(encoding="utf-8-sig") as lines:
                names = list(json.loads(next((line for line in lines if line.strip()), "{}")))
        else:
            with file.open(encoding="utf-8-sig", newline="") as stream:
                names = _header(stream.readline(), TABLES[file.suffix.lower()])[1]
    except (OSError, ValueError, RecursionError, TypeError, csv.Error):
        return ()
    ours = (name for name in find_columns(names) if name not in PICTURE_COLUMNS)
    return tuple(dict.fromkeys([*ours, *(str(name) for name in names)]))


def read_rows(file: Path, wanted: WantedColumns) -> Iterator[tuple[str, Row]]:
    """Yield each row with its position for messages ("row 7", "line 7"). Rows without a header have path and label.

    Raises OSError, UnicodeDecodeError, csv.Error or ValueError if the file is not of the format that its suffix says,
    and ValueError if a column is missing.
    """
    kind = file.suffix.lower()
    if kind == ".parquet":
        yield from _parquet(file, wanted)
    elif kind in (".jsonl", ".ndjson"):
        yield from _json_lines(file, wanted)
    else:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            yield from _text(stream, TABLES[kind], wanted)


def _needed(names: Iterable[str], wanted: WantedColumns) -> dict[str, str]:
    columns, missing = wanted.columns(names)
    if missing is not None:
        raise ValueError(f"it has no column {missing} (its columns: {', '.join(map(str, names)) or 'none'})")
    return columns


def _parquet(file: Path, wanted: WantedColumns) -> Iterator[tuple[str, Row]]:
    pyarrow, parquet = load_pyarrow()
    number = 0
    try:
        with parquet.ParquetFile(file, pre_buffer=False) as table:
            columns = _needed(table.schema_arrow.names, wanted)
            for batch in table.iter_batches(columns=list(dict.fromkeys(columns.values()))):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", {ours: row[theirs] for ours, theirs in columns.items()}
    except pyarrow.ArrowException as error:
        raise ValueError(" ".join(str(error).split())) from None


def _json_lines(file: Path, wanted: WantedColumns) -> Iterator[tuple[str, Row]]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                content = json.loads(line)
            except (ValueError, RecursionError):
                raise ValueError(f"line {number} is no JSON") from None
            if not isinstance(content, dict):
                raise ValueError(f"line {number} holds no object")
            columns, missing = wanted.columns(content)
            if missing is not None:
                raise ValueError(f"line {number} has no {missing} (it has: {', '.join(content) or 'nothing'})")
            yield f"line {number}", {ours: content[theirs] for ours, theirs in columns.items()}


def _header(first: str, separator: str) -> tuple[str, list[str]]:
    """Return the delimiter and the column names; no names if the first line is not a header."""
    # Spreadsheets write semicolons in locales with decimal commas, and may write tabs whatever the suffix.
    for mark in dict.fromkeys([separator.strip(" ") or ",", ",", "\t", ";"]):
        header = next(csv.reader([first], delimiter=mark), [])
        if "path" in find_columns(header):
            return mark, header
    return "", []


def _text(stream: TextIO, separator: str, wanted: WantedColumns) -> Iterator[tuple[str, Row]]:
    first = stream.readline()
    stream.seek(0)
    mark, header = _header(first, separator)
    if header:
        yield from _with_header(stream, mark, wanted)
        return
    names = [name.strip() for name in next(csv.reader([first], delimiter=separator.strip(" ") or ","), [])]
    if len(names) > 1 and not any(name.isdigit() or _is_file(name) for name in names):
        raise ValueError(f"it has no column path (its columns: {', '.join(names)})")
    if wanted.targets:
        raise ValueError(f"it has no header, and so no column {wanted.targets[0]}: a first line names the columns")
    if separator.strip(" "):
        for number, cells in enumerate(csv.reader(stream, delimiter=separator), 1):
            if any(cell.strip() for cell in cells):
                # path and label in separate cells, or in one, separated by a space
                path, *between, label = [cells[0].strip(), *cells[1:-1], cells[-1]]
                row = _listed(path, wanted.label) if len(cells) == 1 else {"path": path, "label": label}
                between += [] if wanted.label else [label]
                yield f"row {number}", {"line": " ".join([path, *between]), **row}
        return
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield f"line {number}", _listed(line.strip(), wanted.label)


def _with_header(stream: TextIO, separator: str, wanted: WantedColumns) -> Iterator[tuple[str, Row]]:
    reader = csv.reader(stream, delimiter=separator)
    header = next(reader)
    columns = {ours: header.index(theirs) for ours, theirs in _needed(header, wanted).items()}
    for number, cells in enumerate(reader, 2):
        if any(cell.strip() for cell in cells):
            yield f"row {number}", {ours: read_cell(cells[at]) for ours, at in columns.items() if at < len(cells)}


def _listed(line: str, labels_required: bool) -> Row:
    """Parse a line "PATH NUMBER", where the path may contain spaces, or "PATH LABEL"."""
    found = _NUMBERED.match(line)
    if found:
        path = found.group(1).rstrip(" ,\t")
        return {"path": path, "label": found.group(2), "line": path if labels_required else line}
    path, label = next(
        ((p.strip(), w.strip()) for mark in (",", "\t", " ") for p, m, w in [line.rpartition(mark)] if m), (line, "")
    )
    if labels_required and path and label and not _is_file(label):
        return {"path": path, "label": label, "line": path}
    return {"path": line, "label": None}


def _is_file(name: str) -> bool:
    return "/" in name or name[name.rfind(".") :].lower() in VIDEO_SUFFIXES

"""Tables of path and label -> examples.

With a header: `path` (or video, video_path, file, filename, filepath) and `label` (or labels, class, category, target), and
where they are there `split`, `group`, `start`, `end`. Without one, as the lists of the official VideoMAE code and others
are: a path, a space or comma, and the number of the label. Relative paths begin at the table's folder.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from videomae_cli.datasets.examples import SPLITS, Example
from videomae_cli.errors import ConfigError, DatasetError
from videomae_cli.labels import read_labels

TABLES = {".csv": ",", ".tsv": "\t", ".txt": " ", ".parquet": "", ".jsonl": "", ".ndjson": ""}
_NAMES = {
    "path": ("path", "video_path", "video", "file", "filename", "file_path", "filepath"),
    "label": ("label", "labels", "class", "classes", "category", "target"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "source", "source_id"),
    "start": ("start", "start_time", "start_s"),
    "end": ("end", "end_time", "end_s", "stop"),
}
_SPLITS = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "validate": "val", "testing": "test"}
_SEPARATORS = "|;"

Row = Mapping[str, Any]


def read_table(file: Path, *, labels: Path | None = None, labels_required: bool = True) -> list[Example]:
    """Every row, those of one clip joined: several rows are several labels. Raises DatasetError, naming the row."""
    try:
        names = read_labels(labels) if labels is not None else None
        rows = list(_rows(file))
    except OSError as error:
        raise DatasetError(f"can't read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{file} is not UTF-8 text: save it as such") from None
    except (csv.Error, ValueError, ConfigError) as error:
        raise DatasetError(f"can't read {file}: {error}") from None
    if not rows:
        raise DatasetError(f"{file} has no rows")
    joined: dict[tuple[Any, ...], Example] = {}
    for number, row in rows:
        example = _example(file, number, row, names, labels_required)
        key = (example.path, example.start, example.end)
        before = joined.get(key)
        if before is not None:
            together = tuple(dict.fromkeys([*before.labels, *example.labels]))
            example = Example(example.path, together, before.split, before.group, example.start, example.end)
        joined[key] = example
    return list(joined.values())


def _example(file: Path, number: int, row: Row, names: tuple[str, ...] | None, labels_required: bool) -> Example:
    where = f"{file}, row {number}"
    path = row.get("path")
    if not isinstance(path, str) or not path:
        raise DatasetError(f"{where}: there is no path")
    labels = _labels(row.get("label"), names, where) if labels_required else ()
    if labels_required and not labels and not isinstance(row.get("label"), (list, tuple)):
        raise DatasetError(f"{where}: there is no label")
    split = str(row.get("split") or "").strip().lower()
    split = _SPLITS.get(split, split)
    if split and split not in SPLITS:
        raise DatasetError(f"{where}: unknown split {row['split']!r}: write {', '.join(SPLITS)}")
    start, end = _seconds(row.get("start"), where), _seconds(row.get("end"), where)
    if end is not None and end <= (start or 0.0):
        raise DatasetError(f"{where}: its end ({end:g} s) is not after its start ({start or 0.0:g} s)")
    whole = path if Path(path).is_absolute() else os.path.join(file.parent, path)  # noqa: PTH118 - keeps a path as it is
    return Example(whole, labels, split or None, str(row.get("group") or ""), start, end)


def _labels(value: Any, names: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        parts = [str(part).strip() for part in value]
    else:
        text = str(value)
        for separator in _SEPARATORS[1:]:
            text = text.replace(separator, _SEPARATORS[0])
        parts = [part.strip() for part in text.split(_SEPARATORS[0])]
    parts = [part for part in parts if part]
    if names is None:
        return tuple(dict.fromkeys(parts))
    return tuple(dict.fromkeys(_named(part, names, where) for part in parts))


def _named(part: str, names: tuple[str, ...], where: str) -> str:
    if part in names:
        return part
    if part.isdigit() and int(part) < len(names):
        return names[int(part)]
    raise DatasetError(f"{where}: the label {part!r} is not among the {len(names)} names given")


def _seconds(value: Any, where: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise DatasetError(f"{where}: {value!r} is no time in seconds")
    return seconds


def _rows(file: Path) -> Iterator[tuple[int, Row]]:
    kind = file.suffix.lower()
    if kind == ".parquet":
        yield from enumerate(_checked(_parquet(file), file), 1)
    elif kind in (".jsonl", ".ndjson"):
        yield from enumerate(_checked(_json_lines(file), file), 1)
    else:
        yield from _delimited(file, TABLES[kind])


def _checked(rows: Iterable[Row], file: Path) -> Iterator[Row]:
    for row in rows:
        columns = _columns(row)
        if "path" not in columns:
            raise ValueError(f"it has no column path (its columns: {', '.join(map(str, row)) or 'none'})")
        yield {ours: row[theirs] for ours, theirs in columns.items()}


def _columns(names: Iterable[str]) -> dict[str, str]:
    """Our name for each column that is one of ours, to theirs."""
    lower = {str(name).strip().lower(): name for name in names}
    return {
        ours: lower[found]
        for ours, known in _NAMES.items()
        if (found := next((name for name in known if name in lower), None)) is not None
    }


def _parquet(file: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        wanted = list(_columns(table.schema_arrow.names).values())
        for batch in table.iter_batches(columns=wanted or None):
            yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error).splitlines()[0]) from None


def _json_lines(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                content = json.loads(line)
                if not isinstance(content, dict):
                    raise ValueError(f"line {number} holds no object")
                yield content


def _delimited(file: Path, separator: str) -> Iterator[tuple[int, Row]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        first = stream.readline()
        stream.seek(0)
        names = (
            [name.strip() for name in next(csv.reader([first], delimiter=separator.strip() or ","))] if first else []
        )
        if "path" in _columns(names):
            columns = _columns(names)
            for number, row in enumerate(csv.DictReader(stream, delimiter=separator.strip() or ","), 2):
                known = {name.strip(): value for name, value in row.items() if name is not None}
                if any(known.values()):
                    yield number, {ours: known.get(theirs.strip()) for ours, theirs in columns.items()}
            return
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, _listed(line.strip(), separator)


def _listed(line: str, separator: str) -> Row:
    """A path and the label behind its last separator."""
    for mark in dict.fromkeys([separator, " ", ",", "\t"]):
        path, found, label = line.rpartition(mark)
        if found and path.strip() and label.strip():
            return {"path": path.strip(), "label": label.strip()}
    return {"path": line, "label": None}

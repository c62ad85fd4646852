"""Reads examples from tables of paths and labels.

With a header: `path` and `label` (other names: `column_names`), and optionally `split`, `group`, `start`, `end`.
Without one, as in the lists of the official VideoMAE code: a path, a space or comma, and the number of the label.
Relative paths are relative to the table's folder; paths may be addresses in object storage. Several labels of a clip are a list, are separated by | or ;, or are
in several rows. For clips that are pictures: `start_frame`, `stop_frame` or `count`, and `fps`, or without a header the
start and the count before the label. Columns of numbers to predict are read only if they are requested by name.
"""

from __future__ import annotations

import base64
import csv
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videomae_cli import filesystem
from videomae_cli.column_names import PICTURE_COLUMNS
from videomae_cli.datasets.data_places import clip_in, folder_of
from videomae_cli.datasets.examples import SPLITS, Example
from videomae_cli.datasets.rows import Row, WantedColumns, read_rows
from videomae_cli.datasets.values import read_value
from videomae_cli.errors import DatasetError
from videomae_cli.results import as_utf8
from videomae_cli.storage import canonical, is_address
from videomae_cli.video.clip_names import ClipName, valid_rate
from videomae_cli.video.image_sequences import annotated_clip, is_place

_SPLITS = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "validate": "val", "testing": "test"}


def read_table(
    file: Path, *, wanted: WantedColumns, names: Sequence[str] = (), source: str | None = None
) -> list[Example]:
    """Read all examples; several rows of one clip become one example with several labels.

    names: the names of numeric labels; source: where the table lies if `file` is a copy of it. Raises DatasetError, which
    names the row.
    """
    source = os.fspath(file) if source is None else source
    folder = folder_of(source)
    joined: dict[tuple[Any, ...], Example] = {}
    try:
        for where, row in read_rows(file, wanted):
            example = _example(folder, f"{source}, {where}", row, names, wanted)
            path = example.path
            same = canonical(path) if is_address(path) else os.path.abspath(path)  # noqa: PTH100 - follows no links
            key = (same, example.start, example.end)
            before = joined.get(key)
            joined[key] = example if before is None else _merged(before, example, f"{source}, {where}")
    except OSError as error:
        raise DatasetError.about(source, "can't read {subject}: {reason}", reason=error.strerror or error) from None
    except UnicodeDecodeError:
        raise DatasetError.about(source, "{subject} is not UTF-8 text: save it as such") from None
    except (csv.Error, ValueError) as error:
        raise DatasetError.about(source, "can't read {subject}: {error}", error=error) from None
    if not joined:
        raise DatasetError.about(source, "{subject} has no rows")
    return list(joined.values())


def _merged(one: Example, other: Example, where: str) -> Example:
    """Merge two rows of the same clip. Raises DatasetError if they contradict each other."""
    for what, a, b in (("split", one.split, other.split), ("group", one.group, other.group)):
        if a and b and a != b:
            reason = "{subject}: an earlier row puts this clip into {what} {a!r}, this one into {b!r}"
            raise DatasetError.about(where, reason, what=what, a=a, b=b)
    if one.values != other.values:
        first, second = next((a, b) for a, b in zip(one.values, other.values, strict=True) if a != b)
        reason = "{subject}: an earlier row gives this clip the value {first:g}, this one {second:g}"
        raise DatasetError.about(where, reason, first=first, second=second)
    labels = tuple(dict.fromkeys([*one.labels, *other.labels]))
    group = one.group or other.group
    return Example(one.path, labels, one.split or other.split, group, one.start, one.end, one.values)


def _example(folder: str, where: str, row: Row, names: Sequence[str], wanted: WantedColumns) -> Example:
    path = _path(row, where)
    labels = _labels(row.get("label"), names, where) if wanted.label else ()
    if wanted.label and not labels and not isinstance(row.get("label"), (list, tuple)):
        raise DatasetError.about(where, "{subject}: there is no label")
    split = _text(row.get("split")).lower()
    split = _SPLITS.get(split, split)
    if split and split not in SPLITS:
        raise DatasetError.about(
            where, "{subject}: unknown split {split!r}: write {splits}", split=row["split"], splits=", ".join(SPLITS)
        )
    start, end = _seconds(row.get("start"), where), _seconds(row.get("end"), where)
    if end is not None and end <= (start or 0.0):
        raise DatasetError.about(
            where, "{subject}: its end ({end:g} s) is not after its start ({start:g} s)", end=end, start=start or 0.0
        )
    whole = clip_in(folder, path)
    if "line" in row and not is_address(whole) and (row["line"] != path or not filesystem.is_there(whole)):
        clip = annotated_clip(row["line"], labelled=wanted.label, folder=folder)
        whole = whole if clip is None else os.path.join(folder, clip)  # noqa: PTH118
    whole = _pictures(whole, row, where)
    return Example(whole, labels, split or None, _text(row.get("group")), start, end, _values(row, wanted, where))


def _pictures(path: str, row: Row, where: str) -> str:
    """Return the name of a clip that is pictures, with the part and the rate that the row says; any other path unchanged."""
    said = {name: text for name in PICTURE_COLUMNS if (text := _text(row.get(name)))}
    if not said or ClipName.parse(path).place != path or not is_place(path):
        return path
    numbers = {name: _whole_number(text, where) for name, text in said.items() if name != "fps"}
    first, last, count = (numbers.get(name) for name in ("first", "last", "count"))
    fps = _seconds(said.get("fps"), where)
    if fps is not None and not valid_rate(fps):
        raise DatasetError.about(where, "{subject}: {fps:g} is no rate of frames", fps=fps)
    if first is not None and last is None:
        if count is None:
            raise DatasetError.about(where, "{subject}: it has the first frame, but neither the last one nor a count")
        last = first + count - 1
    elif last is not None and first is None:
        first = 0
    if first is not None and last is not None:
        if last < first:
            raise DatasetError.about(where, "{subject}: its frames end before they begin")
        count = None
    return str(ClipName(path, first, last, count, fps))


def _whole_number(text: str, where: str) -> int:
    number = text.removesuffix(".0")  # as tables with gaps have whole numbers
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise DatasetError.about(where, "{subject}: {text!r} is no number of a frame", text=text)
    return int(number)


def _values(row: Row, wanted: WantedColumns, where: str) -> tuple[float, ...]:
    found = []
    for column, cell in zip(wanted.targets, wanted.values(row), strict=True):
        try:
            found.append(read_value(cell))
        except ValueError as error:
            raise DatasetError.about(
                where, "{subject}, column {column}: {error}", column=as_utf8(column), error=error
            ) from None
    return tuple(found)


def _path(row: Row, where: str) -> str:
    path = row.get("path")
    raw = row.get("path_bytes")
    try:
        if raw:
            path = os.fsdecode(base64.b64decode(raw, validate=True))
        elif isinstance(path, bytes):
            path = os.fsdecode(path)
        usable = isinstance(path, str) and path.strip() != "" and b"\0" not in os.fsencode(path)
    except (ValueError, TypeError):
        raise DatasetError.about(
            where, "{subject}: the path is no file name: it can't be written in the system's encoding"
        ) from None
    if not usable:
        raise DatasetError.about(where, "{subject}: there is no path")
    assert isinstance(path, str)
    return path


def _labels(value: Any, names: Sequence[str], where: str) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        parts = [_text(part) for part in value]
    else:
        parts = [part.strip() for part in re.split(r"[|;]", _text(value))]
    parts = [part for part in parts if part]
    for part in parts:
        if as_utf8(part) != part:
            raise DatasetError.about(
                where, "{subject}: the label {part!r} is no text that can be written as UTF-8", part=as_utf8(part)
            )
    return tuple(dict.fromkeys(named(part, names, where) for part in parts))


def _text(value: Any) -> str:
    """Convert a cell to text. In a column with gaps, other programs turn integers into 3.0 and gaps into NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def named(part: str, names: Sequence[str], where: str) -> str:
    """Resolve a label to one of the names, given the name or its number; unchanged if there are no names.

    Raises DatasetError.
    """
    if not names or part in names:
        return part
    if part.isdecimal() and part.isascii() and len(part) < 10 and int(part) < len(names):
        return names[int(part)]
    raise DatasetError.about(
        where, "{subject}: the label {part!r} is not among the {count} names given", part=part, count=len(names)
    )


def _seconds(value: Any, where: str) -> float | None:
    if _text(value) == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise DatasetError.about(where, "{subject}: {value!r} is no time in seconds", value=value)
    return seconds

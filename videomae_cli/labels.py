"""Reads label names from a file, for checkpoints that only have LABEL_0, LABEL_1, ..., and finds the ids of labels that users
and datasets name, exactly, loosely or by number."""

from __future__ import annotations

import csv
import difflib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videomae_cli import filesystem
from videomae_cli.errors import ConfigError, DatasetError, OptionError, Wording

_DIGITS = 9  # longest number taken for a label id: Python refuses to parse thousands of digits
_SHOWN = 8  # how many of a model's labels an error lists if none is similar to the requested one


def read_labels(path: Path, *, expected: int | None = None) -> tuple[str, ...]:
    """Read label names in the order of their ids.

    Formats: .json (an array, or an object id -> name or name -> id), .csv (id,name or only names), text (one name per
    line). Raises ConfigError, also if the number of labels is not `expected`.
    """
    try:
        text = filesystem.contents(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError.about(path, "can't read the labels in {subject}: {reason}", reason=reason) from None
    if path.suffix.lower() == ".json":
        labels = _from_json(text, path)
    elif path.suffix.lower() == ".csv":
        labels = _from_csv(text, path)
    else:
        labels = [line.strip() for line in text.splitlines() if line.strip()]
    if not labels:
        raise ConfigError.about(path, "{subject} holds no labels")
    if expected is not None and len(labels) != expected:
        raise ConfigError.about(
            path, "{subject} holds {count} labels, but the model has {expected}", count=len(labels), expected=expected
        )
    return tuple(labels)


def _from_json(text: str, path: Path) -> list[str]:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError.about(path, "{subject} is not JSON: {error}", error=error) from None
    if isinstance(content, list) and all(isinstance(item, str) for item in content):
        return content
    if isinstance(content, dict) and content:
        if all(isinstance(value, int) and not isinstance(value, bool) for value in content.values()):
            return _in_order({value: str(name) for name, value in content.items()}, path)
        if all(_is_number(key) and isinstance(value, str) for key, value in content.items()):
            return _in_order({int(key): value for key, value in content.items()}, path)
    raise ConfigError.about(path, "{subject} must be a JSON array of names, or an object of id to name or name to id")


def _from_csv(text: str, path: Path) -> list[str]:
    try:
        table = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
    except csv.Error as error:
        raise ConfigError.about(path, "{subject} is no table: {error}", error=error) from None
    rows = [row for row in table if any(row)]
    if rows and all(len(row) == 1 for row in rows):
        return [row[0] for row in rows]
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]  # a header such as id,name
    if not rows or any(len(row) != 2 or not _is_number(row[0]) for row in rows):
        raise ConfigError.about(path, "{subject} must have one name a line, or id,name")
    return _in_order({int(number): name for number, name in rows}, path)


def _in_order(names: dict[int, str], path: Path) -> list[str]:
    missing = next((number for number in range(len(names)) if number not in names), None)
    if missing is not None:
        reason = "{subject} must number its labels 0 to {last}: {missing} is missing"
        raise ConfigError.about(path, reason, last=len(names) - 1, missing=missing)
    return [names[number] for number in range(len(names))]


def match_labels(wanted: Iterable[str], labels: Sequence[str], *, ignore_unknown: bool = False) -> Mapping[str, int]:
    """Map every wanted label to its id.

    A label matches by its exact name, else by its name without case, spaces and punctuation; if all wanted labels are
    numbers and none is a name, they are ids. Raises DatasetError for an unknown label (unless `ignore_unknown`) or an
    ambiguous one.
    """
    wanted = list(dict.fromkeys(wanted))
    places = _places(wanted, labels)
    for label, found in places.items():
        if len(found) > 1:
            raise DatasetError(_ambiguous(label, found, labels), subject=label)
        if not found and not ignore_unknown:
            raise DatasetError(
                _unknown(label, labels, _are_ids(wanted, labels)),
                subject=label,
                remedy=Wording("{@ignore_unknown:True} leaves such clips out"),
            )
    return {label: found[0] for label, found in places.items() if found}


def match_label(wanted: str, labels: Sequence[str]) -> int:
    """Return the id of one label that a user typed, by the rules of `match_labels`. Raises OptionError."""
    found = _places([wanted], labels)[wanted]
    if len(found) > 1:
        raise OptionError.about(wanted, "{ambiguous}: give its number", ambiguous=_ambiguous(wanted, found, labels))
    if not found:
        reason = _unknown(wanted, labels, _are_ids([wanted], labels))
        raise OptionError(reason, subject=wanted, remedy=Wording("{@model_labels} lists them"))
    return found[0]


def _places(wanted: Sequence[str], labels: Sequence[str]) -> dict[str, list[int]]:
    """Map each wanted label to all ids that it could mean."""
    exact: dict[str, list[int]] = defaultdict(list)
    loose: dict[str, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        exact[label].append(number)
        loose[_loose(label)].append(number)
    if _are_ids(wanted, labels):
        return {label: [int(label)] if int(label) < len(labels) else [] for label in wanted}
    return {label: exact.get(label) or (loose.get(_loose(label), []) if _loose(label) else []) for label in wanted}


def _are_ids(wanted: Sequence[str], labels: Sequence[str]) -> bool:
    return all(_is_number(label) for label in wanted) and not set(wanted) & set(labels)


def _loose(label: str) -> str:
    """Drop case, spaces and punctuation, and normalise accented letters, which file systems encode in different ways."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", label)).casefold()


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdigit() and len(label) <= _DIGITS


def _ambiguous(label: str, places: Sequence[int], labels: Sequence[str]) -> str:
    several = ", ".join(f"{number} {labels[number]!r}" for number in places)
    return f"the label {label!r} could be several of the model's: {several}"


def _unknown(label: str, labels: Sequence[str], number: bool) -> str:
    """Word the error for an unknown label: with similar labels, or else with some of the model's."""
    reason = f"the model has no label {label!r}"
    if number:
        return f"{reason} (it has 0 to {len(labels) - 1})"
    names = {name.casefold(): name for name in labels}
    close = difflib.get_close_matches(label.casefold(), names, n=3, cutoff=0.6)
    close += [name for name in names if label.strip() and label.strip().casefold() in name and name not in close]
    if close:
        return f"{reason} (close: {', '.join(names[name] for name in close[:3])})"
    return f"{reason} (it has {', '.join(labels[:_SHOWN])}{f', ... {len(labels)} in all' * (len(labels) > _SHOWN)})"

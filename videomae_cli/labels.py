"""Label names from a file, for checkpoints that know only LABEL_0, LABEL_1, ..."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from videomae_cli.errors import ConfigError


def read_labels(path: Path, *, expected: int | None = None) -> tuple[str, ...]:
    """Names in the order of their ids: from .json (an array, or an object of id to name or name to id), .csv (id,name
    or names alone) or text (one a line). Raises ConfigError, also where there are not `expected` of them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"can't read the labels in {path}: {reason}") from None
    if path.suffix.lower() == ".json":
        labels = _from_json(text, path)
    elif path.suffix.lower() == ".csv":
        labels = _from_csv(text, path)
    else:
        labels = [line.strip() for line in text.splitlines() if line.strip()]
    if not labels:
        raise ConfigError(f"{path} holds no labels")
    if expected is not None and len(labels) != expected:
        raise ConfigError(f"{path} holds {len(labels)} labels, but the model has {expected}")
    return tuple(labels)


def _from_json(text: str, path: Path) -> list[str]:
    try:
        content: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    if isinstance(content, list) and all(isinstance(item, str) for item in content):
        return content
    if isinstance(content, dict) and content:
        if all(isinstance(value, int) for value in content.values()):
            return _in_order({value: str(name) for name, value in content.items()}, path)
        if all(str(key).isdigit() and isinstance(value, str) for key, value in content.items()):
            return _in_order({int(key): value for key, value in content.items()}, path)
    raise ConfigError(f"{path} must be a JSON array of names, or an object of id to name or name to id")


def _from_csv(text: str, path: Path) -> list[str]:
    rows = [
        [cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)
    ]
    if rows and all(len(row) == 1 for row in rows):
        return [row[0] for row in rows]
    if rows and not rows[0][0].isdigit():
        rows = rows[1:]  # a header such as id,name
    if not rows or any(len(row) != 2 or not row[0].isdigit() for row in rows):
        raise ConfigError(f"{path} must have one name a line, or id,name")
    return _in_order({int(number): name for number, name in rows}, path)


def _in_order(names: dict[int, str], path: Path) -> list[str]:
    missing = next((number for number in range(len(names)) if number not in names), None)
    if missing is not None:
        raise ConfigError(f"{path} must number its labels 0 to {len(names) - 1}: {missing} is missing")
    return [names[number] for number in range(len(names))]

"""Determines the names of a classifier's outputs from a possibly inconsistent `config.json`.

If there are weights, they determine the number of outputs. Implausible names are replaced by LABEL_0, LABEL_1, ..., and
every assumption is reported.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from videomae_cli.errors import ConfigError
from videomae_cli.model.messages import shown

_MOST_LABELS = 1 << 20


def name_outputs(values: Mapping[str, Any], outputs: int | None) -> tuple[dict[int, str] | None, str | None]:
    """Return names by output number from `id2label`, else `label2id`, else `num_labels`, and a note on what was assumed.

    outputs: rows of the classifier, None if there is none. The names are None if the configuration has no information.
    Raises ConfigError for an invalid number of labels.
    """
    count = _count(values.get("num_labels"))
    source, found = _entries(values)
    if found is None:
        assumed = f"{source} holds no names by number; the outputs are numbered instead" if source else None
        wanted = count if outputs is None else outputs
        if wanted is None:
            return None, assumed
        if count is not None and outputs is not None and count != outputs:
            assumed = f"num_labels is {count}, but the classifier has {outputs} outputs, which are taken"
        return numbered(wanted), assumed
    size = (
        outputs if outputs is not None else count if count is not None and found and max(found) < count else len(found)
    )
    names, assumed = _fitted(found, size, source)
    return names, assumed or _odd_names(names, count)


def _count(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_LABELS):
        return value
    raise ConfigError.about(
        "num_labels",
        "num_labels is {value}; it must be a whole number from 0 to {most_labels}",
        value=reprlib.repr(value),
        most_labels=_MOST_LABELS,
    )


def _entries(values: Mapping[str, Any]) -> tuple[str, dict[int, str] | None]:
    """Return the key of the configuration that holds names, and the names by number, or None if they are unusable."""
    id2label, label2id = values.get("id2label"), values.get("label2id")
    if isinstance(id2label, list):
        id2label = dict(enumerate(id2label))
    if isinstance(id2label, Mapping) and (id2label or not label2id):
        # some scripts swap keys and values
        found = _by_number(id2label.items()) or _by_number((number, name) for name, number in id2label.items())
        return "id2label", found if found is not None or id2label else {}
    if isinstance(label2id, Mapping) and label2id:
        return "label2id", _by_number((number, name) for name, number in label2id.items())
    key_found = next((key for key, value in (("id2label", id2label), ("label2id", label2id)) if value is not None), "")
    return key_found, None


def _by_number(pairs: Any) -> dict[int, str] | None:
    found: dict[int, str] = {}
    for number, name in pairs:
        try:
            key = int(number)
        except (TypeError, ValueError, OverflowError):
            return None
        if key < 0 or isinstance(number, bool) or (number != key and isinstance(number, float)):
            return None
        found[key] = name if isinstance(name, str) else str(name) if isinstance(name, int | float) else f"LABEL_{key}"
    return found or None


def numbered(count: int) -> dict[int, str]:
    """Make `count` labels LABEL_0, LABEL_1, …"""
    return {index: f"LABEL_{index}" for index in range(count)}


def _fitted(found: dict[int, str], outputs: int, source: str) -> tuple[dict[int, str], str | None]:
    """Fit the names found to the number of outputs: as they are, renumbered in order, with gaps filled, or discarded."""
    if sorted(found) == list(range(outputs)):
        return {index: found[index] for index in range(outputs)}, None
    low, high = (min(found), max(found)) if found else (0, -1)
    if len(found) == outputs:
        names = dict(enumerate(found[number] for number in sorted(found)))
        return (
            names,
            f"{source} numbers its {outputs} labels {low} to {high}; they are taken in this order, from output 0 on",
        )
    if high == outputs - 1:
        names = {index: found.get(index, f"LABEL_{index}") for index in range(outputs)}
        return names, f"{source} names {len(found)} of {outputs} outputs; the others are called by their numbers"
    return numbered(outputs), (
        f"{source} names {len(found)} labels, but the classifier has {outputs} outputs; they are called by their numbers"
    )


def _odd_names(names: dict[int, str], count: int | None) -> str | None:
    repeated = [name for name, times in Counter(names.values()).items() if times > 1]
    if repeated:
        return f"several outputs are called {shown(repeated[0])}; they are kept apart by their numbers alone"
    if count is not None and count != len(names):
        return f"num_labels is {count}, but there are {len(names)} labels, which are taken"
    return None

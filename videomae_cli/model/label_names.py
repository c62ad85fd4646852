"""What the outputs of a classifier are called, from whatever a `config.json` says of it.

The number of outputs is the weights' word where there are weights. Names that can't be told apart from a mistake are
replaced by LABEL_0, LABEL_1, ..., and every assumption is put into words.
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
    """Names by output number from `id2label`, else `label2id`, else `num_labels`, and what had to be assumed, if anything.

    outputs: rows of the classifier; None where there is none to count. The names are None where nothing is said of any.
    Raises ConfigError for a number of labels that can't be.
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
    raise ConfigError(f"num_labels is {reprlib.repr(value)}; it must be a whole number from 0 to {_MOST_LABELS}")


def _entries(values: Mapping[str, Any]) -> tuple[str, dict[int, str] | None]:
    """The names by number as they are written and the key they stand under; None for the names where they are no such thing."""
    id2label, label2id = values.get("id2label"), values.get("label2id")
    if isinstance(id2label, list):
        id2label = dict(enumerate(id2label))
    if isinstance(id2label, Mapping) and (id2label or not label2id):
        # some scripts swap the two
        found = _by_number(id2label.items()) or _by_number((number, name) for name, number in id2label.items())
        return "id2label", found if found is not None or id2label else {}
    if isinstance(label2id, Mapping) and label2id:
        return "label2id", _by_number((number, name) for name, number in label2id.items())
    said = next((key for key, value in (("id2label", id2label), ("label2id", label2id)) if value is not None), "")
    return said, None


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
    """Labels LABEL_0, LABEL_1, …, as many as asked for."""
    return {index: f"LABEL_{index}" for index in range(count)}


def _fitted(found: dict[int, str], outputs: int, source: str) -> tuple[dict[int, str], str | None]:
    """Names for exactly these outputs: as numbered, with gaps filled, in order, or none of them."""
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

"""The labels of some data among those of a checkpoint: by name, loosely written ones too, or by number."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from videomae_cli.errors import DatasetError


def match_labels(wanted: Iterable[str], labels: Sequence[str], *, ignore_unknown: bool = False) -> Mapping[str, int]:
    """The id of every wanted label. A label is found by its name, else by its name without case, spaces and signs, else, where
    every wanted label is a number, as an id. Raises DatasetError for one that is not there, naming what comes close."""
    wanted = list(dict.fromkeys(wanted))
    exact = {label: number for number, label in enumerate(labels)}
    loose: dict[str, int] = {}
    twice: set[str] = set()
    for number, label in enumerate(labels):
        key = _loose(label)
        twice |= {key} if key in loose else set()
        loose.setdefault(key, number)
    numbers = all(label.isdigit() and int(label) < len(labels) for label in wanted) and not any(
        w in exact for w in wanted
    )
    found: dict[str, int] = {}
    for label in wanted:
        if label in exact:
            found[label] = exact[label]
        elif numbers:
            found[label] = int(label)
        elif _loose(label) in loose and _loose(label) not in twice and _loose(label):
            found[label] = loose[_loose(label)]
        elif not ignore_unknown:
            raise DatasetError(_unknown(label, labels))
    return found


def _loose(label: str) -> str:
    return re.sub(r"[\W_]+", "", label).casefold()


def _unknown(label: str, labels: Sequence[str]) -> str:
    close = difflib.get_close_matches(label, labels, n=3, cutoff=0.6)
    hint = f" (close: {', '.join(close)})" if close else ""
    return f"the model has no label {label!r}{hint}: --ignore-unknown leaves such clips out"

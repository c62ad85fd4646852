"""The labels of some data among those of a checkpoint: by name, loosely written ones too, or by number."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from videomae_cli.errors import DatasetError

_DIGITS = 9  # of a label that is a number: Python refuses to read thousands of them


def match_labels(wanted: Iterable[str], labels: Sequence[str], *, ignore_unknown: bool = False) -> Mapping[str, int]:
    """The id of every wanted label. A label is found by its name, else by its name without case, spaces and signs, else, where
    every wanted label is a number, as an id. Raises DatasetError for one that is not there, naming what comes close, and,
    ignore_unknown or not, for one that could be several."""
    wanted = list(dict.fromkeys(wanted))
    exact: dict[str, list[int]] = defaultdict(list)
    loose: dict[str, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        exact[label].append(number)
        loose[_loose(label)].append(number)
    numbers = all(_is_number(label) for label in wanted) and not any(label in exact for label in wanted)
    found: dict[str, int] = {}
    for label in wanted:
        key = _loose(label)
        places = exact.get(label) or ([] if numbers or not key else loose.get(key, []))
        if numbers and int(label) < len(labels):
            found[label] = int(label)
        elif len(places) == 1:
            found[label] = places[0]
        elif places:
            raise DatasetError(_ambiguous(label, places, labels))
        elif not ignore_unknown:
            raise DatasetError(_unknown(label, labels, numbers))
    return found


def _loose(label: str) -> str:
    """Without case, spaces and signs; letters with accents as one, whichever way a file system writes them."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", label)).casefold()


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdigit() and len(label) <= _DIGITS


def _ambiguous(label: str, places: Sequence[int], labels: Sequence[str]) -> str:
    several = ", ".join(f"{number} {labels[number]!r}" for number in places)
    return f"the label {label!r} could be several of the model's: {several}"


def _unknown(label: str, labels: Sequence[str], number: bool) -> str:
    close = [] if number else difflib.get_close_matches(label, labels, n=3, cutoff=0.6)
    hint = f" (close: {', '.join(close)})" if close else f" (it has 0 to {len(labels) - 1})" if number else ""
    return f"the model has no label {label!r}{hint}: --ignore-unknown leaves such clips out"

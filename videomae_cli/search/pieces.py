"""What the readers of files of embeddings hand on: vectors as they are stored, and what each of them is of.

Files come from other tools too, and from bad disks: a value that is not of the kind its column should have is dropped
here, so that nobody further up has to think of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.results import path_of

Array = npt.NDArray[Any]

# Rows that are in memory at once: 12 MB of 768 float32 values.
BLOCK = 4096
# Wider than any VideoMAE by far: a number beyond it is damage, and must not become an allocation.
MAX_DIMENSIONS = 65536
ROW_COLUMNS = ("index", "clip", "start", "end")  # as `Row` has them after the path


@dataclass(frozen=True, slots=True)
class Row:
    """What one vector is of. index: the file's place in the job's list; clip, start, end (seconds): None where unknown."""

    path: str
    index: int | None = None
    clip: int | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Piece:
    """Some rows as they are stored. vectors: (n, D), any real type; failed: rows that hold an error instead.

    slots: whether there is a vector for each token or time slot; models, fingerprints: what the rows say made them.
    """

    vectors: Array
    rows: list[Row]
    failed: int = 0
    slots: bool = False
    models: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()


def row_of(record: Mapping[str, Any]) -> Row:
    """The row of a record, whoever wrote it. Raises ValueError where it has no path."""
    if record.get("path") is None:
        raise ValueError("it has a row without a path")
    index, clip, start, end = (_number(record.get(name)) for name in ROW_COLUMNS)
    return Row(
        path=_storable(path_of(dict(record))),
        index=None if index is None else int(index),
        clip=None if clip is None else int(clip),
        start=start,
        end=end,
    )


def texts(values: Collection[Any]) -> frozenset[str]:
    """The different texts among some values."""
    return frozenset(_storable(value) for value in values if isinstance(value, str) and value)


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object as it is, anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def matrix(vectors: Array, count: int) -> Array:
    """`vectors`, flat or not, as (count, D). Raises ValueError where they are no numbers, or too many."""
    if vectors.dtype.kind not in "fiu":
        raise ValueError("its embeddings are no lists of numbers")
    if count == 0:
        return np.zeros((0, 0), np.float32)
    values = vectors.reshape(count, len(vectors) // count) if vectors.ndim == 1 else vectors
    if values.ndim != 2:
        raise ValueError("its embeddings are no lists of numbers")
    if values.shape[1] > MAX_DIMENSIONS:
        raise ValueError(f"its embeddings have {values.shape[1]} values: no model makes so many")
    return values


def same_length(lengths: Collection[int]) -> None:
    """Raise ValueError where vectors are of more than one length."""
    several = sorted(set(lengths))
    if len(several) > 1:
        raise ValueError(f"its vectors have {several[0]} and {several[1]} values: they can't be compared")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def _storable(text: str) -> str:
    """JSON may hold halves of characters, which no file name and no output can."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text

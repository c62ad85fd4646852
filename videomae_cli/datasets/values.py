"""Numbers to predict: what of a table's cells and labels is one, and data whose labels are values."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

from videomae_cli.datasets.examples import Dataset
from videomae_cli.errors import DatasetError

# The outputs of a model are float32: a value beyond this is a mistake, and has no room there.
LARGEST = 1e30


def read_value(cell: Any) -> float:
    """The number in a cell. Raises ValueError with the words for what is there instead."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("there is no value")
    try:
        # Python also reads 1_000, which other programs take for text.
        known = isinstance(cell, (int, float, Decimal, str)) and not isinstance(cell, bool) and "_" not in str(cell)
        value = float(cell) if known else math.nan
    except OverflowError:
        value = math.inf
    except ValueError:
        value = math.nan
    if math.isnan(value):
        missing = isinstance(cell, float)  # what a gap becomes in many programs
        raise ValueError("there is no value" if missing else f"{str(cell)[:40]!r} is no number")
    if abs(value) > LARGEST:
        raise ValueError(f"{str(cell)[:40]} is no value to predict: they go up to {LARGEST:g}")
    return value + 0.0


def values_of_labels(dataset: Dataset, output: str) -> Dataset:
    """Data whose labels are numbers, with these as values. Raises DatasetError."""
    changed = []
    for example in dataset.examples:
        if len(example.labels) != 1:
            raise DatasetError(f"{example.path!r} has {len(example.labels)} labels, where a value is wanted")
        try:
            value = read_value(example.labels[0])
        except ValueError:
            raise DatasetError(
                f"{example.path!r} has the label {example.labels[0]!r}, where the model gives a number"
            ) from None
        changed.append(replace(example, labels=(), values=(value,)))
    return replace(dataset, examples=tuple(changed), classes=(), multi_label=False, outputs=(output,))

"""Numbers to predict: parses table cells, and converts datasets whose labels are numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

from videomae_cli.datasets.examples import Dataset
from videomae_cli.errors import DatasetError

# Larger values are a mistake, and would come close to the range of a model's float32 outputs.
LARGEST = 1e30


def read_value(cell: Any) -> float:
    """Parse the number in a cell. Raises ValueError with a message that says what is there instead."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("there is no value")
    try:
        # Python also accepts 1_000, which other programs take for text.
        known = isinstance(cell, (int, float, Decimal, str)) and not isinstance(cell, bool) and "_" not in str(cell)
        value = float(cell) if known else math.nan
    except OverflowError:
        value = math.inf
    except ValueError:
        value = math.nan
    if math.isnan(value):
        missing = isinstance(cell, float)  # many programs turn a gap into NaN
        raise ValueError("there is no value" if missing else f"{str(cell)[:40]!r} is not a number")
    if abs(value) > LARGEST:
        raise ValueError(f"{str(cell)[:40]} is no value to predict: they go up to {LARGEST:g}")
    return value + 0.0


def values_of_labels(dataset: Dataset, output: str) -> Dataset:
    """Convert a dataset whose labels are numbers to one with values. Raises DatasetError."""
    changed = []
    for example in dataset.examples:
        if len(example.labels) != 1:
            raise DatasetError.about(
                example.path, "{subject!r} has {count} labels, where a value is wanted", count=len(example.labels)
            )
        try:
            value = read_value(example.labels[0])
        except ValueError:
            reason = "{subject!r} has the label {labels!r}, where the model gives a number"
            raise DatasetError.about(example.path, reason, labels=example.labels[0]) from None
        changed.append(replace(example, labels=(), values=(value,)))
    return replace(dataset, examples=tuple(changed), classes=(), multi_label=False, outputs=(output,))

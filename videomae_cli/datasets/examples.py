"""The types of a dataset: examples (clips with labels or values) and the dataset with its classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DatasetError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Example:
    """One clip. labels: exactly one, or any number for multi-label data; split: "train", "val" or "test", None if the
    data doesn't say; group: identifies the source that the clip comes from; start, end: seconds, if the clip is a part
    of its file; values: numbers to predict, one per output of the dataset."""

    path: str
    labels: tuple[str, ...]
    split: str | None
    group: str
    start: float | None = None
    end: float | None = None
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Examples and what can be predicted for them. classes: in the order of their ids; multi_label: whether an example may have
    several labels, or none; notes: lines on what was left out while reading; outputs: the names of the values, for
    regression."""

    examples: tuple[Example, ...]
    classes: tuple[str, ...]
    multi_label: bool
    notes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what a model of this data predicts: classes, or outputs."""
        return self.outputs or self.classes

    @property
    def problem_type(self) -> str:
        """The `problem_type` in the configuration of a model of this data."""
        if self.outputs:
            return "regression"
        return "multi_label_classification" if self.multi_label else "single_label_classification"

    def of(self, split: str) -> tuple[Example, ...]:
        """Return the examples that the data assigns to a split."""
        return tuple(example for example in self.examples if example.split == split)

    def targets(
        self, examples: Sequence[Example]
    ) -> npt.NDArray[np.int64] | npt.NDArray[np.float32] | npt.NDArray[np.float64]:
        """Return training targets: class ids (N,), 0/1 rows (N, classes) for multi-label data, or values (N, outputs).

        Raises DatasetError for a label that is not a class of this data.
        """
        if self.outputs:
            return np.array([example.values for example in examples], dtype=np.float64)
        ids = {label: number for number, label in enumerate(self.classes)}
        foreign = next((label for example in examples for label in example.labels if label not in ids), None)
        if foreign is not None:
            raise DatasetError.about(
                foreign, "the label {subject!r} is none of the {count} classes of the data", count=len(ids)
            )
        if not self.multi_label:
            return np.array([ids[example.labels[0]] for example in examples], dtype=np.int64)
        rows = np.zeros((len(examples), len(self.classes)), dtype=np.float32)
        for row, example in enumerate(examples):
            rows[row, [ids[label] for label in example.labels]] = 1
        return rows


def make_dataset(
    examples: Iterable[Example],
    *,
    order: Sequence[str] = (),
    notes: tuple[str, ...] = (),
    outputs: tuple[str, ...] = (),
) -> Dataset:
    """Make a dataset with the classes that occur: first those in `order`, in that order, then the others in natural order.

    It is multi-label if any example has several labels or none. outputs: the names of the values, for regression.
    """
    examples = tuple(examples)
    if outputs:
        return Dataset(examples, (), False, notes, outputs)
    several = any(len(example.labels) != 1 for example in examples)
    present = {label for example in examples for label in example.labels}
    first = [label for label in dict.fromkeys(order) if label in present]
    classes = first + sorted(present - set(first), key=natural)
    return Dataset(examples, tuple(classes), several, notes)


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key by which 2 comes before 10, and which differs between any two names."""
    parts = re.split(r"([0-9]+)", name)
    # Numbers are compared as strings without leading zeros: Python refuses to parse thousands of digits.
    numbers = [(part, part.lstrip("0")) for part in parts]
    return [(1, len(n), n) if part.isdigit() and part.isascii() else (0, 0, part) for part, n in numbers], name

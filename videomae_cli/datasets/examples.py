"""What a dataset is: clips with their labels, and which of them belong together."""

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
    """One clip. path: as the system names it; labels: one, of multi-label data several or none; split: "train", "val" or
    "test", None where the data doesn't say; group: clips of one group come from one source; start, end: seconds, where the
    clip is a part of its file; values: numbers to predict, one for each of the dataset's outputs."""

    path: str
    labels: tuple[str, ...]
    split: str | None
    group: str
    start: float | None = None
    end: float | None = None
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """classes: in the order of their ids; multi_label: whether an example may have several, or none; notes: what was left
    out while reading, a line each; outputs: names of the values where there are these instead of classes."""

    examples: tuple[Example, ...]
    classes: tuple[str, ...]
    multi_label: bool
    notes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What a model of this data gives: its classes, or its values."""
        return self.outputs or self.classes

    @property
    def problem_type(self) -> str:
        """The configuration's word for what a model of this data gives."""
        if self.outputs:
            return "regression"
        return "multi_label_classification" if self.multi_label else "single_label_classification"

    def of(self, split: str) -> tuple[Example, ...]:
        """The examples that the data puts there."""
        return tuple(example for example in self.examples if example.split == split)

    def targets(
        self, examples: Sequence[Example]
    ) -> npt.NDArray[np.int64] | npt.NDArray[np.float32] | npt.NDArray[np.float64]:
        """(N,) class ids, or (N, classes) with a 1 for every label of multi-label data, or (N, outputs) values.

        Raises DatasetError for a label that is no class of this data.
        """
        if self.outputs:
            return np.array([example.values for example in examples], dtype=np.float64)
        ids = {label: number for number, label in enumerate(self.classes)}
        foreign = next((label for example in examples for label in example.labels if label not in ids), None)
        if foreign is not None:
            raise DatasetError(f"the label {foreign!r} is none of the {len(ids)} classes of the data")
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
    multi_label: bool | None = None,
    notes: tuple[str, ...] = (),
    outputs: tuple[str, ...] = (),
) -> Dataset:
    """With the classes that occur, those of `order` first and as there, the others in natural order after them.
    multi_label: None finds out by whether one has several or none. outputs: names of the values, where they have these.

    Raises DatasetError for several labels where one is wanted.
    """
    examples = tuple(examples)
    if outputs:
        return Dataset(examples, (), False, notes, outputs)
    several = [example for example in examples if len(example.labels) != 1]
    if multi_label is False and several:
        raise DatasetError(f"{several[0].path!r} has {len(several[0].labels)} labels, where each clip must have one")
    there = {label for example in examples for label in example.labels}
    first = [label for label in dict.fromkeys(order) if label in there]
    classes = first + sorted(there - set(first), key=natural)
    return Dataset(examples, tuple(classes), bool(several) if multi_label is None else multi_label, notes)


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A key to sort by in which 2 comes before 10, and no two names are equal."""
    parts = re.split(r"([0-9]+)", name)
    # Compared as texts without leading zeros: Python refuses to read numbers of thousands of digits.
    numbers = [(part, part.lstrip("0")) for part in parts]
    return [(1, len(n), n) if part.isdigit() and part.isascii() else (0, 0, part) for part, n in numbers], name

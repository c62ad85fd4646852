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
    clip is a part of its file."""

    path: str
    labels: tuple[str, ...]
    split: str | None
    group: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Dataset:
    """classes: in the order of their ids; multi_label: whether an example may have several, or none."""

    examples: tuple[Example, ...]
    classes: tuple[str, ...]
    multi_label: bool

    def of(self, split: str) -> tuple[Example, ...]:
        """The examples that the data puts there."""
        return tuple(example for example in self.examples if example.split == split)

    def targets(self, examples: Sequence[Example]) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
        """(N,) class ids, or (N, classes) with a 1 for every label of multi-label data."""
        ids = {label: number for number, label in enumerate(self.classes)}
        if not self.multi_label:
            return np.array([ids[example.labels[0]] for example in examples], dtype=np.int64)
        rows = np.zeros((len(examples), len(self.classes)), dtype=np.float32)
        for row, example in enumerate(examples):
            rows[row, [ids[label] for label in example.labels]] = 1
        return rows


def make_dataset(examples: Iterable[Example], *, multi_label: bool | None = None) -> Dataset:
    """With the classes in natural order. multi_label: None finds out by whether one has several or none.

    Raises DatasetError for several labels where one is wanted.
    """
    examples = tuple(examples)
    several = [example for example in examples if len(example.labels) != 1]
    if multi_label is False and several:
        raise DatasetError(f"{several[0].path!r} has {len(several[0].labels)} labels, where each clip must have one")
    classes = sorted({label for example in examples for label in example.labels}, key=natural)
    return Dataset(examples, tuple(classes), bool(several) if multi_label is None else multi_label)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key to sort by in which 2 comes before 10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdigit() and part.isascii() else (0, 0, part) for part in parts]

"""Reads the training data, splits it, checks that every file can be decoded, and describes it in a few lines."""

from __future__ import annotations

import time
from dataclasses import dataclass

from videomae_cli.datasets import Dataset, Example, check_dataset, read_dataset, split_dataset
from videomae_cli.training.classification import Data
from videomae_cli.training.distributed import Share
from videomae_cli.training.listener import TrainingListener
from videomae_cli.training.terms import Terms
from videomae_cli.video import Decoder


@dataclass(frozen=True)
class LearningData:
    """A dataset, split into training clips and held-out clips.

    reading: measured seconds to read a clip, 0 if not measured.
    """

    dataset: Dataset
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    reading: float = 0.0

    @property
    def of_task(self) -> Data:
        """Return the part that training needs."""
        return Data(dataset=self.dataset, train=self.train, val=self.val)


def read_learning_data(
    terms: Terms, decoder: Decoder, share: Share, listener: TrainingListener, *, labels: bool = True
) -> LearningData:
    """Read, split and check the data, and report what will be used. Raises DatasetError."""
    dataset = read_dataset(terms.data, labels=terms.labels, labels_required=labels, targets=terms.targets)
    train, val, rule = split_dataset(dataset, fraction=terms.val, seed=terms.seed)
    with listener.files(len(train) + len(val)) as on_file:
        # One process checks the files; the others receive its report.
        trying = decoder if terms.check and share.leads else None
        began = time.perf_counter()
        report = check_dataset(dataset, train, val, rule, decoder=trying, on_progress=on_file)
        reading = (time.perf_counter() - began) / (len(train) + len(val)) if trying is not None else 0.0
    report = share.gather(report)[0]
    for line in report.lines():
        listener.note(line)
    return LearningData(report.dataset, report.train, report.val, reading)

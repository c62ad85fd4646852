"""Data to learn from: read, split, tried, and said in a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from videomae_cli.cli import console
from videomae_cli.cli.training import Terms
from videomae_cli.datasets import Dataset, Example, check_dataset, read_dataset, split_dataset
from videomae_cli.video import Decoder

if TYPE_CHECKING:
    from videomae_cli.training import Data, Share


@dataclass(frozen=True)
class LearningData:
    """What is trained on and what is held out."""

    dataset: Dataset
    train: tuple[Example, ...]
    val: tuple[Example, ...]

    @property
    def of_task(self) -> Data:
        """As training has it."""
        from videomae_cli.training import Data

        return Data(dataset=self.dataset, train=self.train, val=self.val)


def read_learning_data(terms: Terms, decoder: Decoder, share: Share, *, labels: bool = True) -> LearningData:
    """Reads, splits and tries the data, and says what will be used. Raises DatasetError."""
    from videomae_cli.cli.display import consoles
    from videomae_cli.cli.progress import BatchProgress

    dataset = read_dataset(terms.data, labels=terms.labels, labels_required=labels, targets=terms.targets)
    train, val, rule = split_dataset(dataset, fraction=terms.val, seed=terms.seed)
    shown = BatchProgress(len(train) + len(val))
    with shown.shown(terms.progress if share.leads else "none", consoles()[1]):
        # One process tries the files; the others are told what it found.
        trying = decoder if terms.check and share.leads else None
        report = check_dataset(
            dataset,
            train,
            val,
            rule,
            decoder=trying,
            told=lambda path, error: shown.advance(path, views=error is None, failed=error is not None),
        )
    report = share.gather(report)[0]
    for line in report.lines():
        console.note(line)
    return LearningData(report.dataset, report.train, report.val)

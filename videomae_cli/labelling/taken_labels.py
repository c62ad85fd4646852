"""Takes up labels that exist: of a table, or of folders named for their classes, as `finetune` reads them."""

from __future__ import annotations

from collections.abc import Sequence

from videomae_cli.datasets import Example, read_dataset
from videomae_cli.errors import DatasetError
from videomae_cli.labelling.answers import Clip

_UNBOUNDED = float("inf")


class TakenLabels:
    """The labels of a dataset, by the place of their file. classes: its classes, in order. Raises DatasetError for data that
    can't be read, or with several labels a clip."""

    def __init__(self, source: str) -> None:
        dataset = read_dataset(source)
        if dataset.multi_label:
            raise DatasetError.about(source, "{subject} has clips with several labels, or none: here a clip has one")
        self.classes = dataset.classes
        self._examples: dict[str, list[Example]] = {}
        for example in dataset.examples:
            self._examples.setdefault(Clip(example.path).key[0], []).append(example)

    def of(self, clips: Sequence[Clip]) -> dict[int, str]:
        """Return the labels of those of the clips of a file that have one: a part of a film takes the label that covers half
        of it or more."""
        found: dict[int, str] = {}
        for place, clip in enumerate(clips):
            for example in self._examples.get(clip.key[0], ()):
                if example.start is None and example.end is None:
                    found[place] = example.labels[0]
                elif clip.start is not None and clip.end is not None:
                    start, end = example.start or 0.0, _UNBOUNDED if example.end is None else example.end
                    shared = min(end, clip.end) - max(start, clip.start)
                    if shared > 0 and shared >= 0.5 * (clip.end - clip.start):
                        found[place] = example.labels[0]
        return found

"""A classifier over held-out examples: probabilities, in order, whatever failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videomae_cli.datasets import Example
from videomae_cli.pipeline import Classifier, merge_views
from videomae_cli.training.distributed import Share
from videomae_cli.training.features import View


@dataclass(frozen=True)
class Scored:
    """scores: (N, classes) float64, a row of NaN for a file that failed."""

    scores: npt.NDArray[np.float64]

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """(N,) whether a row has scores."""
        return np.asarray(~np.isnan(self.scores).any(axis=1))

    @property
    def failed(self) -> int:
        return int((~self.there).sum())


def score(classifier: Classifier, examples: Sequence[Example], *, view: View, share: Share | None = None) -> Scored:
    """Probabilities of every example, in order, the processes of `share` each doing their part."""
    share = share or Share()
    mine = list(range(share.rank, len(examples), share.world))
    rows: dict[int, list[float]] = {}
    passed = view.through(classifier.logits, [examples[place] for place in mine])
    for place, one in zip(mine, passed, strict=True):
        if one.outputs is not None and bool(one.outputs.isfinite().all()):
            rows[place] = merge_views(one.outputs, multi_label=classifier.multi_label).tolist()
    scores = np.full((len(examples), classifier.model.config.num_labels), np.nan)
    for part in share.gather(rows):
        for place, row in part.items():
            scores[place] = row
    return Scored(scores)

"""Scores labelled examples with a classifier: probabilities or values, in order, and the errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videomae_cli.datasets import Example
from videomae_cli.errors import VideoMAEError, scores_not_numbers
from videomae_cli.pipeline import Classifier, merge_views
from videomae_cli.training.distributed import Share
from videomae_cli.training.features import View

# Called with (path, views, error or None) after each example.
OnClip = Callable[[str, int, VideoMAEError | None], None]


@dataclass(frozen=True)
class ScoredClips:
    """The scores of clips: (N, outputs) float64, a row of NaN for a clip that failed.

    views: (N,) number of views of each; errors: keyed by the clip's index.
    """

    scores: npt.NDArray[np.float64]
    views: npt.NDArray[np.int64]
    errors: dict[int, VideoMAEError]

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Return (N,) whether each clip has scores."""
        return np.asarray(~np.isnan(self.scores).any(axis=1))

    @property
    def failed(self) -> int:
        """Return how many clips have no scores."""
        return int((~self.valid).sum())


def score(
    classifier: Classifier,
    examples: Sequence[Example],
    *,
    view: View,
    share: Share | None = None,
    on_clip: OnClip = lambda path, views, error: None,
) -> ScoredClips:
    """Score every example as `classify` does, in order. The processes of `share` divide the work."""
    share = share or Share()
    mine = list(range(share.rank, len(examples), share.world))
    rows: dict[int, tuple[int, list[float] | VideoMAEError]] = {}
    passed = view.through(classifier.outputs, [examples[place] for place in mine])
    for place, one in zip(mine, passed, strict=True):
        made: list[float] | VideoMAEError
        if one.outputs is None:
            assert one.error is not None, "a file has outputs or an error"
            made = one.error
        elif not np.isfinite(one.outputs).all():
            made = scores_not_numbers(classifier.name)
        else:
            made = merge_views(one.outputs, problem_type=classifier.problem_type).tolist()
        rows[place] = (one.views, made)
        on_clip(one.path, one.views, made if isinstance(made, VideoMAEError) else None)
    scores = np.full((len(examples), classifier.config.num_labels), np.nan)
    views, errors = np.zeros(len(examples), dtype=np.int64), {}
    for part in share.gather(rows):
        for place, (count, made) in part.items():
            views[place] = count
            if isinstance(made, VideoMAEError):
                errors[place] = made
            else:
                scores[place] = made
    return ScoredClips(scores, views, errors)


def known_scores(scores: npt.NDArray[np.float64]) -> ScoredClips:
    """Wrap scores that were computed elsewhere; a row of NaN stands for an example without any."""
    return ScoredClips(scores, np.ones(len(scores), dtype=np.int64), {})

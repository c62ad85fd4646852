"""Makes timelines of vectors that were computed before: a classifier's last layer scores them, and nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import scores_not_numbers
from videomae_cli.pipeline.classify import Classifier, view_scores
from videomae_cli.pipeline.timeline import ScoredWindows, TimelineMaker
from videomae_cli.results import Failure, Source, Timeline
from videomae_cli.video import WindowGrid

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FilmFeatures:
    """The vectors (n, D) of one film's windows, as the classifier's last layer takes them.

    spans: (start, end) of each window in seconds; grid: how they lie, with the end of the part that they cover; error: why
    there are none; the other fields are empty then.
    """

    path: str
    vectors: Vectors | None = None
    spans: tuple[tuple[float, float], ...] = ()
    grid: WindowGrid | None = None
    source: Source | None = None
    error: Failure | None = None


@dataclass(frozen=True)
class FeatureTimelineMaker:
    """Makes timelines as `timelines` does, of vectors instead of films."""

    timelines: TimelineMaker

    def __call__(self, films: Iterable[FilmFeatures]) -> Iterator[Timeline]:
        """Yield one result per film, in order. If a film has no vectors, its result says why; nothing is raised."""
        weight, bias = _head(self.timelines.classifier)
        for film in films:
            if film.vectors is None or film.grid is None:
                assert film.error is not None
                yield self._failed(film.path, film.error)
                continue
            logits = film.vectors @ weight.T + bias  # (n, D) -> (n, L)
            if not np.isfinite(logits).all():
                yield self._failed(film.path, Failure.of(scores_not_numbers(self.timelines.classifier.name)))
                continue
            scores = view_scores(logits, problem_type=self.timelines.classifier.problem_type)
            scored = ScoredWindows(self.timelines.classifier, 0, list(film.spans), [scores])
            yield replace(self.timelines.result(film.path, film.grid, scored), source=film.source)

    def _failed(self, path: str, error: Failure) -> Timeline:
        classifier = self.timelines.classifier
        return Timeline(path=path, model=classifier.name, revision=classifier.revision, error=error)


def _head(classifier: Classifier) -> tuple[Vectors, Vectors]:
    """Return the weights (L, D) and biases (L,) of the last layer."""
    from torch import nn

    layer = classifier.loaded_model.classifier
    assert isinstance(layer, nn.Linear), "a model with labels has one"
    return layer.weight.detach().float().cpu().numpy(), layer.bias.detach().float().cpu().numpy()

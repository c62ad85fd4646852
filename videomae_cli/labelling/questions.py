"""Chooses the clip to ask about: the one most like clips that are uncertain and unlike all answered ones.

Uncertainty-weighted facility location (Wei, Iyer and Bilmes, "Submodularity in Data Subset Selection and Active Learning",
ICML 2015): with s the similarity of two clips (the squared cosine), u the uncertainty of one, and A the answered clips, the next
question is

    argmax  sum over j of  u(j) * max(0, s(i, j) - max over a in A of s(a, j))
       i

Without answers it is the most typical clip, then the most typical of what is unlike that (u = 1): one of each cluster before a
second of any. Uncertainty is one minus the margin between the two best classes (Scheffer et al. 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from videomae_cli.labelling.learner import Array, FeatureScale

# All pairs among so many clips, drawn at random from a larger pool, fit in 4 MB and take milliseconds a question.
SAMPLE = 1000
# A sample of which this share is answered is drawn anew.
_USED_UP = 0.25


class Questions:
    """The clips that may be asked about, and how similar they are. `draw` again when the pool has grown, or `used_up`."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self.places = np.zeros(0, np.int64)
        self._vectors = np.zeros((0, 1), np.float32)
        self._similar = np.zeros((0, 0), np.float32)
        self._gains = np.zeros((0, 0), np.float32)
        self._covered = np.zeros(0, np.float32)
        self._counted: set[int] = set()  # the answered clips that `_covered` takes into account
        self.pool = 0

    def draw(self, features: Array, scale: FeatureScale, free: np.ndarray) -> None:
        """Draw the sample. features: (N, D), of the pool; free: (N,), which clips have no answer."""
        open_places = np.flatnonzero(free)
        if len(open_places) > SAMPLE:
            open_places = np.sort(self._random.choice(open_places, SAMPLE, replace=False))
        self.places, self.pool = open_places, len(features)
        self._vectors = directions(features[open_places], scale)
        self._similar = _similarity(self._vectors, self._vectors)
        self._gains = np.empty_like(self._similar)
        self._forget()

    def used_up(self, free: np.ndarray) -> bool:
        """Return whether too much of the sample is answered, or the pool has grown by a quarter."""
        left = int(free[self.places].sum())
        return len(free) > 1.25 * self.pool or (left < (1 - _USED_UP) * len(self.places) and left < int(free.sum()))

    def _forget(self) -> None:
        self._covered, self._counted = np.zeros(len(self.places), np.float32), set()

    def cover(self, answered: Sequence[int], directions_of: Callable[[Sequence[int]], Array]) -> None:
        """Take answered clips into account. directions_of: their directions, by their places in the pool."""
        if not self._counted <= set(answered):
            self._forget()  # one was taken back
        if new := [number for number in answered if number not in self._counted]:
            self._covered = np.maximum(self._covered, _similarity(self._vectors, directions_of(new)).max(axis=1))
            self._counted.update(new)

    def next(self, margins: Array | None, allowed: np.ndarray) -> int | None:
        """Return the place in the pool of the clip to ask about, None if none is left.

        margins: (N,), between the two best classes, None before there are
        two classes; allowed: (N,), which clips may be asked about.
        """
        may = allowed[self.places]
        if not may.any():
            return None
        unsure = np.ones(len(self.places), np.float32) if margins is None else 1 - margins[self.places]
        np.subtract(self._similar, self._covered, out=self._gains)
        gain = np.maximum(self._gains, 0.0, out=self._gains) @ unsure
        return int(self.places[np.where(may, gain, -1.0).argmax()])


def _similarity(one: Array, other: Array) -> Array:
    """Return the squared cosines (n, m) of two sets of directions; 0 for negative ones: unlike is unlike."""
    return np.asarray(np.maximum(one @ other.T, 0.0) ** 2, np.float32)


def directions(features: Array, scale: FeatureScale) -> Array:
    """Return standardised features (N, D) as vectors of length 1."""
    vectors = scale(features)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def margins(chances: Array) -> Array:
    """Return the margins (N,) between the two best of the probabilities (N, C): 0 where the model can't decide."""
    if chances.shape[1] < 2:
        return np.zeros(len(chances), np.float32)
    best = np.partition(chances, chances.shape[1] - 2, axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0], np.float32)


def least_sure(chances: Array, places: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return places in the pool, least sure first."""
    places = np.asarray(places, np.int64)
    return places[np.argsort(margins(chances[places]), kind="stable")]

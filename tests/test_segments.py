"""Scores of windows -> segments: by properties, and against trying every sequence of labels."""

from __future__ import annotations

import math
from itertools import groupby, pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videomae_cli.errors import OptionError
from videomae_cli.segments import NO_LABEL, Curve, SegmentRules, Stretch, best_labels, find_segments, smoothed
from videomae_cli.video import WindowSpec

Scores = npt.NDArray[np.float64]


def windows_of(duration: float, window: float, hop: float) -> list[tuple[float, float]]:
    return list(WindowSpec(window=window, hop=hop).grid(fps=25, end=duration).spans())


def segments_of(
    scores: Any, *, duration: float, window: float = 2.0, hop: float = 1.0, independent: bool = False, **rules: float
) -> list[Stretch]:
    spans = windows_of(duration, window, hop)
    assert len(spans) == len(scores)
    return find_segments(
        spans,
        np.asarray(scores, np.float32),
        start=0.0,
        end=duration,
        window=window,
        hop=hop,
        rules=SegmentRules(**rules),
        independent=independent,
    )


@st.composite
def scored(draw: st.DrawFn) -> dict[str, Any]:
    """Some film, and some model's opinion of it."""
    window = draw(st.floats(0.5, 5))
    hop = draw(st.floats(0.2, 2.0)) * window
    duration = draw(st.floats(0.3, 40))
    labels = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = len(windows_of(duration, window, hop))
    scores = rng.dirichlet(np.full(labels, 0.3), count)
    return {"scores": scores, "duration": duration, "window": window, "hop": hop}


@given(
    scored(), st.sampled_from([0.0, 0.7, 3.0]), st.sampled_from([None, 0.0, 0.9, 4.0]), st.sampled_from([0.0, 0.4, 1.0])
)
@settings(max_examples=150)
def test_segments_tile_the_time(film: dict[str, Any], smooth: float, least: float | None, threshold: float) -> None:
    rules = {"smooth": smooth, "threshold": threshold} | ({} if least is None else {"min_duration": least})
    found = segments_of(**film, **rules)
    assert found[0].start == 0
    assert found[-1].end == pytest.approx(film["duration"])
    assert all(a.end == b.start and a.label != b.label for a, b in pairwise(found))
    shortest = film["window"] if least is None else least
    cell = film["hop"] / 4
    # The last one is made of whole cells but for the last, which takes what is left.
    assert len(found) == 1 or all(s.end - s.start >= shortest - 1e-6 for s in found[:-1])
    assert len(found) == 1 or found[-1].end - found[-1].start >= shortest - cell / 2 - 1e-6
    for segment in found:
        assert segment.start < segment.end
        if segment.label == NO_LABEL:
            assert math.isnan(segment.score)
            assert threshold > 0
        else:
            assert 0 <= segment.score <= 1 + 1e-6
            assert 0 <= segment.label < film["scores"].shape[1]


@given(scored(), st.sampled_from([0.0, 0.9]), st.sampled_from([0.2, 0.5]))
@settings(max_examples=80)
def test_independent_labels_have_segments_of_their_own(film: dict[str, Any], least: float, threshold: float) -> None:
    found = segments_of(**film, independent=True, min_duration=least, threshold=threshold)
    assert [s.start for s in found] == sorted(s.start for s in found)
    for label in {segment.label for segment in found}:
        own = [segment for segment in found if segment.label == label]
        assert all(a.end < b.start for a, b in pairwise(own))
        assert all(b.start - a.end >= least - 1e-6 for a, b in pairwise(own))
        assert all(s.end - s.start >= min(least, film["duration"]) - film["hop"] / 8 - 1e-6 for s in own)


@given(st.integers(1, 7), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32))
@settings(max_examples=80)
def test_no_sequence_of_labels_is_better(cells: int, labels: int, shortest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random((cells, labels))
    threshold = float(rng.random())
    # Windows as long as a cell, one beside the other, so that cells have the scores of windows.
    spans = [(k / 4, (k + 1) / 4) for k in range(cells)]
    curve = Curve(spans, scores, start=0, end=cells / 4, hop=1.0)
    assert curve.count == cells
    found = best_labels(curve, threshold=threshold, shortest=shortest).tolist()
    filled = np.column_stack([scores, np.full(cells, threshold)])

    def total(sequence: Any) -> float:
        return sum(filled[cell, label] for cell, label in enumerate(sequence))

    def allowed(sequence: Any) -> bool:
        runs = [len(list(run)) for _, run in groupby(sequence)]
        return len(runs) == 1 or min(runs) >= shortest

    best = max(total(s) for s in product(range(labels + 1), repeat=cells) if allowed(s))
    mine = [labels if label == NO_LABEL else label for label in found]
    assert allowed(mine)
    assert total(mine) == pytest.approx(best)


def test_a_change_lies_between_the_windows_that_disagree() -> None:
    scores = [[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 4  # windows from 0 to 2, 1 to 3, ..., 8 to 10
    first, second = segments_of(scores, duration=10.0)
    assert (first.label, second.label) == (0, 1)
    # The middles of the windows on either side are at 5 and 6.
    assert first.end == second.start == pytest.approx(5.5, abs=0.26)


def test_flicker_is_smoothed_away() -> None:
    scores = np.tile([0.9, 0.1], (20, 1))
    scores[7] = [0.1, 0.9]
    scores[13] = [0.2, 0.8]
    assert [s.label for s in segments_of(scores, duration=21.0)] == [0]
    assert len(segments_of(scores, duration=21.0, min_duration=0.0)) == 5
    assert [s.label for s in segments_of(scores, duration=21.0, min_duration=0.0, smooth=4.0)] == [0]


def test_what_is_below_the_threshold_has_no_label() -> None:
    scores = np.concatenate([np.tile([0.9, 0.1], (8, 1)), np.tile([0.3, 0.28], (8, 1)), np.tile([0.1, 0.9], (8, 1))])
    found = segments_of(scores, duration=25.0, threshold=0.5)
    assert [s.label for s in found] == [0, NO_LABEL, 1]
    assert [s.label for s in segments_of(scores, duration=25.0)] == [0, 1]


def test_independent_labels_may_hold_at_once() -> None:
    scores = np.zeros((10, 3))
    scores[:6, 0] = 0.9
    scores[3:, 1] = 0.8
    first, second = segments_of(scores, duration=11.0, independent=True)
    assert (first.label, second.label) == (0, 1)
    assert first.start == 0
    assert second.start < first.end
    assert second.end == 11


def test_time_that_no_window_covers_takes_the_nearest() -> None:
    # Windows of a second every four: from 0, 4, 8 and 9, the last at the end.
    found = segments_of([[1, 0], [0, 1], [0, 1], [0, 1]], duration=10.0, window=1.0, hop=4.0)
    assert [(s.start, s.end, s.label) for s in found] == [(0, 3.0, 0), (3.0, 10.0, 1)] or found[0].end in (2.0, 3.0)
    assert found[-1].end == 10


def test_smoothing_is_a_mean_over_neighbours() -> None:
    scores = np.array([[1.0], [0.0], [0.0], [1.0]])
    assert smoothed(scores, reach=0) is scores
    assert smoothed(scores, reach=1)[:, 0] == pytest.approx([1 / 2, 1 / 3, 1 / 3, 1 / 2])


@pytest.mark.parametrize("rules", [{"smooth": -1.0}, {"min_duration": math.nan}, {"threshold": 1.5}])
def test_nonsense_is_refused(rules: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        SegmentRules(**rules)

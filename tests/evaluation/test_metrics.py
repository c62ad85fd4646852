"""Every figure against scikit-learn, and against numbers worked out by hand where it has none."""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from videomae_cli.errors import ModelOutputError
from videomae_cli.evaluation import measure, measure_labels
from videomae_cli.evaluation.metrics import BINS, average_precision, calibration, wilson

Array = npt.NDArray[np.float64]
Drawn = tuple[Array, npt.NDArray[np.int64]]


@st.composite
def single(draw: st.DrawFn) -> Drawn:
    """Probabilities without ties, and the truth, of which some classes may have no example."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, classes = draw(st.integers(1, 60)), draw(st.integers(2, 12))
    scores = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.2, 1.0, 5.0]))), count)
    truth = rng.integers(0, draw(st.integers(1, classes)), count)
    helped = rng.random(count) < 0.5
    scores[helped] = (scores[helped] + np.eye(classes)[truth[helped]]) / 2
    return scores, truth


@st.composite
def several(draw: st.DrawFn) -> tuple[Array, npt.NDArray[np.float32]]:
    """Probabilities of each label by itself, full of ties, and what is true: perhaps nothing of a class, or of a clip."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, classes = draw(st.integers(1, 40)), draw(st.integers(2, 8))
    scores = rng.random((count, classes)).round(draw(st.integers(1, 3)))
    return scores, (rng.random((count, classes)) < draw(st.sampled_from([0.05, 0.4, 0.9]))).astype(np.float32)


@given(single())
@settings(max_examples=30)
def test_figures_of_single_labels_are_those_of_scikit_learn(drawn: Drawn) -> None:
    scores, truth = drawn
    classes = list(range(scores.shape[1]))
    said = scores.argmax(axis=1)
    m = measure(scores, truth)
    assert m.count == len(truth)
    assert m.top1 == pytest.approx(theirs.accuracy_score(truth, said))
    assert (m.confusion == theirs.confusion_matrix(truth, said, labels=classes)).all()
    assert m.nll == pytest.approx(theirs.log_loss(truth, scores, labels=classes), rel=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are said and never true
        assert m.mean_class == pytest.approx(theirs.balanced_accuracy_score(truth, said))
    if len(classes) > 5:
        assert m.top5 == pytest.approx(theirs.top_k_accuracy_score(truth, scores, k=5, labels=classes))
    else:
        assert m.top5 == 1
    by_class = theirs.precision_recall_fscore_support(truth, said, labels=classes, zero_division=np.nan)
    for ours, precision, recall, f1, support in zip(m.classes, *by_class, strict=True):
        assert ours.support == support
        for mine, other in ((ours.precision, precision), (ours.recall, recall), (ours.f1, f1)):
            assert (mine is None) == bool(np.isnan(other))
            assert mine is None or mine == pytest.approx(other)


@given(single())
@settings(max_examples=30)
def test_the_brier_score_is_that_of_scikit_learn(drawn: Drawn) -> None:
    scores, truth = drawn
    each = [((truth == c), scores[:, c]) for c in range(scores.shape[1])]
    expected = sum(theirs.brier_score_loss(true, score, pos_label=1) for true, score in each)
    assert measure(scores, truth).brier == pytest.approx(expected)


@given(several())
@settings(max_examples=30)
def test_figures_of_several_labels_are_those_of_scikit_learn(drawn: tuple[Array, npt.NDArray[np.float32]]) -> None:
    scores, targets = drawn
    truth, said = targets.astype(int), (scores >= 0.5).astype(int)
    m = measure_labels(scores, targets)
    assert m.micro_f1 == pytest.approx(theirs.f1_score(truth, said, average="micro", zero_division=0))
    assert m.macro_f1 == pytest.approx(theirs.f1_score(truth, said, average="macro", zero_division=0))
    assert m.exact == pytest.approx(theirs.accuracy_score(truth, said))
    assert m.hamming == pytest.approx(theirs.hamming_loss(truth, said))
    there = truth.any(axis=0)
    assert [p is not None for p in m.average_precision] == there.tolist()
    if there.any():
        expected = theirs.average_precision_score(truth[:, there], scores[:, there], average="macro")
        assert m.mean_ap == pytest.approx(expected)
    else:
        assert m.mean_ap == 0
    losses = [theirs.log_loss(truth[:, c], scores[:, c], labels=[0, 1]) for c in range(truth.shape[1])]
    assert m.nll == pytest.approx(np.mean(losses), rel=1e-9)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30))
def test_average_precision_with_ties_is_that_of_scikit_learn_in_any_order(pairs: list[tuple[float, bool]]) -> None:
    scores, truth = np.array([score for score, _ in pairs]), np.array([true for _, true in pairs])
    ours = average_precision(scores, truth)
    if not truth.any():
        assert ours is None
        return
    assert ours == pytest.approx(theirs.average_precision_score(truth, scores))
    assert ours == pytest.approx(average_precision(scores[::-1], truth[::-1]))


def test_classes_without_examples_have_no_recall_and_do_not_count_in_the_mean() -> None:
    scores = np.array([[0.8, 0.1, 0.1, 0.0], [0.6, 0.3, 0.1, 0.0], [0.1, 0.2, 0.7, 0.0]])
    m = measure(scores, np.array([0, 1, 1]))
    assert m.mean_class == pytest.approx((1 + 0) / 2)
    zero, one, two, three = m.classes
    assert (zero.precision, zero.recall, zero.support) == (0.5, 1.0, 1)
    assert (one.precision, one.recall, one.f1, one.support) == (None, 0.0, 0.0, 2)
    assert (two.precision, two.recall, two.f1, two.support) == (0.0, None, 0.0, 0)
    assert (three.precision, three.recall, three.f1, three.support) == (None, None, None, 0)


def test_one_example_is_enough() -> None:
    m = measure(np.array([[0.25, 0.75]]), np.array([1]))
    assert (m.count, m.top1, m.top5, m.mean_class) == (1, 1, 1, 1)
    assert m.nll == pytest.approx(-math.log(0.75))
    assert m.brier == pytest.approx(2 * 0.25**2)
    several = measure_labels(np.array([[0.25, 0.75]]), np.array([[0, 1]], dtype=np.float32))
    assert (several.mean_ap, several.exact, several.hamming, several.micro_f1) == (1, 1, 0, 1)


def test_equal_scores_go_to_the_first_class_and_count_against_the_others_in_top_5() -> None:
    even = np.full((8, 8), 1 / 8)
    m = measure(even, np.arange(8))
    assert m.top1 == 1 / 8
    assert (m.confusion[:, 0] == 1).all()
    assert m.top5 == 1 / 8, "all eight score the same: only what was said is right"
    leading = np.array([[0.2, 0.2, 0.2, 0.2, 0.1, 0.1, 0.0]])
    assert [measure(leading, np.array([c])).top5 for c in range(7)] == [1, 1, 1, 1, 0, 0, 0]


def test_a_true_class_with_no_probability_costs_much_and_not_everything() -> None:
    m = measure(np.array([[1.0, 0.0]]), np.array([1]))
    assert m.nll == pytest.approx(36.04365338911715)  # as scikit-learn's log_loss has it
    assert math.isfinite(measure_labels(np.array([[1.0, 0.0]]), np.array([[0, 1]], dtype=np.float32)).nll)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ModelOutputError, match="not numbers"):
        measure(np.array([[0.5, 0.5], [bad, 0.5]]), np.array([0, 1]))
    with pytest.raises(ModelOutputError, match="not numbers"):
        measure_labels(np.array([[0.5, bad]]), np.array([[0, 1]], dtype=np.float32))


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ModelOutputError, match="no scores"):
        measure(np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    with pytest.raises(ModelOutputError, match="no scores"):
        measure_labels(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.float32))


def test_the_interval_is_wilsons() -> None:
    # Newcombe (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20 and 1 of 29, as printed there.
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (right, count), (low, high) in published.items():
        assert wilson(right, count) == pytest.approx((low, high), abs=6e-5)
    # By the formula with z = 1.96 and everything right: n / (n + z²) to 1.
    assert wilson(10, 10) == pytest.approx((10 / (10 + 1.959964**2), 1.0), abs=1e-6)


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_share_and_mirrors(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    low, high = wilson(right, count)
    assert 0 <= low <= right / count + 1e-12
    assert right / count - 1e-12 <= high <= 1
    assert wilson(count - right, count) == pytest.approx((1 - high, 1 - low))


def test_the_calibration_error_by_hand() -> None:
    # Two clips at 0.9, one right: off by 0.4. Two at 0.5, both right: off by 0.5. Half the clips each.
    c = calibration(np.array([0.9, 0.9, 0.5, 0.5]), np.array([True, False, True, True]))
    assert c.error == pytest.approx(0.5 * 0.4 + 0.5 * 0.5)
    filled = {place: one for place, one in enumerate(c.bins) if one[2]}
    assert filled == {7: pytest.approx((0.5, 1.0, 2)), 13: pytest.approx((0.9, 0.5, 2))}
    assert len(c.bins) == BINS
    assert all(one == (None, None, 0) for place, one in enumerate(c.bins) if place not in filled)


def test_confidences_at_the_edges_have_a_bin() -> None:
    c = calibration(np.array([0.0, 1 / 15, 1.0]), np.array([False, False, True]))
    assert [number for _, _, number in c.bins] == [2, *[0] * 13, 1]
    assert c.error == pytest.approx((1 / 15) / 3)


def test_measured_calibration_is_of_what_was_said() -> None:
    m = measure(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1]))
    assert m.calibration.error == pytest.approx(0.4)


def test_the_numbers_have_the_names_of_the_document() -> None:
    m = measure(np.array([[0.9, 0.1]]), np.array([0]))
    names = "count top1 top1_interval top5 mean_class_accuracy calibration_error nll brier"
    assert list(m.as_dict()) == names.split()
    several = measure_labels(np.array([[0.9, 0.1]]), np.array([[1, 0]], dtype=np.float32))
    assert list(several.as_dict()) == ["count", "mAP", "micro_f1", "macro_f1", "exact_match", "hamming_loss", "nll"]


def test_certain_scores_have_the_loss_that_scikit_learn_gives_them() -> None:
    """No infinity where they are wrong, and no -0.0 where all are right."""
    truth, right = np.array([0, 1, 1]), np.eye(2)[[0, 1, 1]]
    for scores in (right, 1 - right, np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])):
        loss = measure(scores, truth).nll
        assert loss == pytest.approx(theirs.log_loss(truth, scores), rel=1e-9, abs=1e-300)
        assert not math.copysign(1.0, loss) < 0
        several = measure_labels(scores, np.eye(2, dtype=np.float32)[truth]).nll
        assert several == pytest.approx(loss, rel=1e-9)
        assert not math.copysign(1.0, several) < 0
    assert measure(1 - right, truth).nll == pytest.approx(36.04365338911715)

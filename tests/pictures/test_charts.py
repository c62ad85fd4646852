"""Charts: they decode, they fit, and the matrix is drawn where it belongs."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from videomae_cli.pictures import charts
from videomae_cli.pictures.charts import confusion_chart, penalty_curve, reliability_chart, training_curves

HOSTILE = ["pays $5 & $x^2_{", "$\\frac{$", "滑雪", "a\x00b\x1b[2J\n\u202ec", "x" * 500, "", "end\\", "%s {0} \udce9"]
STEPS = [{"event": "step", "step": n, "loss": 2.0 * math.exp(-n / 30)} for n in range(60)]
EPOCHS = [
    {"event": "epoch", "step": n, "train_loss": 1.0, "val_loss": 1.5, "top1": 0.5, "top5": 0.9} for n in (20, 40, 60)
]


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """A letter that no font has, a layout that does not fit: matplotlib says it in a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def picture(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def names(count: int) -> list[str]:
    return (HOSTILE + [f"class number {n}" for n in range(count)])[:count]


def matrix_in(pixels: np.ndarray, count: int) -> np.ndarray:
    """How dark the cells are, 0 to 1: found by the frame that is drawn around all of them."""
    frame = np.abs(pixels - [0x8A, 0x8F, 0x98]).max(axis=2) < 40
    rows = np.flatnonzero(frame.mean(axis=1) > 0.3)
    columns = np.flatnonzero(frame.mean(axis=0) > 0.3)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    assert bottom - top == pytest.approx(right - left, abs=2), "it is a square"
    ys = top + (bottom - top) * (np.arange(count) + 0.15) / count
    xs = left + (right - left) * (np.arange(count) + 0.15) / count
    # A corner of each cell: in the middle is its number.
    return 1 - pixels[np.ix_(ys.round().astype(int), xs.round().astype(int))][..., 0] / 255


@pytest.mark.parametrize("count", [2, 9, 30, 174])
def test_cells_are_dark_where_the_matrix_is(count: int) -> None:
    matrix = np.zeros((count, count), dtype=np.int64)
    said = np.random.default_rng(count).permutation(count)
    matrix[np.arange(count), said] = 7
    matrix[1] = 0  # a class without examples is a row without colour
    pixels = picture(confusion_chart(matrix, names(count)))
    dark = matrix_in(pixels, count) > 0.5
    assert (dark == (matrix > 0)).all()
    assert min(pixels.shape[:2]) > 300
    assert max(pixels.shape[:2]) < 2200


def test_rows_are_shares_of_their_class() -> None:
    matrix = np.array([[1, 1, 2], [100, 0, 0], [0, 30, 10]])
    dark = matrix_in(picture(confusion_chart(matrix, ["a", "b", "c"])), 3)
    assert dark[1, 0] > dark[2, 1] > dark[0, 2] > dark[0, 0] > dark[1, 1]
    assert dark[0, 2] > dark[2, 2], "half of four is more than a quarter of forty"
    assert dark[0, 0] == pytest.approx(dark[2, 2])


@pytest.mark.parametrize("count", [2, 9, 81])
def test_nothing_is_cut_off_at_the_edges(count: int) -> None:
    long = [f"{'W' * 40} {n}" for n in range(count)]
    pixels = picture(confusion_chart(np.full((count, count), 123456), long))
    for edge in (pixels[:8], pixels[-8:], pixels[:, :8], pixels[:, -8:]):
        assert (edge == 255).all()


@pytest.mark.parametrize("count", [10, 100, 174])
def test_names_beside_the_matrix_do_not_overlap_and_missing_ones_are_told(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(charts, "_png", lambda figure, axes, **how: figures.append(figure) or b"")
    confusion_chart(np.eye(count, dtype=np.int64), [f"{'W' * 40} {n}" for n in range(count)])
    axes = figures[0].axes[0]
    axes.get_tightbbox()  # puts the names where they will be drawn
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    across, down = ([label.get_window_extent() for label in axis.get_ticklabels()] for axis in (axes.xaxis, axes.yaxis))
    named = len(across)
    assert len(down) == named >= min(count, 51)
    assert all(left.x1 <= right.x0 for left, right in pairwise(across))
    assert all(above.y0 >= below.y1 for above, below in pairwise(down))
    told = axes.get_title(loc="left")
    assert told == (f"{count} classes, one in {-(-count // named)} of them named" if named < count else "")


def test_one_class_that_was_all_there_is() -> None:
    assert matrix_in(picture(confusion_chart(np.array([[5]]), ["only"])), 1)[0, 0] > 0.9


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("pan left", "pan left"),
        ("$x$", "$x$"),
        ("a\x00b\n\u202ec", r"a\x00b\n\u202ec"),
        ("\x00\x01", r"\x00\x01"),
        ("", ""),
        ("\U000e0041", r"\U000e0041"),
        ("\U00013000\U00013001", "class 3"),
        ("Putting something similar to other things", "Putting somet…to other things"),
        ("Putting something similar to other cups", "Putting someth…o other cups"),
    ],
)
def test_names_are_shown_as_far_as_they_can_be(name: str, shown: str) -> None:
    short = charts._short(name, 3)
    assert len(short) <= 28
    if len(name) <= 28:
        assert short == shown
    else:
        first, last = short.split("…")
        assert name.startswith(first)
        assert name.endswith(last)
        assert min(len(first), len(last)) > 8


def coloured(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere(np.abs(pixels - colour).max(axis=2) < 12)


BLUE, ORANGE, GREY = (0x2A, 0x6F, 0xBB), (0xD9, 0x77, 0x2B), (0x8A, 0x8F, 0x98)


@pytest.mark.parametrize(
    ("events", "right", "held_out"),
    [
        (STEPS, False, False),
        (STEPS[:1], False, False),
        (STEPS + EPOCHS, True, True),
        (STEPS[:1] + EPOCHS[:1], True, True),
        ([*STEPS, {"event": "epoch", "step": 60, "train_loss": 0.3}], False, False),
        ([*STEPS, {"event": "epoch", "step": 60, "val_loss": 0.3, "mAP": 0.7, "micro_f1": 0.6}], True, True),
        ([*STEPS, {"event": "epoch", "step": 60, "val_loss": None, "top1": None}], False, False),
    ],
    ids=["steps", "one step", "epochs", "one epoch", "none held out", "several labels", "nothing could be read"],
)
def test_training_curves(events: list[dict[str, Any]], right: bool, held_out: bool) -> None:
    pixels = picture(training_curves(events))
    height, width = pixels.shape[:2]
    assert 400 < height < 500
    assert 1000 < width < 1100
    assert len(coloured(pixels, BLUE)) > 20, "the training loss can be seen, even of one step"
    middle = width // 2
    orange = coloured(pixels, ORANGE)[:, 1]
    assert (orange < middle).any() == held_out
    assert (orange > middle).any() == right
    if not right:
        axis = (pixels < 40).all(axis=2).any(axis=0)
        assert axis[middle - 100 : middle + 100].all(), "one chart over the whole width"


def test_no_events_make_an_empty_chart() -> None:
    assert len(coloured(picture(training_curves([])), BLUE)) == 0


def test_legends_hide_no_curve_and_axes_have_no_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def keep(figure: Any, axes: Any, **how: Any) -> bytes:
        figure.canvas.draw()
        seen.extend(axes)
        return b""

    monkeypatch.setattr(charts, "_png", keep)
    steps = [{"event": "step", "step": 10**6 * n, "loss": 1.6094 + n * 1e-7} for n in range(9)]
    epochs = [{**event, "step": 10**6 * place, "val_loss": 1.6095} for place, event in enumerate(EPOCHS, 1)]
    training_curves(steps + epochs)
    penalty_curve([{**event, "event": "probe", "strength": 10.0**n} for n, event in enumerate(epochs)])
    assert [axes.get_legend() is not None for axes in seen] == [True, True, True, False]
    for axes in seen:
        assert axes.yaxis.get_offset_text().get_text() == axes.xaxis.get_offset_text().get_text() == ""
        if axes.get_legend() is not None:
            legend, title = axes.get_legend().get_window_extent(), axes._left_title.get_window_extent()
            assert legend.y0 >= axes.get_window_extent().y1 - 4, "above the axes"
            assert legend.x0 > title.x1, "beside the title"


def test_a_falling_loss_falls() -> None:
    blue = coloured(picture(training_curves(STEPS)), BLUE)
    assert blue[blue[:, 1].argmin(), 0] < blue[blue[:, 1].argmax(), 0]


def test_the_penalty_curve_shows_the_best_strength_highest() -> None:
    tried = [
        {"event": "probe", "strength": 10.0**-n, "train_loss": 0.1 * n, "val_loss": 0.5, "top1": 0.9 - 0.2 * abs(n - 2)}
        for n in range(5)
    ]
    pixels = picture(penalty_curve(tried))
    middle = pixels.shape[1] // 2
    score = coloured(pixels, ORANGE)
    score = score[score[:, 1] > middle]
    top = score[score[:, 0].argmin(), 1]
    assert abs(top - (score[:, 1].min() + score[:, 1].max()) / 2) < 12, "10^-2 lies in the middle of 10^-4 to 1"
    several = picture(penalty_curve([{**e, "mAP": e["top1"], "top1": None} for e in tried]))
    assert (coloured(several, ORANGE)[:, 1] > middle).any()


def test_a_penalty_without_held_out_clips_has_the_loss_alone() -> None:
    pixels = picture(penalty_curve([{"event": "probe", "strength": 0.1, "train_loss": 0.2}]))
    assert len(coloured(pixels, BLUE)) > 20
    assert len(coloured(pixels, ORANGE)) == 0


def test_bars_of_reliability_are_as_high_as_the_accuracy() -> None:
    bins: list[tuple[float | None, float | None, int]] = [(None, None, 0)] * 15
    bins[3], bins[12] = (0.22, 0.25, 10), (0.84, 0.75, 10)
    pixels = picture(reliability_chart(bins, 0.05))
    assert 500 < pixels.shape[0] < 650
    blue = coloured(pixels, BLUE)
    middle = pixels.shape[1] // 2
    low, high = blue[blue[:, 1] < middle], blue[blue[:, 1] > middle]
    bottom = blue[:, 0].max()
    assert (bottom - high[:, 0].min()) / (bottom - low[:, 0].min()) == pytest.approx(3, abs=0.1)


def test_a_picture_does_not_say_when_or_with_what_it_was_made() -> None:
    first, second = (confusion_chart(np.eye(2, dtype=np.int64), ["a", "b"]) for _ in range(2))
    assert first == second
    with Image.open(io.BytesIO(first)) as image:
        assert "Software" not in image.info

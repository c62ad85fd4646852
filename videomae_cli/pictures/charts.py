"""Draws charts of training, confusion, predictions and calibration with matplotlib, as PNG bytes.

Figures are created directly, not through pyplot, which keeps global state and looks for a display.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from videomae_cli.pictures.picture_files import SOURCE
from videomae_cli.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Event = Mapping[str, Any]

_DPI = 130
_BLUE, _ORANGE, _GREY = "#2a6fbb", "#d9772b", "#8a8f98"

# Confusion matrices with at most this many classes show counts in the cells, and with at most this many name every
# class rather than only every second, third, ...
_NUMBERED, _NAMED = 30, 100
_LARGEST = 12.75  # inches: so high that 100 names in 7 points don't touch
# The main metric of a training run, by its name in metrics.jsonl -> its name in the chart.
_SCORES = {"top1": "top-1", "mAP": "mAP", "r2": "R²"}
_MOST_OUTPUTS = 9
_NAME_LENGTH = 28
# Fallbacks, if installed, for characters that matplotlib's own font lacks.
_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Arial Unicode MS",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)


def training_curves(events: Sequence[Event]) -> bytes:
    """Plot losses and the held-out score over steps, from the lines of a metrics.jsonl."""
    steps = [e for e in events if e.get("event") == "step"]
    epochs = [e for e in events if e.get("event") == "epoch"]
    score = next((name for name in _SCORES if any(e.get(name) is not None for e in epochs)), None)
    figure = _figure(8.0, 3.4)
    axes = figure.subplots(1, 2 if score else 1, squeeze=False, sharex=True)[0]
    left = axes[0]
    _curve(left, steps, "loss", _BLUE, "training")
    _title(left, "loss", legend=_curve(left, epochs, "val_loss", _ORANGE, "held out"))
    left.set(xlabel="step")
    left.xaxis.get_major_locator().set_params(integer=True)
    if score:
        right = axes[1]
        _curve(right, epochs, score, _ORANGE, _SCORES[score])
        _curve(right, epochs, "top5", _GREY, "top-5")
        _title(right, "on held-out clips", legend=True)
        right.set(xlabel="step", ylim=(_least(epochs, score), 1.02))
    return _png(figure, axes)


def penalty_curve(events: Sequence[Event]) -> bytes:
    """Plot the loss, and the held-out score if there is one, over the strength of a linear probe's L2 penalty."""
    tried = [e for e in events if e.get("event") == "probe"]
    score = next((name for name in _SCORES if any(e.get(name) is not None for e in tried)), None)
    figure = _figure(8.0, 3.4)
    axes = figure.subplots(1, 2 if score else 1, squeeze=False)[0]
    _curve(axes[0], tried, "train_loss", _BLUE, "training", over="strength", marker="o")
    _curve(axes[0], tried, "val_loss", _ORANGE, "held out", over="strength", marker="o")
    _title(axes[0], "loss", legend=True)
    if score:
        _curve(axes[1], tried, score, _ORANGE, score, over="strength", marker="o")
        _title(axes[1], f"{_SCORES[score]} on held-out clips", legend=False)
        axes[1].set(ylim=(_least(tried, score), 1.02))
    for one in axes:
        one.set(xlabel="L2 penalty", xscale="log")
    return _png(figure, axes)


def confusion_chart(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """Draw a confusion matrix (C, C), rows true and columns predicted, coloured by the fraction of each row."""
    count = len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # The matrix has a fixed size in inches. Names may extend beyond the figure: the picture is cropped to what is
    # drawn.
    cell = min(1.2, max(0.34, 3.4 / count)) if count <= _NUMBERED else min(_LARGEST, max(10.2, 0.17 * count)) / count
    side = cell * count if count <= _NAMED else _LARGEST
    figure = _figure(side + 1, side + 1, layout=None)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.5 / width, 0.5 / height, side / width, side / height))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlabel="predicted", ylabel="true")
    step = -(-count // _NAMED)
    shown = range(0, count, step)
    if step > 1:
        axes.set_title(f"{count} classes, one in {step} of them named", loc="left", fontsize=9, color="#555")
    names = [_short(classes[place], place) for place in shown]
    size = 9 if cell >= 0.3 else 7
    wide = max(map(len, names)) * size * 0.6 / 72 > side / count
    font: dict[str, Any] = {"fontsize": size, "fontfamily": _fonts(), "parse_math": False}
    axes.set_xticks(shown, names, rotation=90 if wide else 0, **font)
    axes.set_yticks(shown, names, **font)
    if count <= _NUMBERED:
        for true, said in zip(*np.nonzero(matrix), strict=True):
            colour, number = "white" if shares[true, said] > 0.45 else "#222", str(matrix[true, said])
            fitting = min(9.0, 0.85 * 72 * cell / (0.62 * len(number)))
            axes.text(said, true, number, ha="center", va="center", color=colour, fontsize=fitting)
    for edge in axes.spines.values():
        edge.set(visible=True, color=_GREY, lw=0.5)
    axes.tick_params(length=2 if step > 1 else 0, color=_GREY)
    beside = figure.add_axes(((0.5 + side + 0.15) / width, 0.5 / height, 0.16 / width, side / height))
    bar = figure.colorbar(image, cax=beside)
    bar.outline.set_visible(False)
    bar.set_label("share of the true class")
    return _png(figure, (), tight=True)


def scatter_chart(truth: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64], outputs: Sequence[str]) -> bytes:
    """Plot predicted over true values (N, outputs), one panel per output, with the diagonal."""
    shown = min(len(outputs), _MOST_OUTPUTS)
    columns = min(shown, 3)
    rows = -(-shown // columns)
    figure = _figure(4.2 * columns + 0.4, 4.0 * rows + 0.2)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for place, axes in enumerate(panels):
        if place >= shown:
            axes.set_visible(False)
            continue
        x, y = truth[:, place], predicted[:, place]
        ends = [float(x.min()), float(x.max())]
        axes.plot(ends, ends, color=_GREY, lw=1, ls="--")
        axes.scatter(x, y, s=14, color=_BLUE, alpha=0.6, linewidths=0)
        axes.set(xlabel="true", ylabel="predicted")
        axes.set_title(_short(outputs[place], place, "output"), fontfamily=_fonts(), parse_math=False)
    return _png(figure, panels)


def reliability_chart(bins: Sequence[tuple[float | None, float | None, int]], error: float) -> bytes:
    """Draw a reliability diagram from (confidence, accuracy, examples) of each bin, with the diagonal."""
    figure = _figure(4.6, 4.4)
    axes = figure.subplots()
    width = 1 / len(bins)
    most = max((number for _, _, number in bins), default=0) or 1
    for place, (_, accuracy, number) in enumerate(bins):
        if accuracy is not None:
            axes.bar((place + 0.5) * width, accuracy, width * 0.92, color=_BLUE, alpha=0.25 + 0.75 * number / most)
    axes.plot([0, 1], [0, 1], color=_GREY, lw=1, ls="--")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence (darker: more clips)", ylabel="accuracy")
    axes.set_title(f"calibration error {error:.1%}")
    return _png(figure, (axes,))


def _curve(
    axes: Axes, events: Sequence[Event], name: str, colour: str, label: str, *, over: str = "step", marker: str = ""
) -> bool:
    """Plot the events' values of `name` as a line, or as points if they are few; return whether there are any."""
    known = [e for e in events if e.get(name) is not None]
    if known:
        marker = marker or ("o" if len(known) < 3 else "")
        axes.plot([e[over] for e in known], [e[name] for e in known], color=colour, lw=1.5, marker=marker, label=label)
    return bool(known)


def _title(axes: Axes, title: str, *, legend: bool) -> None:
    """Put a title, and to its right a legend of the curves, above the axes, where neither hides a curve.

    The numbers along the axes are whole, not differences from an offset.
    """
    axes.set_title(title, loc="left", fontsize=11)
    if legend:
        place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}
        axes.legend(frameon=False, ncols=2, fontsize=9, columnspacing=1.2, handlelength=1.5, **place)
    axes.ticklabel_format(useOffset=False)
    axes.ticklabel_format(axis="x", style="plain")


def _least(events: Sequence[Event], score: str) -> float:
    """Return the lower end of a score's axis: 0, or for a negative R² its minimum, but not below -1."""
    if score != "r2":
        return 0.0
    least = min(float(e[score]) for e in events if e.get(score) is not None)
    return max(-1.0, min(0.0, least - 0.02))


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Create a figure of `width` by `height` inches."""
    # otherwise matplotlib reports on stderr that it builds its font cache
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout, dpi=_DPI)


def _png(figure: Figure, axes: Sequence[Axes], *, tight: bool = False) -> bytes:
    """Render a figure to PNG bytes. tight: crop to what is drawn, even beyond the figure's edges."""
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25)
        one.set_axisbelow(True)
    out = io.BytesIO()
    box = "tight" if tight else None
    figure.savefig(
        out, format="png", dpi=_DPI, bbox_inches=box, pad_inches=0.12, metadata={"Software": None, "Source": SOURCE}
    )
    return out.getvalue()


def _short(name: str, number: int, kind: str = "class") -> str:
    """Shorten a name to fit, with "?" for undrawable characters; if none is left, return its number instead."""
    shown = "".join(c if _drawable(c) else "?" for c in visible(name))
    if name and not any(c.isalnum() for c in shown):
        return f"{kind} {number}"
    if len(shown) <= _NAME_LENGTH:
        return shown
    half = _NAME_LENGTH // 2
    # keep both ends of the name: many names differ only at their end
    return f"{shown[:half].rstrip()}…{shown[1 - half :].lstrip()}"


@cache
def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FONTS if name in known)]


@cache
def _drawable(character: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return any(get_font(findfont(FontProperties(family=name))).get_char_index(ord(character)) for name in _fonts())

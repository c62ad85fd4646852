"""Charts as PNG bytes, drawn by matplotlib: how training went, what is taken for what, how far confidence can be trusted.

Figures are made by themselves, never through pyplot, which keeps state and wants a screen.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Event = Mapping[str, Any]

_DPI = 130
_BLUE, _ORANGE, _GREY = "#2a6fbb", "#d9772b", "#8a8f98"

# Up to so many classes each cell shows its number, and each class its name.
_NUMBERED, _NAMED = 30, 80
_NAME_LENGTH = 22


def training_curves(events: Sequence[Event]) -> bytes:
    """Losses over steps, and the score on held-out clips, of the lines of a metrics.jsonl."""
    steps = [e for e in events if e.get("event") == "step"]
    epochs = [e for e in events if e.get("event") == "epoch"]
    score = next((name for name in ("top1", "mAP") if any(name in e for e in epochs)), None)
    figure = _figure(8.0, 3.4)
    axes = figure.subplots(1, 2 if score else 1, squeeze=False)[0]
    left = axes[0]
    left.plot([e["step"] for e in steps], [e["loss"] for e in steps], color=_BLUE, lw=1.5, label="training")
    held_out = [e for e in epochs if e.get("val_loss") is not None]
    if held_out:
        marker = "o" if len(held_out) < 3 else None
        xs, ys = [e["step"] for e in held_out], [e["val_loss"] for e in held_out]
        left.plot(xs, ys, color=_ORANGE, lw=1.5, marker=marker, label="held out")
        left.legend(frameon=False)
    left.set(title="loss", xlabel="step")
    if score:
        right = axes[1]
        names = {"top1": "top-1", "top5": "top-5", "mAP": "mAP"}
        for name, colour in ((score, _ORANGE), ("top5", _GREY)):
            there = [e for e in epochs if e.get(name) is not None]
            if there:
                marker = "o" if len(there) < 3 else None
                right.plot(
                    [e["step"] for e in there], [e[name] for e in there], color=colour, marker=marker, label=names[name]
                )
        right.set(title="on held-out clips", xlabel="step", ylim=(0, 1.02))
        right.legend(frameon=False, loc="lower right")
    return _png(figure, axes)


def penalty_curve(events: Sequence[Event]) -> bytes:
    """The score on held-out clips and their loss, over the strength of a probe's penalty."""
    tried = [e for e in events if e.get("event") == "probe"]
    figure = _figure(8.0, 3.4)
    axes = figure.subplots(1, 2)
    strengths = [e["strength"] for e in tried]
    axes[0].plot(strengths, [e["train_loss"] for e in tried], color=_BLUE, marker="o", label="training")
    held_out = [e for e in tried if e.get("val_loss") is not None]
    if held_out:
        axes[0].plot(
            [e["strength"] for e in held_out],
            [e["val_loss"] for e in held_out],
            color=_ORANGE,
            marker="o",
            label="held out",
        )
        score = "top1" if "top1" in held_out[0] else "mAP"
        axes[1].plot([e["strength"] for e in held_out], [e[score] for e in held_out], color=_ORANGE, marker="o")
        axes[1].set(title={"top1": "top-1 on held-out clips", "mAP": "mAP on held-out clips"}[score], ylim=(0, 1.02))
    axes[0].set(title="loss")
    axes[0].legend(frameon=False)
    for one in axes:
        one.set(xlabel="L2 penalty", xscale="log")
    return _png(figure, axes)


def confusion_chart(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """(C, C) of how often an example of class t (row) was taken for p (column), as shares of each row."""
    count = len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(14.0, max(4.5, 1.8 + 0.36 * count)) if count <= _NAMED else 10.0
    figure = _figure(side + 0.9, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlabel="said", ylabel="true")
    if count <= _NAMED:
        size = 9 if count <= 20 else max(4.0, 9 * 20 / count)
        names = [_short(name) for name in classes]
        axes.set_xticks(range(count), names, rotation=90 if count > 4 else 0, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
    if count <= _NUMBERED:
        for true, said in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[true, said] > 0.55 else "#222"
            size = 9 if count <= 12 else 6
            axes.text(said, true, str(matrix[true, said]), ha="center", va="center", color=colour, fontsize=size)
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("share of the true class")
    return _png(figure, ())


def reliability_chart(bins: Sequence[tuple[float | None, float | None, int]], error: float) -> bytes:
    """(confidence, accuracy, examples) of each bin, against the line on which they would be equal."""
    figure = _figure(4.6, 4.4)
    axes = figure.subplots()
    width = 1 / len(bins)
    most = max((number for _, _, number in bins), default=0) or 1
    for place, (_, accuracy, number) in enumerate(bins):
        if accuracy is not None:
            axes.bar((place + 0.5) * width, accuracy, width * 0.92, color=_BLUE, alpha=0.25 + 0.75 * number / most)
    axes.plot([0, 1], [0, 1], color=_GREY, lw=1, ls="--")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", title=f"calibration error {error:.1%}")
    return _png(figure, (axes,))


def _figure(width: float, height: float) -> Figure:
    """Inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=_DPI)


def _png(figure: Figure, axes: Sequence[Axes]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25)
        one.set_axisbelow(True)
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return out.getvalue()


def _short(name: str) -> str:
    """A name that fits; $ would begin a formula, and what can't be printed would be a box."""
    shown = "".join(c if c.isprintable() else "?" for c in name).replace("$", r"\$")
    return shown if len(shown) <= _NAME_LENGTH else shown[: _NAME_LENGTH - 1] + "…"

"""Draws the record of a timeline as a chart of labels over time, darker for higher scores. Imports matplotlib on use."""

from __future__ import annotations

import io
import warnings
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from videomae_cli.errors import DependencyError
from videomae_cli.pictures.hues import label_colour
from videomae_cli.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# At most this many rows; if there are more labels, the last row is shared by the rest.
_MOST_LABELS = 20
_WIDTH, _ROW, _REST = 12.0, 0.34, 1.55  # inches
_DPI = 120
_UNSURE_HATCH = "////"  # over what is unsure: seen without colours too
_KEYS = (1.0, 0.75, 0.5, 0.25)  # scores whose shades the legend shows
_FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "Noto Sans Arabic")
_LABEL_CHARACTERS = 32
# Seconds from one tick of the axis to the next.
_STEPS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
_MOST_TICKS = 12


def timeline_chart(record: dict[str, Any]) -> bytes:
    """Draw the chart of one video as PNG bytes. Raises DependencyError if matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager
    except ImportError:
        raise DependencyError.about("matplotlib", "charts need matplotlib: pip install matplotlib") from None
    rows = _rows(record)
    # Not pyplot, which keeps figures alive and looks for a display.
    figure = Figure(figsize=(_WIDTH, _REST + _ROW * max(len(rows), 1)), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw(axes, record, rows)
    fonts = {font.name for font in fontManager.ttflist}
    family = [name for name in _FONTS if name in fonts] or ["sans-serif"]
    for text in [axes.title, *axes.get_xticklabels(), *axes.get_yticklabels()]:
        text.set_fontfamily(family)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of characters that no installed font has
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _rows(record: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Group segments by label, in order of first appearance; labels beyond the longest-lasting share the last row."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for segment in record["segments"]:
        if segment["label"] is not None:
            rows.setdefault(segment["label"], []).append(segment)
    if len(rows) <= _MOST_LABELS:
        return rows
    length = {label: sum(s["end"] - s["start"] for s in segments) for label, segments in rows.items()}
    kept = sorted(rows, key=lambda label: -length[label])[: _MOST_LABELS - 1]
    rest = [segment for label, segments in rows.items() if label not in kept for segment in segments]
    others = f"{len(rows) - len(kept)} other labels"
    return {label: rows[label] for label in rows if label in kept} | {others: rest}


def _draw(axes: Axes, record: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> None:
    start, end = record["start"], max(record["end"], record["start"] + 1e-3)
    # At least one pixel wide, so that one second in two hours stays visible.
    least = (end - start) / (_WIDTH * _DPI)
    for number, segments in enumerate(rows.values()):
        bars = [(s["start"], max(s["end"] - s["start"], least)) for s in segments]
        several = len({s["label"] for s in segments}) > 1
        colour = label_colour(None if several else min(s["label_id"] for s in segments))
        tints = [(colour, _shade(s["score"])) for s in segments]
        axes.broken_barh(bars, (number - 0.38, 0.76), facecolors=tints, linewidth=0)
        unsure = [bar for bar, s in zip(bars, segments, strict=True) if s["unsure"]]
        axes.broken_barh(
            unsure, (number - 0.38, 0.76), facecolors="none", hatch=_UNSURE_HATCH, edgecolor="white", linewidth=0
        )
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.set_xlim(start, end)
    axes.set_yticks(range(len(rows)), [_short(label) for label in rows], parse_math=False)
    ticks = _ticks(start, end)
    axes.set_xticks(ticks, [_clock(tick, whole=all(float(t).is_integer() for t in ticks)) for tick in ticks])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#d8d8d8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    name = visible(PurePath(record["path"]).name)
    broken = f" — interrupted: {record['error']['kind']}" if record["error"] else ""
    title = f"{name} · {visible(record['model'])}{broken}"
    axes.set_title(title if len(title) < 110 else title[:109] + "…", loc="left", fontsize=11, parse_math=False)
    if rows:
        _explain(axes, unsure=any(s["unsure"] for segments in rows.values() for s in segments))
    else:
        axes.text(0.5, 0.5, "no label reached the threshold", ha="center", va="center", transform=axes.transAxes)


def _shade(score: float) -> float:
    """Return how opaque a score is drawn: the surer, the darker."""
    return 0.25 + 0.75 * max(0.0, min(1.0, score))


def _explain(axes: Axes, *, unsure: bool) -> None:
    """Add a legend of the shades and their scores, and of the hatching if any segment is unsure."""
    from matplotlib.patches import Patch

    keys = [Patch(facecolor=("#222222", _shade(score)), label=f"{score:.0%}") for score in _KEYS]
    if unsure:
        shade = ("#222222", _shade(_KEYS[-1]))
        keys.append(Patch(facecolor=shade, edgecolor="white", hatch=_UNSURE_HATCH, linewidth=0, label="unsure"))
    keys.insert(0, Patch(facecolor="none", label="score"))
    figure = cast("Figure", axes.figure)
    figure.legend(handles=keys, loc="outside lower right", ncols=len(keys), frameon=False, fontsize=9, handlelength=1.6)


def _ticks(start: float, end: float) -> list[float]:
    step = next((s for s in _STEPS if (end - start) / s <= _MOST_TICKS), 86400 * max(1, round((end - start) / 864000)))
    first = int(start / step + 1 - 1e-9)
    return [k * step for k in range(first, int(end / step + 1e-9) + 1)]


def _clock(seconds: float, *, whole: bool) -> str:
    minutes = int(seconds // 60)
    rest = f"{int(seconds % 60):02}" if whole else f"{seconds % 60:04.1f}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest}" if minutes >= 60 else f"{minutes}:{rest}"


def _short(label: str) -> str:
    text = visible(label)
    half = _LABEL_CHARACTERS // 2
    # keep both ends: many labels differ only at their end
    return text if len(text) <= _LABEL_CHARACTERS else f"{text[:half].rstrip()}…{text[1 - half :].lstrip()}"

"""Lays out titled strips of frames: side by side for a film, one below the other for a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from videomae_cli.pictures.lettering import FAINT, PAPER, lettered, line_height, wrapped

Frame = npt.NDArray[np.uint8]
Film = npt.NDArray[np.uint8]
Foot = Callable[[int], Film]

# Panels narrower than this are hard to see on today's screens, so frames of small models are enlarged to it.
_COMFORTABLE = 224  # pixels
_SHEET_COLUMNS = 8
# Titles and times need this much, so frames that are narrower (of a small model, not enlarged) have white beside them.
_TITLE_WIDTH, _TIME_WIDTH = 108, 56  # pixels


@dataclass(frozen=True)
class Panel:
    """A title, a subtitle and frames (T, H, W, 3) uint8, of the same size in all panels of a picture.

    notes: paragraphs of text shown instead of the frames; name: used in the names of files with its frames.
    """

    title: str
    frames: Film
    subtitle: str = ""
    notes: tuple[str, ...] = ()
    name: str = ""


def comfortable_scale(height: int, width: int) -> int:
    """Return the smallest integer scale that makes a panel large enough to look at."""
    return max(1, math.ceil(_COMFORTABLE / max(height, width)))


def enlarged(frames: Film, scale: int) -> Film:
    """Enlarge frames (..., H, W, 3) by an integer scale without interpolation, which would blur patch edges."""
    return frames.repeat(scale, axis=-3).repeat(scale, axis=-2)


def side_by_side(
    panels: Sequence[Panel], *, columns: int | None = None, caption: str = "", foot: Foot | None = None
) -> Film:
    """Arrange panels in rows of `columns` (default: a single row), each with its title above: (T, H, W, 3).

    foot: draws a picture of a given width to put below the panels; caption: text below that.
    """
    columns = min(columns or len(panels), len(panels))
    panels = [_widened(panel, _TITLE_WIDTH) for panel in panels]
    width = panels[0].frames.shape[2]
    size = _type_size(width)
    gap = max(6, width // 32)
    rows = [panels[at : at + columns] for at in range(0, len(panels), columns)]
    bands = []
    for row in rows:
        lines = max(len(_subtitle(panel, width, size)) for panel in row)
        blocks = [_titled(panel, size, lines) for panel in row]
        blocks += [np.full_like(blocks[0], PAPER[0])] * (columns - len(row))
        bands.append(_joined(blocks, gap, axis=2))
    film = _joined(bands, gap, axis=1)
    return _framed(_with_foot(film, caption, foot, size, gap), gap)


def contact_sheet(
    panels: Sequence[Panel],
    times: Sequence[float],
    *,
    columns: int | None = None,
    across: int = 1,
    caption: str = "",
    foot: Foot | None = None,
) -> Frame:
    """Show each panel as a row of evenly picked frames below its title, with the frames' times at the top: (H, W, 3).

    columns: frames per panel; across: panels side by side.
    """
    panels = [_widened(panel, _TIME_WIDTH) for panel in panels]
    count, width = panels[0].frames.shape[0], panels[0].frames.shape[2]
    columns = min(columns or max(2, round(_SHEET_COLUMNS / across)), count)
    picked = np.unique(np.linspace(0, count - 1, columns).round().astype(int))
    gap = max(4, width // 48)
    size = round(_type_size(width) * 1.25)  # text is larger, because a sheet is wide and usually viewed scaled down
    stamps = [lettered([f"{times[i]:.2f} s"], width=width, size=round(size * 0.8), colour=FAINT) for i in picked]
    rows = [[_joined(stamps, gap, axis=1)] * min(across, len(panels))]
    blocks = [_sheet_block(panel, picked.tolist(), size, gap) for panel in panels]
    rows += [blocks[at : at + across] for at in range(0, len(blocks), across)]
    rows[-1] += [np.full_like(blocks[0], PAPER[0])] * (len(rows[0]) - len(rows[-1]))
    bands = [_joined(row, 4 * gap, axis=1) for row in rows]
    sheet = _with_foot(_joined(bands, gap, axis=0)[None], caption, foot, size, gap)
    return np.asarray(_framed(sheet, gap * 2)[0])


def _sheet_block(panel: Panel, picked: Sequence[int], size: int, gap: int) -> Frame:
    """Stack a panel's title and a row of its picked frames."""
    strip = _joined([panel.frames[i] for i in picked], gap, axis=1)
    subtitle = f"  -  {panel.subtitle}" if panel.subtitle else ""
    return np.concatenate([lettered([panel.title + subtitle], width=strip.shape[1], size=size), strip], axis=0)


def _widened(panel: Panel, least: int) -> Panel:
    """Return the panel with white to the right of frames that are narrower than `least` pixels."""
    missing = least - panel.frames.shape[2]
    edges = ((0, 0), (0, 0), (0, missing), (0, 0))
    return replace(panel, frames=np.pad(panel.frames, edges, constant_values=PAPER[0])) if missing > 0 else panel


def _type_size(width: int) -> int:
    return int(np.clip(width // 16, 13, 22))


def _small(size: int) -> int:
    return max(11, round(size * 0.85))


def _subtitle(panel: Panel, width: int, size: int) -> list[str]:
    return wrapped(panel.subtitle, width=width, size=_small(size)) if panel.subtitle else []


def _titled(panel: Panel, size: int, lines: int) -> Film:
    """Stack a panel's title, `lines` lines for the subtitle, and its frames: (T, H, W, 3)."""
    count, height, width = panel.frames.shape[:3]
    parts = [lettered([panel.title], width=width, size=size)]
    if lines:
        subtitle = _subtitle(panel, width, size)
        parts.append(lettered(subtitle + [""] * (lines - len(subtitle)), width=width, size=_small(size), colour=FAINT))
    head = np.concatenate(parts)
    body = _notes(panel.notes, height, width, size, count) if panel.notes else panel.frames
    return np.concatenate([np.broadcast_to(head, (count, *head.shape)), body], axis=1)


def _notes(notes: tuple[str, ...], height: int, width: int, size: int, count: int) -> Film:
    small = _small(size)
    lines = [line for note in notes for line in [*wrapped(note, width=width, size=small), ""]]
    lines = lines[: height // line_height(small)]
    page = np.full((height, width, 3), PAPER[0], np.uint8)
    text = lettered(lines, width=width, size=small, colour=FAINT)
    page[: len(text)] = text
    return np.broadcast_to(page, (count, height, width, 3))


def _with_foot(film: Film, caption: str, foot: Foot | None, size: int, gap: int) -> Film:
    """Append the foot and the caption below a film (T, H, W, 3)."""
    parts = [film]
    if foot is not None:
        drawn = foot(film.shape[2])
        space = np.full((gap, film.shape[2], 3), PAPER[0], np.uint8)
        below = np.concatenate([space, drawn])
        parts.append(np.broadcast_to(below, (len(film), *below.shape)))
    if caption:
        parts.append(_text_band(caption, film, size, gap))
    return np.concatenate(parts, axis=1)


def _text_band(text: str, film: Film, size: int, gap: int) -> Film:
    small = _small(size)
    lines = wrapped(text, width=film.shape[2], size=small)
    band = lettered(lines, width=film.shape[2], size=small, colour=FAINT)
    space = np.full((gap, film.shape[2], 3), PAPER[0], np.uint8)
    return np.broadcast_to(np.concatenate([space, band]), (len(film), gap + len(band), film.shape[2], 3))


def _joined(parts: Sequence[Film], gap: int, *, axis: int) -> Film:
    """Concatenate parts along an axis with a white gap between them."""
    pieces: list[Film] = []
    for part in parts:
        if pieces:
            shape = list(part.shape)
            shape[axis] = gap
            pieces.append(np.full(shape, PAPER[0], np.uint8))
        pieces.append(part)
    return np.concatenate(pieces, axis=axis)


def _framed(film: Film, margin: int) -> Film:
    """Add a white margin, and make the sides even, as video formats require."""
    _, height, width, _ = film.shape
    right, below = margin + (width % 2), margin + (height % 2)
    edges = ((0, 0), (margin, below), (margin, right), (0, 0))
    return np.pad(film, edges, constant_values=PAPER[0])

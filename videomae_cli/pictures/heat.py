"""A map over a clip's tokens as colours over its frames, and the legend that says what the colours mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from videomae_cli.pictures.lettering import FAINT, PAPER, lettered, line_height

Film = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

# From nothing to most: transparent blue over violet and orange to a yellow that stays bright on every frame.
_STOPS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_COLOURS = np.array([(24, 20, 90), (96, 32, 150), (200, 54, 98), (246, 140, 44), (252, 240, 120)], float)
_ALPHA = (0.30, 0.80)  # how much of the colour there is over a frame, at nothing and at most
_TOP_SHARE = 0.995  # of all values below the top of the scale: one hot token must not make the rest dark


def top_of_scale(maps: Map) -> float:
    """The value that gets the last colour, for maps (..., t, h, w) in multiples of the average."""
    return max(float(np.quantile(maps, _TOP_SHARE)), 1e-6)


def over_frames(frames: Film, heat: Map, *, top: float) -> Film:
    """Frames (T, H, W, 3) under a map (t, h, w) in multiples of the average, `top` getting the last colour.

    A token covers T / t frames; inside a frame values are interpolated between the centres of the patches.
    """
    count, height, width, _ = frames.shape
    slots = len(heat)
    result = []
    for number, frame in enumerate(frames):
        values = np.clip(heat[number * slots // count] / top, 0, 1).astype(np.float32)
        smooth = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
        result.append(_blended(frame, np.asarray(smooth)))
    return np.stack(result)


def _blended(frame: npt.NDArray[np.uint8], values: Map) -> npt.NDArray[np.uint8]:
    alpha = (_ALPHA[0] + (_ALPHA[1] - _ALPHA[0]) * values)[..., None]
    # Grey below, so that the frame's own colours are not taken for heat.
    grey = frame @ np.array([0.299, 0.587, 0.114])
    mixed = (1 - alpha) * (0.7 * grey[..., None] + 0.3 * frame) + alpha * colours(values)
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


def colours(values: Map) -> npt.NDArray[np.float64]:
    """Values in [0, 1] to colours (..., 3)."""
    return np.stack([np.interp(values, _STOPS, _COLOURS[:, channel]) for channel in range(3)], axis=-1)


def legend(width: int, *, top: float, size: int) -> Film:
    """A scale as wide as the picture, (H, width, 3): its ticks are multiples of the average token's attention."""
    bar = max(8, size // 2)
    length = min(width, 30 * size)
    ramp = np.broadcast_to(colours(np.linspace(0, 1, length, dtype=np.float32)), (bar, length, 3)).astype(np.uint8)
    page = np.full((bar + 2 + line_height(size), width, 3), PAPER[0], np.uint8)
    page[:bar, :length] = ramp
    ticks = [(0.0, "0"), (1.0, "1 = average"), (top, f"{top:.1f} times and more")]
    end = -size
    for value, text in ticks:
        if value > top:
            continue
        label = _tight(text, size)
        at = int(np.clip(value / top * length - (label.shape[1] / 2 if value else 0), 0, length - label.shape[1]))
        if value == top:
            at = max(at, end + size)
        if at < end + size // 2 or at + label.shape[1] > width:
            continue  # no room between its neighbours
        page[bar + 2 :, at : at + label.shape[1]] = label
        mark = int(np.clip(value / top * length, 0, length - 1))
        page[bar : bar + 3, mark] = FAINT
        end = at + label.shape[1]
    return page


def _tight(text: str, size: int) -> Film:
    from videomae_cli.pictures.lettering import width_of

    return lettered([text], width=width_of(text, size) + 1, size=size, colour=FAINT)

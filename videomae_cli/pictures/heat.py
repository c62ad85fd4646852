"""Draws a map over a clip's tokens as colours over its frames, with a legend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from videomae_cli.pictures.lettering import FAINT, PAPER, lettered, line_height, width_of

Film = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

# The colour map, from low to high: dark blue, violet, orange, and a yellow that is bright on every frame.
_STOPS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_COLOURS = np.array([(24, 20, 90), (96, 32, 150), (200, 54, 98), (246, 140, 44), (252, 240, 120)], float)
_ALPHA = (0.30, 0.80)  # opacity of the colours over a frame, at the low and the high end
_TAIL = 0.005  # fraction of values clipped at either end of the scale, so that one hot token doesn't darken the rest


@dataclass(frozen=True)
class Scale:
    """Maps values, in multiples of the average token's, to positions in the colour map.

    Positions follow the square root, because attention has few large and many small values and both should be visible.
    """

    low: float
    top: float

    @classmethod
    def of(cls, maps: Map) -> Scale:
        """Make one scale for all of these maps (..., t, h, w)."""
        low, top = (float(value) for value in np.quantile(maps, (_TAIL, 1 - _TAIL)))
        # If attention is nearly uniform, don't amplify insignificant differences into a pattern.
        return cls(min(low, 0.8), max(top, 1.25))

    def place(self, values: Map | float) -> Map:
        """Map values to [0, 1] by the square root of their position between low and top."""
        share = (np.asarray(values, np.float32) - self.low) / (self.top - self.low)
        return np.asarray(np.sqrt(np.clip(share, 0, 1)), np.float32)


def over_frames(frames: Film, heat: Map, scale: Scale) -> Film:
    """Overlay frames (T, H, W, 3) with a map (t, h, w) in multiples of the average token's weight.

    A token covers T / t frames; within a frame, colours are interpolated between the patch centres.
    """
    count, height, width, _ = frames.shape
    slots = len(heat)
    result = []
    for number, frame in enumerate(frames):
        places = Image.fromarray(scale.place(heat[number * slots // count]))
        result.append(_blended(frame, np.asarray(places.resize((width, height), Image.Resampling.BILINEAR))))
    return np.stack(result)


def _blended(frame: npt.NDArray[np.uint8], values: Map) -> npt.NDArray[np.uint8]:
    alpha = (_ALPHA[0] + (_ALPHA[1] - _ALPHA[0]) * values)[..., None]
    # The frame is desaturated, so that its own colours are not taken for heat.
    grey = frame @ np.array([0.299, 0.587, 0.114])
    mixed = (1 - alpha) * (0.7 * grey[..., None] + 0.3 * frame) + alpha * colours(values)
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


def colours(values: Map) -> npt.NDArray[np.float64]:
    """Look up the colours (..., 3) of values in [0, 1]."""
    return np.stack([np.interp(values, _STOPS, _COLOURS[:, channel]) for channel in range(3)], axis=-1)


def legend(width: int, *, scale: Scale, size: int) -> Film:
    """Draw a colour bar (H, width, 3) with ticks in multiples of the average token's attention."""
    bar, length = max(8, size // 2), min(width, 30 * size)
    ramp = np.broadcast_to(colours(np.linspace(0, 1, length, dtype=np.float32)), (bar, length, 3)).astype(np.uint8)
    page = np.full((bar + 3 + line_height(size), width, 3), PAPER[0], np.uint8)
    page[:bar, :length] = ramp
    taken: list[tuple[int, int]] = []
    for value, text in ((scale.low, f"{scale.low:.1f}"), (scale.top, f"{scale.top:.1f} or more"), (1.0, "1 = average")):
        label = lettered([text], width=width_of(text, size) + 1, size=size, colour=FAINT)
        mark = int(float(scale.place(value)) * (length - 1))
        at = int(np.clip(mark - label.shape[1] // 2, 0, length - label.shape[1]))
        if any(at < stop + size // 2 and at + label.shape[1] > start - size // 2 for start, stop in taken):
            continue  # no room next to the labels at the ends, which matter more
        page[bar + 3 :, at : at + label.shape[1]] = label
        page[bar : bar + 3, mark] = FAINT
        taken.append((at, at + label.shape[1]))
    return page

"""Gives labels their colours: one for each, the same in every chart, since it depends on the label's number only."""

from __future__ import annotations

import colorsys

GREY = "#868b94"  # of several labels together
# The hues of the pages (pages/assets/light.css), in their order; Okabe and Ito's choice of hues, darker and longer. Neighbours
# differ in lightness too, which colour-blind people see.
_FIRST = (
    *("#2f6fde", "#d9480f", "#12875a", "#9c36b5", "#b07a00", "#d6336c", "#0b8fa3", "#6b4fd8"),
    *("#6d8a12", "#8d5a3b", "#e0555a"),
)
# Turns of the colour circle from one further label to the next: the golden ratio, so that they never come near one another soon.
_TURN = 0.618034
_LIGHTNESS = (0.38, 0.58, 0.28, 0.68)


def label_colour(label_id: int | None) -> str:
    """Return the colour of a label as "#rrggbb"; grey for None, which stands for several labels."""
    if label_id is None:
        return GREY
    if label_id < len(_FIRST):
        return _FIRST[label_id]
    further = label_id - len(_FIRST)
    red, green, blue = colorsys.hls_to_rgb(further * _TURN % 1, _LIGHTNESS[further % len(_LIGHTNESS)], 0.65)
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))

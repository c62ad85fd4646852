"""Gives labels their colours: one for each, the same in every chart and page, readable on light and on dark backgrounds."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterable, Mapping

Pair = tuple[str, str]
"""A colour for light backgrounds and the one of the same hue for dark backgrounds, as "#rrggbb"."""

_GREY: Pair = ("#868b94", "#8a8f99")
# Okabe and Ito's choice of hues, darker and longer. Neighbours differ in lightness too, which colour-blind people see.
_FIRST: tuple[Pair, ...] = (
    *(("#2f6fde", "#6ea8ff"), ("#d9480f", "#ff8c5a"), ("#12875a", "#4fd19b"), ("#9c36b5", "#da8cf0")),
    *(("#b07a00", "#f2c14e"), ("#d6336c", "#ff85ae"), ("#0b8fa3", "#4fd3e6"), ("#6b4fd8", "#a99bff")),
    *(("#6d8a12", "#b7d64f"), ("#8d5a3b", "#d3a07e"), ("#e0555a", "#ff8a8e")),
)
# Turns of the colour circle from one further label to the next: with the golden ratio, near numbers get distant hues.
_TURN = 0.618034
_BEGIN = 0.3  # away from the last of the first labels
# Luminances that further labels take in turn: each contrasts with its background by 3 at least (WCAG 2.2, 1.4.11).
_LUMINANCES = ((0.17, 0.27, 0.085, 0.22), (0.36, 0.22, 0.52, 0.29))
_SATURATION = 0.75
_MOST_LABELS = 1 << 20
# A label without a number takes the colour of a number below this, chosen by its name.
_BY_NAME = 32


def label_colour(label_id: int | None, *, dark: bool = False) -> str:
    """Return the colour of a label as "#rrggbb"; grey for None, which stands for several labels. dark: for a dark background."""
    if label_id is None:
        return _GREY[dark]
    if label_id < len(_FIRST):
        return _FIRST[label_id][dark]
    further = label_id - len(_FIRST)
    return _of_luminance((_BEGIN + further * _TURN) % 1, _LUMINANCES[dark][further % 4])


def label_colours(names: Iterable[str], ids: Mapping[str, object]) -> dict[str, Pair]:
    """Return the colour of each label on a page, chosen by its number in `ids`, or else by its name.

    A number that is invalid or belongs to an earlier label is ignored. A colour chosen by name is the same on every page,
    unless another label of the page has it.
    """
    slots: dict[int, str] = {}
    others: list[str] = []
    for name in sorted(set(names)):
        number = ids.get(name)
        if type(number) is int and 0 <= number < _MOST_LABELS and number not in slots:
            slots[number] = name
        else:
            others.append(name)
    for name in others:
        slot = zlib.crc32(name.encode("utf-8", "replace")) % _BY_NAME
        while slot in slots:
            slot += 1
        slots[slot] = name
    return {name: (label_colour(slot), label_colour(slot, dark=True)) for slot, name in slots.items()}


def _of_luminance(hue: float, luminance: float) -> str:
    """Return the colour of a hue (0 to 1) that has a relative luminance (0 to 1), by bisection over its lightness."""
    low, high = 0.0, 1.0
    for _ in range(16):
        lightness = (low + high) / 2
        colour = colorsys.hls_to_rgb(hue, lightness, _SATURATION)
        low, high = (lightness, high) if relative_luminance(colour) < luminance else (low, lightness)
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def relative_luminance(colour: Iterable[float]) -> float:
    """Return the relative luminance, 0 to 1, of red, green and blue in [0, 1], as WCAG 2.2 defines it."""
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

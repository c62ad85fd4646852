"""Writes and reads the names of clips that are pictures: `clip`, `clip/img_%05d.jpg`, `clip#frames=100-219&fps=60`.

A name says everything about a clip, so that a record's path opens the same clip again. The part after # is optional:
`frames=A-B` are the pictures with numbers from A to B, `count=N` the first N, and `fps` their rate.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_TERM = r"(?:frames=\d{1,18}-\d{1,18}|count=\d{1,18}|fps=\d{1,6}(?:\.\d{1,9})?)"
_PART = re.compile(rf"(.+)#({_TERM}(?:&{_TERM})*)", re.DOTALL | re.ASCII)
_PATTERN = re.compile(r"(.*?)%(0?)(\d{0,2})d(.*)", re.DOTALL | re.ASCII)


@dataclass(frozen=True, slots=True)
class ClipName:
    """A clip of pictures: `place` is a folder, a pattern, or either of them inside an archive.

    first, last: the numbers of the first and the last picture; count: how many there are; fps: pictures per second.
    Each is None if the name doesn't say.
    """

    place: str
    first: int | None = None
    last: int | None = None
    count: int | None = None
    fps: float | None = None

    @classmethod
    def parse(cls, path: str) -> ClipName:
        """Split a path into place and part. A path without a part is a place."""
        found = _PART.fullmatch(path)
        if found is None:
            return cls(path)
        terms = dict(term.split("=") for term in found[2].split("&"))
        first, last = terms["frames"].split("-") if "frames" in terms else (None, None)
        fps = float(terms["fps"]) if "fps" in terms else None
        return cls(
            found[1],
            None if first is None else int(first),
            None if last is None else int(last),
            int(terms["count"]) if "count" in terms else None,
            fps,
        )

    @classmethod
    def counted(cls, place: str, first: int, count: int) -> ClipName:
        """Name the `count` pictures from number `first` on."""
        return cls(place, first, max(first + count - 1, first))

    def __str__(self) -> str:
        terms = [f"frames={self.first}-{self.last}"] if self.first is not None and self.last is not None else []
        terms += [f"count={self.count}"] if self.count is not None else []
        terms += [f"fps={self.fps:.9g}"] if self.fps is not None else []
        return self.place + ("#" + "&".join(terms) if terms else "")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A file name with a number in it, as in `img_%05d.jpg`. digits: how many the number has at least."""

    prefix: str
    suffix: str
    digits: int = 1

    @classmethod
    def parse(cls, name: str) -> NamePattern | None:
        """Read a pattern with one %d, %5d or %05d; None for any other name."""
        found = _PATTERN.fullmatch(name)
        if found is None or "%" in (found[1] + found[4]).replace("%%", ""):
            return None
        return cls(found[1].replace("%%", "%"), found[4].replace("%%", "%"), int(found[3] or 1) if found[2] else 1)

    def number(self, name: str) -> int | None:
        """Return the number in a name that fits; None for one that doesn't."""
        middle = name[len(self.prefix) : len(name) - len(self.suffix)]
        if not (middle.isascii() and middle.isdigit() and self.digits <= len(middle) <= 18):
            return None
        fits = name.startswith(self.prefix) and name.endswith(self.suffix)
        # C pads a number to so many digits, and never writes a zero before a longer one.
        padded = len(middle) == self.digits or middle[0] != "0"
        return int(middle) if fits and padded else None


def folder_and_pattern(place: str) -> tuple[str, NamePattern] | None:
    """Split a place such as `clip/img_%05d.jpg` into its folder and the pattern; None if it has no pattern."""
    cut = max(place.rfind("/"), place.rfind("\\") if "\\" in place and "/" not in place else -1) + 1
    pattern = NamePattern.parse(place[cut:])
    return None if pattern is None else (place[:cut] or "./", pattern)


def valid_rate(fps: float) -> bool:
    """Return whether pictures can come at this rate, in pictures per second."""
    return math.isfinite(fps) and 0 < fps <= 1000

"""Draws text into arrays in the DejaVu Sans that ships with matplotlib, so that no font needs to be installed."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from unicodedata import combining, normalize

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from videomae_cli import filesystem
from videomae_cli.visible import visible

Frame = npt.NDArray[np.uint8]

INK = (28, 28, 30)
FAINT = (110, 110, 115)
PAPER = (255, 255, 255)
_ELLIPSIS = "..."
# What belongs on one line: "16 frames", "15.6 dB", "PSNR 15.6 dB", "seed 0", "90 %".
_NUMBERS = re.compile(
    r"(?:\b(?:PSNR|SSIM|seed|label|head|[Cc]lip|from|at) )?\d[\d.,]*(?: (?:of \d+|dB|s|%|frames?|layers?|heads?)(?!\w))?"
)
_UNBROKEN = "\0"


@cache
def _typeface() -> Path | None:
    """Return the font's file, or None if it isn't found.

    Found without importing matplotlib, which would take a tenth of a second.
    """
    package = find_spec("matplotlib")
    file = Path(package.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if package and package.origin else None
    return file if file is not None and filesystem.is_file(file) else None


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font at `size` pixels.

    Pillow's own font is the last resort: it has few letters, and sets words too close at small sizes.
    """
    file = _typeface()
    return ImageFont.truetype(str(file), size) if file is not None else ImageFont.load_default(size)


@cache
def _has(character: str, size: int) -> bool:
    """Return whether the font has this character, or only the box that stands for missing ones."""
    if character == " ":
        return True
    font = _font(size)
    return bytes(font.getmask(character)) != bytes(font.getmask("\U0010ffff"))


def drawable(text: str) -> bool:
    """Return whether the font has all letters of a text, apart from accents."""
    return "?" not in _plain(text.replace("?", ""), 16)


def width_of(text: str, size: int) -> int:
    """Return the width of a line of text in pixels."""
    return int(np.ceil(_font(size).getlength(_plain(text, size))))


def line_height(size: int) -> int:
    """Return the distance between lines in pixels."""
    return round(size * 1.35)


def lettered(lines: list[str], *, width: int, size: int, colour: tuple[int, int, int] = INK) -> Frame:
    """Draw lines of text on white, (lines * line_height, width, 3); long lines are shrunk, then truncated."""
    height = line_height(size)
    image = Image.new("RGB", (width, height * len(lines)), PAPER)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        text, fitting = _fitted(visible(line), width, size)
        draw.text((0, height * number + height / 2), text, fill=colour, font=_font(fitting), anchor="lm")
    return np.asarray(image)


def wrapped(text: str, *, width: int, size: int) -> list[str]:
    """Break text at spaces into lines of at most `width` pixels, but not between a number and its unit or name."""
    lines = [""]
    for part in _NUMBERS.sub(lambda found: found[0].replace(" ", _UNBROKEN), " ".join(text.split())).split(" "):
        word = part.replace(_UNBROKEN, " ")
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width_of(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _fitted(text: str, width: int, size: int) -> tuple[str, int]:
    smallest = max(9, round(size * 0.75))
    for smaller in range(size, smallest - 1, -1):
        if width_of(text, smaller) <= width:
            return _plain(text, smaller), smaller
    shown = _plain(text, smallest)
    while shown and width_of(shown + _ELLIPSIS, smallest) > width:
        shown = shown[:-1]
    return shown.rstrip() + _ELLIPSIS, smallest


def _plain(text: str, size: int) -> str:
    """Replace characters that the font lacks by the letter without its accents, or else by a question mark."""
    return "".join(character if _has(character, size) else _without_accents(character, size) for character in text)


def _without_accents(character: str, size: int) -> str:
    bare = "".join(part for part in normalize("NFKD", character) if not combining(part)).replace("ß", "ss")
    return bare if bare and all(_has(part, size) for part in bare) else "?"

"""Formats help: lines broken between words and never inside a name, at any width of the terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import typer

from videomae_cli.cli.terminal.console import folded, redraws
from videomae_cli.visible import columns

_MOST_COLUMNS = 80
_FEWEST_COLUMNS = 20
# The widest flags that a description stands beside, and the narrowest column of descriptions: else it stands below.
_WIDEST_FLAGS, _NARROWEST_TEXT = 30, 24
_GAP = 2
# The types of options that have no word of their own for what they take.
_TYPES = {"int": "N", "float": "NUMBER", "str": "TEXT", "path": "PATH"}
_TYPE = re.compile(rf"<({'|'.join(_TYPES)})( range)?>")


_Formatter: Any = typer.Context.formatter_class  # Typer exports no name for it


class HelpPage(_Formatter):  # type: ignore[misc]
    """Lays out text, usage and lists of options, two columns less than the terminal has and at most 78 wide.

    Typer's own formatter breaks lines at hyphens, so that ids such as MCG-NJU/videomae-base come apart, and below 50
    columns leaves the breaking to the terminal.
    """

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        room = min(shutil.get_terminal_size().columns, max_width or _MOST_COLUMNS) - 2
        super().__init__(indent_increment, width or max(room, _FEWEST_COLUMNS), max_width)

    def write_heading(self, heading: str) -> None:
        """Write a heading, which stands out where people read it on a terminal; plain in pipes and with NO_COLOR."""
        shown = redraws(sys.stdout) and not os.environ.get("NO_COLOR")
        self.write(f"{'':{self.current_indent}}" + (f"\x1b[1m{heading}:\x1b[0m" if shown else f"{heading}:") + "\n")

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write "Usage: videomae classify [OPTIONS] PATH..."."""
        self._put(f"{prefix or 'Usage: '}{prog} {args}", hanging=4)

    def write_text(self, text: str) -> None:
        """Write paragraphs, which empty lines separate."""
        paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
        for number, paragraph in enumerate(filter(None, paragraphs)):
            if number:
                self.write("\n")
            self._put(paragraph)

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = _WIDEST_FLAGS, col_spacing: int = _GAP) -> None:
        """Write flags or names, each with its description beside it, or below where that would leave it little room."""
        widest = max((columns(first) for first, _ in rows if columns(first) <= col_max), default=col_max)
        beside = self.current_indent + widest + col_spacing
        if self.width - beside < _NARROWEST_TEXT:
            beside = self.current_indent + 4
        for first, text in rows:
            lines = folded(" ".join(text.split()), self.width - beside) if text else []
            if lines and columns(first) + col_spacing <= beside - self.current_indent:
                self.write(f"{'':{self.current_indent}}{first:{beside - self.current_indent}}{lines.pop(0)}\n")
            else:
                self._put(_split_choices(first, self.width - self.current_indent - 2), hanging=2)
            self.write("".join(f"{'':{beside}}{line}\n" for line in lines))

    def _put(self, text: str, *, hanging: int = 0) -> None:
        """Write a paragraph. hanging: by how much all lines but the first are indented more."""
        first, *others = folded(text, self.width - self.current_indent - hanging, margin=-hanging)
        self.write(f"{'':{self.current_indent}}{first}\n")
        self.write("".join(f"{'':{self.current_indent + hanging}}{line}\n" for line in others))


def _split_choices(flags: str, width: int) -> str:
    """Divide lists of choices that are wider than `width` after a |, so that no choice is broken."""
    return " ".join(part for word in flags.split() for part in _parts(word, width))


def _parts(word: str, width: int) -> list[str]:
    if columns(word) <= width:
        return [word]
    parts = [""]
    for choice in re.findall(r"[^|]+\|?", word):
        if parts[-1] and columns(parts[-1] + choice) > width:
            parts.append("")
        parts[-1] += choice
    return parts


def row_of(parameter: Any, context: Any) -> tuple[str, str] | None:
    """Return how a parameter is called and what it does, for `HelpPage.write_dl`; None for a hidden one.

    Typer names types and ranges as programmers do: <list[str]>, <int range>, x>=1.
    """
    record = parameter.get_help_record(context)
    if record is None:
        return None
    head, text = record
    if parameter.param_type_name == "argument":
        head = re.sub(r" <[^<>]*>$", "", head)
    else:
        head = _TYPE.sub(lambda found: _TYPES[found[1]], head)
    text = re.sub(r"\b([\d.]+)<=x<=([\d.]+)(?=\]$)", r"\1 to \2", text)
    return head, re.sub(r"\bx>=([\d.]+)(?=\]$)", r"\1 or more", text)


class PageContext(typer.Context):
    """The context of commands whose help is a `HelpPage`."""

    formatter_class = HelpPage

r"""Cells of CSV that a spreadsheet takes for text, and that read back exactly.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula, whoever put it into a label or a file's name.
Such a text gets an apostrophe in front, the spreadsheets' own mark for text. One that begins with apostrophes and then so
gets one more, so that `read_cell` knows which to take away. Numbers stay numbers, negative ones too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from videomae_cli.visible import visible

# Spreadsheets overlook blanks in front, and take the wide forms of the signs for the signs.
_FORMULA = r"(?:[\t\r\n]|\s*[=+\-@＝＋－＠])"
_TO_MARK = re.compile(rf"'*{_FORMULA}")
_MARKED = re.compile(rf"'(?='*{_FORMULA})")


def csv_row(cells: Iterable[Any], *, for_people: bool = False) -> str:
    """A line of CSV (RFC 4180): texts made safe for spreadsheets, numbers as they are, None as an empty cell.

    for_people: on a terminal, where a text is also made harmless to look at, and then can't be read back.
    """
    text = io.StringIO(newline="")
    made = (_safe(visible(cell) if for_people else cell) if isinstance(cell, str) else cell for cell in cells)
    csv.writer(text).writerow(made)
    return text.getvalue()


def read_cell(text: str) -> str:
    """The text that `csv_row` was given, from what a CSV reader makes of its cell."""
    return text[1:] if _MARKED.match(text) else text


def _safe(text: str) -> str:
    return f"'{text}" if _TO_MARK.match(text) else text

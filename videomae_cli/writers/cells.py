r"""Cells of CSV that a spreadsheet takes for text, and that read back exactly.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula, whoever put it into a label or a file's name.
Such a text gets an apostrophe in front, the spreadsheets' own mark for text. One that begins with apostrophes and then so
gets one more, so that `read_cell` knows which to take away. So do signs behind a semicolon, a tab or a line end, at which
some spreadsheets begin a cell. Numbers stay numbers, negative ones too, and JSON stays JSON (`json_cell`).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from videomae_cli.visible import exact_json, visible

# Spreadsheets overlook blanks in front, and take the wide forms of the signs for the signs. A cell begins at the text's own
# beginning and, where semicolons or tabs part cells (quotes in the middle of one are none then), behind these too.
_SIGN = r"[^\S\t\r\n]*[=+\-@＝＋－＠]"
_TO_MARK = re.compile(rf"^(?='*[\t\r\n])|(^|[;\t\r\n])(?='*{_SIGN})")
_MARKED = re.compile(rf"^'(?='*[\t\r\n])|(^|[;\t\r\n])'(?='*{_SIGN})")


def csv_row(cells: Iterable[Any], *, for_people: bool = False) -> str:
    """A line of CSV (RFC 4180): texts made safe for spreadsheets, numbers as they are, None as an empty cell.

    for_people: on a terminal, where a text is also made harmless to look at, and then can't be read back.
    """
    text = io.StringIO(newline="")
    made = (_safe(visible(cell) if for_people else cell) if isinstance(cell, str) else cell for cell in cells)
    csv.writer(text).writerow(made)
    return text.getvalue()


def json_cell(value: Any) -> str:
    """JSON text for a cell, which any reader of JSON reads exactly: no semicolon in it begins another cell."""
    return exact_json(value).replace(";", r"\u003b")


def read_cell(text: str) -> str:
    """The text that `csv_row` was given, from what a CSV reader makes of its cell."""
    return _MARKED.sub(r"\1", text)


def _safe(text: str) -> str:
    return _TO_MARK.sub(r"\1'", text)

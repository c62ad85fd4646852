r"""Makes CSV cells that a spreadsheet takes for text, and that read back exactly.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula, even if it is a label or a file name from
an untrusted source. Such a text gets an apostrophe in front, which is how spreadsheets themselves mark text. A text
with apostrophes before such a sign gets one more, so that `read_cell` knows which one to remove. A sign after a
semicolon, tab or line end is marked too, because some spreadsheets begin a cell there. Numbers stay numbers, negative
ones too, and JSON stays JSON (`json_cell`).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from videomae_cli.visible import exact_json, visible

# Spreadsheets skip leading blanks and treat the full-width signs like the plain ones. A cell begins at the start of the text
# and, where semicolons or tabs separate cells (quotes inside a text don't protect them there), after each of these.
_SIGN = r"[^\S\t\r\n]*[=+\-@＝＋－＠]"
_TO_MARK = re.compile(rf"^(?='*[\t\r\n])|(^|[;\t\r\n])(?='*{_SIGN})")
_MARKED = re.compile(rf"^'(?='*[\t\r\n])|(^|[;\t\r\n])'(?='*{_SIGN})")


def csv_row(cells: Iterable[Any], *, for_people: bool = False) -> str:
    """Format a line of CSV (RFC 4180): texts made safe for spreadsheets, numbers unchanged, None as an empty cell.

    for_people: the line goes to a terminal: control characters are escaped too, so the text can't be read back exactly.
    """
    text = io.StringIO(newline="")
    made = (_safe(visible(cell) if for_people else cell) if isinstance(cell, str) else cell for cell in cells)
    csv.writer(text).writerow(made)
    return text.getvalue()


def json_cell(value: Any) -> str:
    """Format JSON for a cell; semicolons are escaped, as some spreadsheets would begin another cell there."""
    return exact_json(value).replace(";", r"\u003b")


def read_cell(text: str) -> str:
    """Return the text that `csv_row` was given, from the cell that a CSV reader returns."""
    return _MARKED.sub(r"\1", text)


def _safe(text: str) -> str:
    return _TO_MARK.sub(r"\1'", text)

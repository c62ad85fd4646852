"""Shortens text from files and libraries to fit into a one-line error message."""

from __future__ import annotations

import textwrap

_LONGEST_REASON = 100
_LONGEST_NAME = 100


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened; the type's name if the message is empty."""
    lines = str(error).strip().splitlines()
    return (
        textwrap.shorten(lines[0], _LONGEST_REASON, placeholder=" ...").rstrip(".") if lines else type(error).__name__
    )


def shown(name: object) -> str:
    """Quote a name from a file, escaped and with its middle cut out if long; for other values return their type."""
    if type(name) is not str:
        return f"a {type(name).__name__}"
    half = _LONGEST_NAME // 2
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:half]}...{name[-half:]}")

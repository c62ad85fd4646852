"""Words of a file or a library made fit for one line of an error."""

from __future__ import annotations

import textwrap

_LONGEST_REASON = 100
_LONGEST_NAME = 100


def first_line(error: BaseException) -> str:
    """Return what a library says of its own error, cut to a length that leaves the message readable."""
    lines = str(error).strip().splitlines()
    return (
        textwrap.shorten(lines[0], _LONGEST_REASON, placeholder=" ...").rstrip(".") if lines else type(error).__name__
    )


def shown(name: object) -> str:
    """Return a name out of a file in quotes and without line breaks, cut in its middle; of what isn't text, its type."""
    if type(name) is not str:
        return f"a {type(name).__name__}"
    half = _LONGEST_NAME // 2
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:half]}...{name[-half:]}")

"""Names a file on this machine so that a page on the same disk finds it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote


def relative_address(path: str, page: Path) -> str | None:
    """Return the address of the file `path` relative to `page`, percent-encoded byte by byte; it begins with a dot.

    None if `path` is an address itself, or a file on another drive.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path):
        return None
    try:
        relative = os.path.relpath(path, os.path.dirname(os.path.abspath(page)))  # noqa: PTH100, PTH120 - as the browser
    except ValueError:  # how Windows says that two drives have nothing in common
        return None
    steps = Path(relative).parts
    address = "/".join(quote(os.fsencode(step), safe="") for step in steps)
    return address if steps[0] == ".." else f"./{address}"

"""Builds HTML pages that work offline: data, script, style and pictures are all in one file.

    document    assembles a page from a template, a style and a script; escapes data for scripts
    relative_links  names files relative to the page
    assets/     the colours that all pages share

File names and labels are untrusted, so they never become markup: they are embedded as JSON in which `<`, `>` and `&`
are escaped, a page's script only sets text, and the content security policy allows one script, by its hash, and no
requests.
"""

from __future__ import annotations

from videomae_cli.pages.document import Document, in_script, picture_script
from videomae_cli.pages.relative_links import relative_address

__all__ = ["Document", "in_script", "picture_script", "relative_address"]

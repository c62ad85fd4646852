"""HTML pages that open offline, on any disk: data, script, style and pictures are all in one file.

    document    a template, a style and a script -> the parts of a page; what is safe inside a script
    assets/     the colours that all pages share

Names come from file systems and labels from models, so nothing of them becomes markup: they travel as JSON in which `<`,
`>` and `&` are escaped, the script of a page only ever sets text, and the policy of a page allows one script, known by its
hash, and no request at all. Knows nothing of what a page shows.
"""

from __future__ import annotations

from videomae_cli.pages.document import Document, in_script, picture_script

__all__ = ["Document", "in_script", "picture_script"]

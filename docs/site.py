"""A hook of mkdocs: pages of the repository that lie outside docs/ become pages of the site, and links lead to them there.

On GitHub a page links to `../CONTRIBUTING.md` or `docs/frames.md`; in the site all of them lie in one folder. A link to a
file that the site doesn't have, such as LICENSE, becomes its text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
# Path in the repository: path in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "videomae_cli/checkpoints/camera-motion/README.md": "checkpoints/camera-motion.md",
    "videomae_cli/checkpoints/camera-motion-mae/README.md": "checkpoints/camera-motion-mae.md",
    "videomae_cli/footage/README.md": "footage.md",
    "recipes/camera_motion/README.md": "recipes/camera_motion.md",
    "recipes/few_clips/README.md": "recipes/few_clips.md",
}
INSIDE = {uri: path for path, uri in OUTSIDE.items()}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
ATTRIBUTE = re.compile(r'\b(src|srcset)="([^"]+)"')


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages from outside docs/."""
    for path, uri in OUTSIDE.items():
        text = re.sub(r"\A---\n.*?\n---\n", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Turn paths in the repository into paths in the site."""
    here = page.file.src_uri

    def link(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        there = in_site(here, target)
        return match[0] if there == target else f"{picture}[{text}]({there})" if there else text

    def attribute(match: re.Match[str]) -> str:
        return f'{match[1]}="{in_site(here, match[2]) or match[2]}"'

    return ATTRIBUTE.sub(attribute, LINK.sub(link, markdown))


def in_site(here: str, target: str) -> str:
    """Where a link of a page leads in the site: the target itself for other sites and anchors, "" for what the site lacks."""
    if re.match(r"[a-z]+:|#", target):
        return target
    name, hash_, anchor = target.partition("#")
    origin = INSIDE.get(here, f"docs/{here}")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), name))
    uri = OUTSIDE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
    return posixpath.relpath(uri, posixpath.dirname(here) or ".") + hash_ + anchor if uri else ""

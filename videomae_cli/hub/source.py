"""A model's name -> a directory or file on this disk, downloading it first where it has to be.

A name is looked up in this order: a bundled checkpoint, a path that exists, a short name of the registry, a hub id. So
`camera-motion` is always the bundled one; a directory of that name is `./camera-motion`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from videomae_cli.errors import ModelNotFoundError
from videomae_cli.hub.registry import find_entry, suggestions

BUNDLED_FOLDER = Path(__file__).resolve().parent.parent / "checkpoints"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

Origin = Literal["bundled", "directory", "file", "hub"]


@dataclass(frozen=True)
class ResolvedSource:
    """Where a model is: `path` on this disk, `name` as records call it, the hub commit it was taken from if any."""

    path: Path
    name: str
    origin: Origin
    revision: str | None = None


def bundled_names() -> tuple[str, ...]:
    """Checkpoints that ship inside the package."""
    return tuple(sorted(path.parent.name for path in BUNDLED_FOLDER.glob("*/config.json")))


def resolve(source: str, *, revision: str | None = None, local_files_only: bool = False) -> ResolvedSource:
    """Find `source`. Raises ModelNotFoundError or DownloadError, each one line that says what to do."""
    if source in bundled_names():
        return ResolvedSource(BUNDLED_FOLDER / source, source, "bundled")
    path = Path(source).expanduser()
    if path.is_dir():
        return ResolvedSource(path, source, "directory")
    if path.is_file():
        return ResolvedSource(path, source, "file")
    entry = find_entry(source)
    hub_id = entry.hub_id if entry else source
    if entry is None and (source.startswith((".", "/", "~")) or path.suffix in {".safetensors", ".bin", ".pth", ".pt"}):
        raise ModelNotFoundError(f"no model at {source!r}: there is no such directory or file")
    if not _HUB_ID.fullmatch(hub_id):
        near = suggestions(source, bundled_names())
        hint = f"did you mean {' or '.join(near)}?" if near else "`videomae models` lists the known ones"
        raise ModelNotFoundError(f"unknown model {source!r}: no directory, no hub id (OWNER/NAME), no known name; {hint}")
    from videomae_cli.hub.download import fetch_snapshot

    folder, commit = fetch_snapshot(hub_id, revision=revision, file=entry.file if entry else None, offline=local_files_only)
    if entry and entry.file:
        return ResolvedSource(folder / entry.file, entry.name, "hub", commit)
    return ResolvedSource(folder, hub_id, "hub", commit)

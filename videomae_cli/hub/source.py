"""Resolves a model's name to a local directory or file, downloading it first if necessary.

A name is looked up as a bundled checkpoint, an existing path, a short name in the registry, and a hub id, in this
order. So `camera-motion` is always the bundled one; write `./camera-motion` for a directory of that name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from videomae_cli import filesystem
from videomae_cli.arguments import checked
from videomae_cli.errors import CheckpointError, ModelNotFoundError, say
from videomae_cli.hub.download import fetch_snapshot
from videomae_cli.hub.model_folders import export_snapshot
from videomae_cli.hub.registry import find_entry, suggestions
from videomae_cli.hub.transfer import DownloadListener

BUNDLED_FOLDER = Path(__file__).resolve().parent.parent / "checkpoints"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
_HUB_PAGE = re.compile(
    r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)(?:models/)?([\w.-]+/[\w.-]+)"
    r"(?:@([\w./-]+)|/(?:tree|blob|resolve|commit)/([^/?#]+))?(?:[/?#].*)?",
    re.IGNORECASE,
)
_PINNED = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)@([\w./-]+)")
_FILE_KINDS = {".safetensors", ".bin", ".pth", ".pt", ".onnx"}

Origin = Literal["bundled", "directory", "file", "hub"]


@dataclass(frozen=True)
class ResolvedSource:
    """A model's local `path`, its `name` in records, and the hub commit it came from, if any."""

    path: Path
    name: str
    origin: Origin
    revision: str | None = None

    @contextmanager
    def named(self) -> Iterator[None]:
        """In an error of the block that is about the model as a whole, call it by its name instead of its folder."""
        try:
            yield
        except CheckpointError as error:
            if error.subject == str(self.path):
                error.subject = self.name
            raise


def bundled_names() -> tuple[str, ...]:
    """Return the names of the checkpoints that ship inside the package."""
    return tuple(sorted(path.parent.name for path in BUNDLED_FOLDER.glob("*/config.json")))


def resolve(
    source: str,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    listener: DownloadListener | None = None,
) -> ResolvedSource:
    """Find the model `source`, downloading it if necessary (`listener` receives progress).

    Raises ModelNotFoundError or DownloadError.
    """
    if source in bundled_names():
        return ResolvedSource(BUNDLED_FOLDER / source, source, "bundled")
    path = Path(filesystem.home_expanded(source))
    cached = _CACHED.fullmatch(path.name)
    if cached and filesystem.is_folder(path / "snapshots") and not filesystem.is_file(path / "config.json"):
        raise ModelNotFoundError.about(
            source,
            "{subject!r} is a folder of the hub's cache, not a model: give {owner}/{name}, or one of "
            "the folders in its snapshots",
            owner=cached[1],
            name=cached[2],
        )
    if source and filesystem.is_folder(path):
        return ResolvedSource(path, source, "directory")
    if source and filesystem.is_file(path):
        return ResolvedSource(path, source, "file")
    _refuse_unreadable(source, filesystem.look(path))
    hub_id, file = hub_source(source)
    folder = fetch_snapshot(hub_id, revision=revision, file=file, offline=local_files_only, listener=listener)
    if file:
        return ResolvedSource(folder / file, source, "hub", folder.name)
    return ResolvedSource(folder, hub_id, "hub", folder.name)


@checked
def download(
    model: str,
    *,
    revision: str | None = None,
    to: str | os.PathLike[str] | None = None,
    force: bool = False,
    listener: DownloadListener | None = None,
) -> Path:
    """Download a model, verify it by size and hash so that it works offline from then on, and return its path.

    model: a known name or a hub id (bundled ones need no download); to: also copy it to this plain folder, for a
    machine without a network, and return that; force: ask the hub again, and fetch what is missing, damaged or newer;
    listener: receives progress. Raises ModelNotFoundError, DownloadError or OutputError.
    """
    if model in bundled_names():
        return BUNDLED_FOLDER / model
    hub_id, file = hub_source(model)
    snapshot = fetch_snapshot(hub_id, revision=revision, file=file, force=force, listener=listener)
    if to is not None:
        export_snapshot(snapshot, hub_id, Path(to))
        return Path(to)
    return snapshot / file if file else snapshot


def hub_source(source: str) -> tuple[str, str | None]:
    """Return the hub id for a short name or hub id, and the one file to load if the repository holds several models.

    Raises ModelNotFoundError, suggesting similar names, if `source` can be neither.
    """
    entry = find_entry(source)
    if entry:
        return entry.hub_id, entry.file
    _refuse_lookalikes(source)
    if not _HUB_ID.fullmatch(source) and filesystem.is_named(filesystem.home_expanded(source)):
        raise ModelNotFoundError.about(source, "{subject!r} is on this disk already, and no name of a model on the hub")
    looks_like_path = source.startswith((".", "/", "~")) or Path(source).suffix in _FILE_KINDS
    if looks_like_path:
        raise ModelNotFoundError.about(source, "no model at {subject!r}: there is no such directory or file")
    if not _HUB_ID.fullmatch(source):
        near = suggestions(source, bundled_names())
        hint = f"did you mean {' or '.join(near)}?" if near else say("{@known_models} lists the known ones")
        raise ModelNotFoundError.about(
            source, "unknown model {subject!r}: no directory, no hub id (OWNER/NAME), no known name; {hint}", hint=hint
        )
    return source, None


def _refuse_unreadable(source: str, place: filesystem.Place) -> None:
    """Raise ModelNotFoundError for a path that is a pipe or device, or is inaccessible and not a hub id."""
    if place.kind == "other":
        raise ModelNotFoundError.about(
            source, "{subject!r} is a pipe or a device: give a model's folder, or a file of weights"
        )
    if place.kind == "unknown" and not _HUB_ID.fullmatch(source):
        raise ModelNotFoundError.about(source, "no model at {subject!r}: {reason}", reason=place.reason)


def _refuse_lookalikes(source: str) -> None:
    """Raise ModelNotFoundError, saying what to write instead, for names that other tools accept: URLs, ID@REVISION."""
    for pattern, words in ((_HUB_PAGE, "is a page of the hub"), (_PINNED, "has the revision in the name")):
        found = pattern.fullmatch(source)
        if found:
            revision = next((part for part in found.groups()[1:] if part and part != "main"), None)
            how = say("{found} and {@revision:{revision}}", found=found[1], revision=revision) if revision else found[1]
            raise ModelNotFoundError.about(source, "{subject!r} {words}: give {how}", words=words, how=how)
    cached = _CACHED.fullmatch(Path(source).name)
    if cached:
        reason = "{subject!r} is what the hub's cache calls a model: give {owner}/{name}"
        raise ModelNotFoundError.about(source, reason, owner=cached[1], name=cached[2])
    if "://" in source:
        raise ModelNotFoundError.about(
            source, "{subject!r} is an address, not a model: download it, and give the folder or OWNER/NAME"
        )
    if source.startswith("-"):
        raise ModelNotFoundError.about(
            source, "{subject!r} looks like an option: of a folder that is called so write ./{subject}"
        )

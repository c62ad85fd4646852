"""Lists, verifies and removes the VideoMAE models in the Hugging Face cache, without the network."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.arguments import checked
from videomae_cli.errors import DownloadError, ModelNotFoundError, Wording
from videomae_cli.hub import cache
from videomae_cli.hub.records import damage, object_in, read_record
from videomae_cli.hub.registry import REGISTRY, hub_id_of


@dataclass(frozen=True)
class CachedModel:
    """A model in the cache. name: its short name; size: bytes of all revisions; whole: complete, so that it can be loaded."""

    hub_id: str
    name: str | None
    revisions: tuple[str, ...]
    size: int
    licence: str | None
    whole: bool
    path: Path


def cached_models() -> tuple[CachedModel, ...]:
    """List the VideoMAE models in the cache, sorted by hub id; other kinds of model are left out. Raises nothing."""
    folder = cache.cache_folder()
    found = [_describe(path) for path in filesystem.entries(folder, "models--*--*")]
    return tuple(model for model in found if model is not None)


@checked
def verify_model(name: str, *, revision: str | None = None) -> list[str]:
    """Read every file of a cached model and compare sizes and hashes; without `revision`, for all revisions.

    name: a short name or a hub id. Returns one line per damaged file, so nothing if all is well. Raises
    ModelNotFoundError.
    """
    hub_id = hub_id_of(name)
    if revision is None:
        snapshots = [
            path for path in filesystem.entries(cache.model_folder(hub_id) / "snapshots") if filesystem.is_folder(path)
        ]
    else:
        snapshots = [cache.model_folder(hub_id) / "snapshots" / (cache.cached_commit(hub_id, revision) or "none")]
    if not any(filesystem.is_folder(path) for path in snapshots):
        raise ModelNotFoundError.about(
            hub_id, "{subject} is not on this disk", remedy=Wording("{@cached_models} lists what is")
        )
    wrong = []
    for snapshot in snapshots:
        facts = cache.known_facts(snapshot)
        checked = [(item.name, damage(snapshot / item.name, item, deep=True)) for item in facts]
        wrong += [f"{name} {what}" for name, what in checked if what is not None]
        if not wrong and not cache.is_whole(snapshot) and not any(name.endswith(".pth") for name, _ in checked):
            wrong.append(f"snapshot {snapshot.name[:12]} has no complete weights: its download was cut")
    return wrong


@checked
def remove_model(name: str) -> int:
    """Remove all revisions of a model (short name or hub id) from the cache. Returns the bytes freed.

    Raises ModelNotFoundError or DownloadError.
    """
    hub_id = hub_id_of(name)
    folder = cache.model_folder(hub_id)
    if "/" not in hub_id or not filesystem.is_folder(folder) or folder.parent != cache.cache_folder():
        raise ModelNotFoundError.about(
            name, "{subject} is not in the cache", remedy=Wording("{@cached_models} lists what is")
        )
    size = _size(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise DownloadError.about(folder, "can't remove {subject}: {reason}", reason=error.strerror) from error
    shutil.rmtree(folder.parent / ".locks" / folder.name, ignore_errors=True)
    return size


def _describe(folder: Path) -> CachedModel | None:
    _, owner, rest = folder.name.split("--", 2)
    hub_id = f"{owner}/{rest}"
    snapshots = [path for path in filesystem.entries(folder / "snapshots") if filesystem.is_folder(path)]
    records = [record for path in snapshots if (record := read_record(cache.record_path(path)))]
    entries = [entry for entry in REGISTRY if entry.hub_id.lower() == hub_id.lower()]
    if not (records or entries or any(_is_videomae(path) for path in snapshots)):
        return None
    files: list[str | None] = [entry.file for entry in entries if entry.file]
    names = [e.name for e in entries if not e.file or any(filesystem.is_file(path / e.file) for path in snapshots)]
    return CachedModel(
        hub_id=hub_id,
        name=", ".join(names) or None,
        revisions=tuple(path.name for path in snapshots),
        size=_size(folder),
        licence=next((record.licence for record in records if record.licence), entries[0].licence if entries else None),
        whole=any(cache.is_whole(path, file) for path in snapshots for file in (files or [None])),
        path=folder,
    )


def _is_videomae(snapshot: Path) -> bool:
    config = object_in(snapshot / "config.json") or {}
    return "videomae" in str(config.get("model_type", "")).lower()


def _size(folder: Path) -> int:
    return sum(filesystem.look(path).size for path in folder.rglob("*") if not filesystem.is_link(path))

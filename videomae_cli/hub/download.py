"""Downloads the files that a model needs from the Hugging Face hub into its standard cache, and verifies them.

A model that is in the cache already is used without any network request.
"""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from videomae_cli import filesystem
from videomae_cli.errors import DownloadError, ModelNotFoundError, VideoMAEError
from videomae_cli.files import replacing
from videomae_cli.hub import cache
from videomae_cli.hub.download_failures import explain, no_hub, no_space, not_here
from videomae_cli.hub.records import FileFacts, Record, damage, read_record, write_record
from videomae_cli.hub.registry import REGISTRY, RegistryEntry, find_entry
from videomae_cli.hub.transfer import (
    DownloadListener,
    PlannedDownload,
    fetch_file,
    first_answer,
    huggingface_hub_quiet,
)

# The formats of weights, preferred first: a download takes only one of them.
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
)


def fetch_snapshot(
    hub_id: str,
    *,
    revision: str | None = None,
    file: str | None = None,
    offline: bool = False,
    force: bool = False,
    listener: DownloadListener | None = None,
) -> Path:
    """Return the folder of a complete snapshot (or one with `file`), downloading it unless the cache has it.

    force: ask the hub for the revision's current commit, and fetch what is missing, damaged or newer.
    Raises ModelNotFoundError (no such model, or neither cached nor reachable) or DownloadError.
    """
    from huggingface_hub import constants

    cached = None if force else cache.find_snapshot(hub_id, revision, file)
    if cached is not None:
        return cached
    if offline or constants.HF_HUB_OFFLINE:
        revisions = tuple(path.name for path in cache.whole_snapshots(hub_id))
        raise not_here(hub_id, offline=not offline, revisions=revisions)
    try:
        with huggingface_hub_quiet():
            return _fetch(hub_id, revision, file, force, listener or DownloadListener())
    except Exception as error:  # huggingface_hub raises its own errors, its HTTP library's and the system's
        raise explain(error, hub_id, revision) from error


def is_cached(entry: RegistryEntry) -> bool:
    """Return whether a checkpoint is completely in the cache; makes no network request."""
    return cache.find_snapshot(entry.hub_id, None, entry.file) is not None


def _fetch(hub_id: str, revision: str | None, file: str | None, force: bool, listener: DownloadListener) -> Path:
    listener.asking(hub_id)
    record = _look_up(hub_id, revision, file)
    snapshot = cache.model_folder(hub_id) / "snapshots" / record.revision
    missing = [facts for facts in record.files if damage(snapshot / facts.name, facts, deep=force) is not None]
    planned = _plan(record, missing, deep=force)
    if planned is not None:
        listener.fetching(planned)
        _check_space(planned)
    for facts in missing:
        fetch_file(hub_id, record.revision, facts, listener, deep=force)
    older = read_record(cache.record_path(snapshot))
    if older:  # another checkpoint of the same repository may have been fetched before: keep its record
        names = {facts.name for facts in record.files}
        kept = tuple(facts for facts in older.files if facts.name not in names)
        record = Record(record.hub_id, record.revision, record.licence, kept + record.files)
    write_record(cache.record_path(snapshot), record)
    for facts in record.files:
        if cache.is_cut_off(snapshot / facts.name):
            reason = "{name} of {subject} is damaged on the hub: it ends before it says that it does"
            raise DownloadError.about(hub_id, reason, name=facts.name)
    if not cache.is_whole(snapshot, file):
        raise DownloadError.about(
            hub_id, "{subject} is incomplete on the hub: its index names weights that it does not hold"
        )
    # Last, so that a branch never refers to an incomplete snapshot.
    write_ref(hub_id, revision, record.revision)
    return snapshot


def _look_up(hub_id: str, revision: str | None, file: str | None) -> Record:
    """Ask the hub for the commit, the licence, and the needed files with their sizes and hashes."""
    from huggingface_hub import HfApi

    info = first_answer(
        lambda seconds: HfApi().model_info(hub_id, revision=revision, files_metadata=True, timeout=seconds)
    )
    listing = {sibling.rfilename: sibling for sibling in info.siblings or []}
    names = [file] if file else needed_files(list(listing))
    if not cache.COMMIT.fullmatch(info.sha or "") or not names or any(name not in listing for name in names):
        raise _nothing_usable(hub_id, file)
    entry = find_entry(hub_id)
    card: Any = info.card_data
    licence = getattr(card, "license", None) or (entry.licence if entry else None)
    files = tuple(_facts(hub_id, listing[name]) for name in names)
    return Record(hub_id, str(info.sha), str(licence) if licence else None, files)


def needed_files(names: list[str]) -> list[str]:
    """Select the files that a model needs: its configuration and one format of weights. Empty if either is missing."""
    config = [name for name in names if name in cache.CONFIG_FILES]
    for patterns in _WEIGHTS:
        # A repository may have a single file as well as shards with an index: either is enough.
        for group in (patterns[:1], patterns[1:]):
            weights = [name for name in names if any(fnmatch(name, pattern) for pattern in group)]
            if weights and "config.json" in config:
                return config + weights
    return []


def licence_text(licence: str | None) -> str:
    """Format a licence for the user."""
    if not licence:
        return "unknown: see its page on the hub"
    return f"{licence} (no commercial use)" if "-nc" in licence.lower() else licence


def write_ref(hub_id: str, revision: str | None, commit: str) -> None:
    """Record atomically which commit a branch or tag refers to; nothing to record if `revision` is the commit."""
    if revision == commit:
        return
    path = cache.model_folder(hub_id) / "refs" / (revision or "main")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as sink:
        sink.write(commit.encode())


def _facts(hub_id: str, sibling: Any) -> FileFacts:
    """Extract size and digest of a file from the hub's answer. Raises DownloadError if they make no sense."""
    lfs = sibling.lfs
    size, digest = (lfs.size, lfs.sha256) if lfs else (sibling.size, sibling.blob_id)
    if not isinstance(size, int | None) or isinstance(size, bool) or (size or 0) < 0:
        raise no_hub(hub_id, f"a size of {size!r:.40}")
    if not isinstance(digest, str | None):
        raise no_hub(hub_id, f"a digest of {digest!r:.40}")
    return FileFacts(sibling.rfilename, size, digest)


def _plan(record: Record, missing: list[FileFacts], *, deep: bool) -> PlannedDownload | None:
    """Add up the missing files; None if nothing is missing but links to files that another revision has downloaded.

    The cache names files by their digests.
    """
    blobs = cache.model_folder(record.hub_id) / "blobs"
    absent = [
        facts for facts in missing if not facts.digest or damage(blobs / facts.digest, facts, deep=deep) is not None
    ]
    if not absent:
        return None
    sizes = [facts.size for facts in absent]
    partial = [blobs / f"{facts.digest}.incomplete" for facts in absent if facts.digest]
    return PlannedDownload(
        record.hub_id,
        None if None in sizes else sum(size or 0 for size in sizes),
        sum(filesystem.look(path).size for path in partial if filesystem.is_file(path)),
        record.licence,
    )


def _check_space(planned: PlannedDownload) -> None:
    folder = cache.model_folder(planned.hub_id)
    folder.mkdir(parents=True, exist_ok=True)
    if planned.size is not None and shutil.disk_usage(folder).free < planned.size - planned.here:
        raise no_space(planned.hub_id, planned.size)


def _nothing_usable(hub_id: str, file: str | None) -> VideoMAEError:
    several = [entry.name for entry in REGISTRY if entry.hub_id == hub_id and entry.file]
    if several and not file:
        return ModelNotFoundError.about(
            hub_id, "{subject} holds several models: choose {several}", several=" or ".join(several)
        )
    return DownloadError.about(
        hub_id,
        "{subject} holds no {file}: it is no model to load",
        file=file or "config.json with model.safetensors or pytorch_model.bin",
    )

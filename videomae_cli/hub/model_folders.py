"""Exports a cached model to a plain folder, and imports such a folder into the cache of a machine without a network."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import CheckpointError, ModelNotFoundError, OptionError, OutputError, Wording, not_written
from videomae_cli.files import replacing
from videomae_cli.hub import cache
from videomae_cli.hub.download import write_ref
from videomae_cli.hub.download_failures import disk_failure
from videomae_cli.hub.records import PLAIN_RECORD, FileFacts, Record, damage, digest, read_record, write_record
from videomae_cli.hub.registry import find_entry

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w")


def export_snapshot(snapshot: Path, hub_id: str, target: Path) -> None:
    """Copy a cached snapshot to a plain folder, with a record that identifies it. Raises OutputError.

    Each file appears only once it is complete; a second call copies only what is missing.
    """
    record = cache.record_of(snapshot, hub_id)
    existing = read_record(target / PLAIN_RECORD)
    if filesystem.is_there(target) and not filesystem.is_folder(target):
        raise OutputError.about(target, "{subject} is not a folder")
    if existing is not None and existing.hub_id != hub_id:
        raise OutputError.about(target, "{subject} holds {hub_id}: choose another folder", hub_id=existing.hub_id)
    try:
        filled = existing is None and filesystem.is_folder(target) and any(target.iterdir())
    except OSError as error:
        raise OutputError.about(target, "can't list {subject}: {reason}", reason=error.strerror or error) from None
    if filled:
        raise OutputError.about(target, "{subject} is not empty and no download of ours: choose another folder")
    try:
        write_record(target / PLAIN_RECORD, record)
        for facts in record.files:
            if damage(target / facts.name, facts, deep=True) is not None or facts.digest is None:
                _copy(snapshot / facts.name, target / facts.name)
    except OSError as error:
        raise not_written(target, error) from error


def import_folder(folder: Path, hub_id: str | None = None) -> Record:
    """Import a plain folder into the cache, so that its hub id works without a network.

    hub_id: needed only if the folder has no record. Raises OptionError, ModelNotFoundError, CheckpointError
    (incomplete, damaged) or DownloadError (disk full).
    """
    if not filesystem.is_folder(folder):
        raise ModelNotFoundError.about(folder, "no folder {subject!r} to import")
    record = _identify(folder, hub_id)
    for facts in record.files:
        wrong = damage(folder / facts.name, facts, deep=True)
        if wrong is not None:
            raise CheckpointError.about(folder / facts.name, "{subject} {wrong}: copy the folder again", wrong=wrong)
    snapshot = cache.model_folder(record.hub_id) / "snapshots" / record.revision
    try:
        for facts in record.files:
            _place(folder / facts.name, cache.model_folder(record.hub_id), snapshot / facts.name, facts)
        write_record(cache.record_path(snapshot), record)
        write_ref(record.hub_id, None, record.revision)
    except OSError as error:
        raise disk_failure(error, record.hub_id) from error
    return record


def _identify(folder: Path, hub_id: str | None) -> Record:
    """Return the folder's own record, or make one from its files."""
    record = read_record(folder / PLAIN_RECORD)
    entry = find_entry(hub_id) if hub_id else None
    wanted = entry.hub_id if entry else hub_id
    if record is not None and wanted and wanted != record.hub_id:
        raise OptionError.about(folder, "{subject} holds {hub_id}, not {wanted}", hub_id=record.hub_id, wanted=wanted)
    if wanted is None and record is None:
        raise OptionError.about(
            folder,
            "{subject} does not say which model it is",
            remedy=Wording("name it, as in {@from_dir:{folder}} OWNER/NAME", folder=folder),
        )
    name = record.hub_id if record else str(wanted)
    if not _HUB_ID.fullmatch(name) or "--" in name:
        raise OptionError.about(name, "{subject!r} is not a hub id (OWNER/NAME)")
    if record is not None and cache.COMMIT.fullmatch(record.revision):
        return record
    names = [file for file in cache.CONFIG_FILES if filesystem.is_file(folder / file)] + cache.weight_files(folder)
    if "config.json" not in names or not cache.weight_files(folder):
        raise CheckpointError.about(
            folder, "{subject} holds no config.json with model.safetensors or pytorch_model.bin"
        )
    missing = next((file for file in names if not filesystem.is_file(folder / file)), None)
    if missing is not None:
        raise CheckpointError.about(
            folder, "{subject} is incomplete: its index names {missing}, which is missing", missing=missing
        )
    files = tuple(FileFacts(file, (folder / file).stat().st_size, _sha256(folder / file)) for file in names)
    # No commit is known: use a hash of the content, so that importing the same files gives the same snapshot.
    content = "".join(f"{facts.name}\0{facts.digest}\0" for facts in files)
    commit = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
    try:
        return Record(name, commit, entry.licence if entry else None, files)
    except ValueError as error:
        raise CheckpointError.about(
            folder, "{subject} can't be imported: its index names a file elsewhere ({error})", error=error
        ) from None


def _sha256(path: Path) -> str:
    return digest(path, like="0" * 64)


def _place(source: Path, model: Path, pointer: Path, facts: FileFacts) -> None:
    """Copy a file to blobs/ under its digest and link it into the snapshot, or copy it there if links don't work."""
    blob = model / "blobs" / (facts.digest or _sha256(source))
    if damage(blob, facts, deep=True) is not None:
        _copy(source, blob)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        _copy(blob, pointer)


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that the target appears only once it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as content, replacing(target) as sink:
        shutil.copyfileobj(content, sink, 1 << 20)

"""Looks up model snapshots in the local Hugging Face cache and checks that they are complete, without the network.

    HF_HUB_CACHE/models--OWNER--NAME/
        refs/main               the commit that `main` pointed to when it was downloaded
        snapshots/COMMIT/FILE   a link to ../../blobs/DIGEST (a copy on systems without links)
        blobs/DIGEST            named by SHA-256 (LFS files) or git's SHA-1
        videomae/COMMIT.json    our record (records.py)

This is the layout of huggingface_hub and transformers, so they and this package share downloads.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.hub.records import FileFacts, Record, damage, object_in, read_record

CONFIG_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
_LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


def cache_folder() -> Path:
    """Return huggingface_hub's cache folder: HF_HUB_CACHE, or `hub` in HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def model_folder(hub_id: str) -> Path:
    """Return the path of a model's folder in the cache; it may not exist."""
    return cache_folder() / f"models--{hub_id.replace('/', '--')}"


def record_path(snapshot: Path) -> Path:
    """Return the path of the record that belongs to a snapshot."""
    return snapshot.parent.parent / "videomae" / f"{snapshot.name}.json"


def find_snapshot(hub_id: str, revision: str | None, file: str | None = None) -> Path | None:
    """Return the cached snapshot of a revision (None: main) if it is complete, or contains `file` if given; else None."""
    commit = cached_commit(hub_id, revision)
    if commit is None:
        return None
    snapshot = model_folder(hub_id) / "snapshots" / commit
    return snapshot if is_whole(snapshot, file) else None


def cached_commit(hub_id: str, revision: str | None) -> str | None:
    """Return the commit that a branch, tag or commit name refers to in the cache, or None."""
    name = revision or "main"
    if COMMIT.fullmatch(name):
        return name
    if ".." in name.split("/") or name.startswith("/"):
        return None
    try:
        return (model_folder(hub_id) / "refs" / name).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):  # no such file, not text, or a name that no file can have
        return None


def whole_snapshots(hub_id: str) -> list[Path]:
    """Return all complete snapshots of a model."""
    folder = model_folder(hub_id) / "snapshots"
    return [path for path in filesystem.entries(folder) if is_whole(path)]


def is_whole(snapshot: Path, file: str | None = None) -> bool:
    """Return whether a snapshot has its configuration and weights, or just `file`, in the recorded sizes, none truncated."""
    names = [file] if file else weight_files(snapshot)
    if not names or not (file or object_in(snapshot / "config.json") is not None):
        return False
    record = read_record(record_path(snapshot))
    sizes = {facts.name: facts for facts in record.files} if record else {}
    return all(
        damage(snapshot / name, sizes.get(name, FileFacts(name, None, None)), deep=False) is None
        and not is_cut_off(snapshot / name)
        for name in names
    )


def is_cut_off(weights: Path) -> bool:
    """Return whether a weights file is truncated, judged by its own header or, for a zip, the directory at its end."""
    try:
        if weights.suffix == ".safetensors":
            return weights.stat().st_size != _announced_size(weights)
        if weights.suffix in (".bin", ".pth", ".pt"):
            with weights.open("rb") as file:
                start = file.read(2)
            # PyTorch writes zips since 1.6; before, it wrote pickles, which don't contain their length.
            return not start or (start == b"PK" and not zipfile.is_zipfile(weights))
    except (OSError, ValueError):
        return True
    return False


def _announced_size(weights: Path) -> int:
    """Return the size in bytes that a safetensors file's header implies. Raises ValueError for an invalid header."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= _LONGEST_HEADER:
            raise ValueError("no header")
        text = file.read(length)
    try:
        header = json.loads(text)
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (AttributeError, KeyError, IndexError, TypeError, RecursionError, OverflowError):
        raise ValueError("no header of tensors") from None
    return 8 + length + max(ends, default=0)


def weight_files(snapshot: Path) -> list[str]:
    """Return the names of the weights files: one, or an index and its shards. Empty if there are none."""
    for single in ("model.safetensors", "pytorch_model.bin"):
        if filesystem.is_file(snapshot / single):
            return [single]
        shards = shards_of(snapshot / f"{single}.index.json")
        if shards:
            return [f"{single}.index.json", *shards]
    return []


def shards_of(index: Path) -> list[str]:
    """Return the names of the shards that an index lists; empty if it can't be read."""
    weight_map = (object_in(index) or {}).get("weight_map")
    return sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []


def known_facts(snapshot: Path) -> tuple[FileFacts, ...]:
    """Return the facts about a snapshot's files from its record, or else the digests that their blobs are named by."""
    record = read_record(record_path(snapshot))
    if record:
        return record.files
    return tuple(
        FileFacts(path.relative_to(snapshot).as_posix(), None, blob if _DIGEST.fullmatch(blob) else None)
        for path in sorted(snapshot.rglob("*"))
        for blob in [path.readlink().name if filesystem.is_link(path) else ""]
        if filesystem.is_link(path) or filesystem.is_file(path)
    )


def record_of(snapshot: Path, hub_id: str) -> Record:
    """Return the record of a snapshot, or make one from its files if another tool downloaded it."""
    record = read_record(record_path(snapshot))
    return record or Record(hub_id, snapshot.name, None, known_facts(snapshot))

"""Records stored beside downloaded files: the licence, the commit, and the size and hash of every file.

A record lives beside a snapshot in the cache (`models--OWNER--NAME/videomae/COMMIT.json`; huggingface_hub ignores it)
and inside a plain folder made by `videomae download --to` (`videomae.json`). It allows checking the files without
asking the hub again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videomae_cli import filesystem
from videomae_cli.files import replacing

PLAIN_RECORD = "videomae.json"


@dataclass(frozen=True)
class FileFacts:
    """A file of a repository. size: bytes; digest: SHA-256 (LFS files) or the SHA-1 of its git blob."""

    name: str
    size: int | None
    digest: str | None


@dataclass(frozen=True)
class Record:
    """Where a snapshot was downloaded from, and what it consists of. Raises ValueError for unsafe names or wrong types."""

    hub_id: str
    revision: str
    licence: str | None
    files: tuple[FileFacts, ...]

    def __post_init__(self) -> None:
        # A record may come from an untrusted folder, and its names become paths.
        for name in (self.revision, *(part for file in self.files for part in file.name.split("/"))):
            if name in ("", ".", "..") or any(mark in name for mark in "/\\:\0"):
                raise ValueError(f"not a plain name: {name!r}")
        for file in self.files:
            if not isinstance(file.size, int | None) or not isinstance(file.digest, str | None):
                raise ValueError(f"no size and digest of {file.name!r}")
        if not isinstance(self.licence, str | None):
            raise ValueError("the licence is no text")


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically, creating its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as sink:
        sink.write((json.dumps(asdict(record), indent=2) + "\n").encode())


def read_record(path: Path) -> Record | None:
    """Read a record; None if the file is missing or invalid."""
    try:
        content = object_in(path) or {}
        files = tuple(FileFacts(str(file["name"]), file["size"], file["digest"]) for file in content["files"])
        return Record(str(content["hub_id"]), str(content["revision"]), content["licence"], files)
    except (ValueError, KeyError, TypeError):
        return None


def object_in(path: Path) -> dict[str, Any] | None:
    """Parse a file that holds a JSON object; None if it can't be read or holds something else."""
    try:
        with filesystem.opened(path) as file:
            content = json.loads(file.read())
        return content if isinstance(content, dict) else None
    except (OSError, ValueError, RecursionError):
        return None


def damage(path: Path, facts: FileFacts, *, deep: bool) -> str | None:
    """Describe what is wrong with a file, or None. deep: compare its hash too, which reads all of it, not only its size."""
    try:
        size = path.stat().st_size
    except OSError:
        return "is missing"
    if facts.size is not None and size != facts.size:
        return f"has {size:,} bytes instead of {facts.size:,}"
    if deep and facts.digest is not None:
        found = digest(path, like=facts.digest)
        if found != facts.digest:
            return f"is damaged: its {_kind(facts.digest)} is {found[:12]}... instead of {facts.digest[:12]}..."
    return None


def digest(path: Path, *, like: str) -> str:
    """Hash a file with the algorithm that produced `like`: SHA-256, or a git blob id if it has 40 digits."""
    begun = hashlib.sha256()
    if _kind(like) != "SHA-256":
        begun = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: begun).hexdigest()


def _kind(value: str) -> str:
    return "SHA-256" if len(value) == 64 else "git SHA-1"

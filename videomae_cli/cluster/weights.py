"""Carries a checkpoint from the machine that runs the command to every other machine, once for each.

The machine that runs the command finds or downloads it; the others get its bytes through Ray's object store and keep
them in their cache folder (`VIDEOMAE_CACHE`) under their digest, so no worker asks the hub and the next job reuses them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videomae_cli import filesystem
from videomae_cli.engines.onnx_reading import is_exported, read_exported
from videomae_cli.engines.store import kept, store_folder
from videomae_cli.errors import CheckpointError, ClusterError, OutputError
from videomae_cli.files import FileLockedError, lock
from videomae_cli.hub import ResolvedSource
from videomae_cli.hub.cache import CONFIG_FILES, shards_of, weight_files

# Bytes per object in Ray's store.
_CHUNK = 256 * 2**20
# Another worker on this machine may be fetching some gigabytes.
_WAIT_SECONDS = 1800.0


@dataclass(frozen=True)
class Parcel:
    """A packed checkpoint. name, revision: as in records; origin: its path on the packing machine; key: the digest of its files;
    single: its file name if it is a single file; files: each name with the objects that hold its bytes."""

    name: str
    revision: str | None
    origin: str
    key: str
    single: str | None
    files: tuple[tuple[str, tuple[Any, ...]], ...]

    def unpack(self) -> ResolvedSource:
        """Return the checkpoint on this machine, fetching it if needed. Raises ClusterError or OutputError."""
        try:
            store_folder().mkdir(parents=True, exist_ok=True)
            with lock(store_folder() / f"{self.key}.lock", wait=_WAIT_SECONDS):
                folder = kept({"checkpoint": self.key}, self._write)
        except FileLockedError:
            raise ClusterError.about(
                self.name, "another process has been fetching {subject} here for too long"
            ) from None
        except OSError as error:
            raise OutputError.about(
                store_folder(),
                "can't keep the model in {subject} ({reason}): set VIDEOMAE_CACHE to a folder",
                reason=error.strerror or error,
            ) from None
        path = folder / self.single if self.single else folder
        return ResolvedSource(path, self.name, "directory", self.revision)

    def _write(self, folder: Path) -> None:
        import ray

        for name, chunks in self.files:
            with (folder / name).open("wb") as file:
                for chunk in chunks:
                    file.write(ray.get(chunk))


def pack(source: ResolvedSource) -> Parcel:
    """Put a checkpoint's files into the connected cluster's object store. Raises CheckpointError."""
    import ray

    digest, files = hashlib.sha256(), []
    try:
        for path in _files(source.path):
            chunks = []
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    chunks.append(ray.put(chunk))
            files.append((path.name, tuple(chunks)))
    except OSError as error:
        raise CheckpointError.about(
            source.path, "can't read the checkpoint {subject}: {reason}", reason=error.strerror or error
        ) from None
    single = None if filesystem.is_folder(source.path) else source.path.name
    return Parcel(source.name, source.revision, str(source.path), digest.hexdigest()[:32], single, tuple(files))


def _files(path: Path) -> list[Path]:
    """List all files that loading a model directory, a weights file or an exported model reads. Files that an index names in other folders are
    left out; loading refuses those."""
    if is_exported(path):
        return list(read_exported(path).files)
    folder = path if filesystem.is_folder(path) else path.parent
    if filesystem.is_folder(path):
        names = weight_files(path)
    else:
        names = [path.name, *(shards_of(path) if path.name.endswith(".index.json") else [])]
    if not names:
        raise CheckpointError.about(path, "{subject} has no weights; expected model.safetensors or pytorch_model.bin")
    files = [folder / name for name in (*names, *CONFIG_FILES) if Path(name).name == name]
    return [file for file in files if filesystem.is_file(file)]

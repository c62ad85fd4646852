"""Remembers the configuration and the digest of checkpoints, so that a converted model runs without reading its weights.

What is remembered holds as long as the checkpoint's files have the same names, sizes, times and bytes at some places; any
doubt means that the checkpoint is read again. Checkpoints about which loading has something to say are never remembered,
because it would not be said again, nor are adapters, which depend on files elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from videomae_cli import filesystem
from videomae_cli.engines.store import store_folder
from videomae_cli.errors import VideoMAEError
from videomae_cli.files import write_file
from videomae_cli.model import VideoMAEConfig

log = logging.getLogger(__name__)

# Version of what is remembered, and how many checkpoints are.
_FORMAT, _MOST = 1, 256
_SUFFIXES = (".json", ".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_ADAPTER = "adapter_config.json"
_MOST_FILES = 64
# A file is hashed whole up to this size, else at so many places of so many bytes.
_WHOLE_BYTES, _SPOTS, _SPOT_BYTES = 2**20, 64, 4096

# For each file of a checkpoint: name, bytes, time of the last change, hash.
Fingerprint: TypeAlias = list[list[str | int]]


@dataclass(frozen=True)
class KnownCheckpoint:
    """What loading a checkpoint found. config: with the caller's heads and labels applied; weights: their digest."""

    config: VideoMAEConfig
    weights: str


class Recollection:
    """What is remembered of one checkpoint, loaded with certain options. Fingerprints are taken on construction.

    asked: the options that decide how the checkpoint is read, as plain values.
    """

    def __init__(self, path: Path, asked: Mapping[str, object]) -> None:
        self._path = path
        self._about = {"format": _FORMAT, "path": filesystem.real(path), **asked}
        self._before = fingerprint(path)
        self._quiet = True

    def known(self) -> KnownCheckpoint | None:
        """Return what was found when these files were loaded with these options, or None."""
        if self._before is None:
            return None
        try:
            content = json.loads(self._place().read_text(encoding="utf-8"))
            if content["files"] != self._before or content["about"] != _plain(self._about):
                return None
            return KnownCheckpoint(VideoMAEConfig.from_dict(content["config"]), str(content["weights"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, VideoMAEError):
            return None

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Notice whether anything is said about the checkpoint while it is loaded."""
        listener = _Listener()
        logger = logging.getLogger("videomae_cli")
        level, handlers, propagates = logger.level, logger.handlers[:], logger.propagate
        if not logger.isEnabledFor(logging.WARNING):  # with --quiet nobody but the listener hears them
            logger.setLevel(logging.WARNING)
            logger.handlers[:], logger.propagate = [], False
        logger.addHandler(listener)
        try:
            yield
        finally:
            logger.setLevel(level)
            logger.handlers[:], logger.propagate = handlers, propagates
            self._quiet = not listener.heard

    def keep(self, found: KnownCheckpoint) -> None:
        """Remember what loading found; failing to write the cache is not an error."""
        if self._before is None or not self._quiet or fingerprint(self._path) != self._before:
            return
        try:
            config = _plain(found.config.to_dict())
            if VideoMAEConfig.from_dict(config) != found.config:
                return  # it holds what no file can
            content = {"about": self._about, "files": self._before, "config": config, "weights": found.weights}
            place = self._place()
            place.parent.mkdir(parents=True, exist_ok=True)
            write_file(place, json.dumps(content).encode())
            _forget_oldest(place.parent)
        except (OSError, VideoMAEError) as error:
            log.debug("what was found in %s is not remembered: %s", self._path, error)

    def _place(self) -> Path:
        key = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).hexdigest()[:24]
        return store_folder() / "checkpoints" / f"{key}.json"


class _Listener(logging.Handler):
    """Notes whether a warning was logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard = False

    def emit(self, record: logging.LogRecord) -> None:
        self.heard = True


def fingerprint(path: Path) -> Fingerprint | None:
    """Describe the files that a checkpoint consists of; None if it can't be described or depends on others."""
    try:
        if filesystem.is_folder(path):
            files = sorted(entry for entry in filesystem.entries(path) if entry.suffix in _SUFFIXES)
        else:
            files = [path, *(one for one in [path.parent / "config.json"] if filesystem.is_there(one))]
        if not files or len(files) > _MOST_FILES or any(file.name == _ADAPTER for file in files):
            return None
        return [_described(file) for file in files]
    except OSError:
        return None


def _described(file: Path) -> list[str | int]:
    with filesystem.opened(file) as stream:
        about = os.fstat(stream.fileno())
        digest = hashlib.sha256()
        if about.st_size <= _WHOLE_BYTES:
            digest.update(stream.read(_WHOLE_BYTES + 1))
        else:
            for spot in range(_SPOTS):
                stream.seek(spot * (about.st_size - _SPOT_BYTES) // (_SPOTS - 1))
                digest.update(stream.read(_SPOT_BYTES))
    return [file.name, about.st_size, about.st_mtime_ns, digest.hexdigest()[:32]]


def _plain(values: Mapping[str, object]) -> Any:
    """Return the values as JSON gives them back."""
    return json.loads(json.dumps(values))


def _forget_oldest(folder: Path) -> None:
    """Remove what was remembered longest ago, if there is too much."""
    found = list(folder.glob("*.json"))
    for file in sorted(found, key=lambda one: one.stat().st_mtime)[: max(0, len(found) - _MOST)]:
        file.unlink(missing_ok=True)

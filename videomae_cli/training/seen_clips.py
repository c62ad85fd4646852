"""Records which clips a checkpoint was trained on, beside its weights, so that `evaluate` can say when it measures on them.

A file is known by its content, and not by its name: one that was copied, moved or renamed since is recognised, and no path
of the machine that trained goes with the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem, storage
from videomae_cli.datasets import Example
from videomae_cli.errors import DependencyError, StorageError, VideoError
from videomae_cli.files import whole_file
from videomae_cli.model.conversion import SEEN
from videomae_cli.storage import is_address
from videomae_cli.video.clip_names import ClipName
from videomae_cli.video.image_sequences import DEFAULT_FPS, find_sequence
from videomae_cli.video.tar_members import opened

SCHEMA_VERSION = 1
# Reading all of a data set again would take hours: beginning, middle and end of a file, with its size, are enough to know it.
_SAMPLE_BYTES = 1 << 16
# Objects of a server that are looked at together: what takes is waiting for its answers.
_AT_ONCE = 16

Stretch = tuple[float, float]


@dataclass(frozen=True)
class SeenClips:
    """The clips that a checkpoint was trained on. stretches: from (start, end), by the digest of their file
    or pictures: see `located`."""

    stretches: Mapping[str, Sequence[Stretch]]

    @classmethod
    def read(cls, checkpoint: Path) -> SeenClips | None:
        """Read the record of a checkpoint, a folder or a file; None if there is none, or one that is damaged."""
        folder = checkpoint if filesystem.is_folder(checkpoint) else checkpoint.parent
        try:
            content = json.loads((folder / SEEN).read_text(encoding="utf-8"))
            if content["schema_version"] != SCHEMA_VERSION:
                return None
            return cls({file: [_bounds(*stretch) for stretch in all_of] for file, all_of in content["files"].items()})
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None

    def count(self, examples: Iterable[Example]) -> int:
        """Count the clips that overlap with one that the checkpoint was trained on."""
        return sum(map(self._has, located(examples))) if self.stretches else 0

    def _has(self, place: tuple[str | None, Stretch]) -> bool:
        digest, (start, end) = place
        return any(first < end and start < last for first, last in self.stretches.get(digest or "", ()))


def located(examples: Iterable[Example]) -> Iterator[tuple[str | None, Stretch]]:
    """Yield for each clip the digest of the file or the pictures that it is a part of, None if they can't be read, and which
    part: from (start, end) in seconds, or in numbers of pictures."""
    examples = list(examples)
    digest_of = cache(file_digest)
    remote = list(dict.fromkeys(example.path for example in examples if is_address(example.path)))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="videomae-digests") as pool:
        digests = dict(zip(remote, pool.map(file_digest, remote), strict=True))
    for example in examples:
        path, (start, end) = example.path, _bounds(example.start, example.end)
        try:
            pictures = find_sequence(path)
        except (OSError, ValueError, VideoError):
            pictures = None
        if pictures is not None:
            path = path if filesystem.is_folder(path) else ClipName.parse(path).place
            each, first = (pictures.fps or DEFAULT_FPS) * pictures.step, pictures.numbers[0]
            start, end = first + start * each, min(first + end * each, pictures.numbers[-1] + 1.0)
        yield digests[path] if path in digests else digest_of(path), (start, end)


def record_seen(folder: Path, examples: Iterable[Example], init: Path | None) -> None:
    """Write the record of a checkpoint in `folder`, unless it has one. init: the checkpoint that training started from, whose
    record is taken over. Raises OutputError."""
    if filesystem.is_there(folder / SEEN):
        return
    earlier = SeenClips.read(init) if init is not None else None
    files = {file: set(stretches) for file, stretches in (earlier.stretches if earlier else {}).items()}
    for digest, stretch in located(examples):
        if digest is not None:
            files.setdefault(digest, set()).add(stretch)
    listed = {
        file: [[start, None if end == inf else end] for start, end in sorted(files[file])] for file in sorted(files)
    }
    with whole_file(folder / SEEN) as sink:
        sink.write((json.dumps({"schema_version": SCHEMA_VERSION, "files": listed}) + "\n").encode())


def file_digest(path: str) -> str | None:
    """Hash a clip's content to 16 hexadecimal digits; None if it can't be read.

    Of a file, also one in an archive or in object storage, its size, beginning, middle and end; of numbered pictures their number, and the first,
    the middle and the last of them likewise.
    """
    try:
        pictures = find_sequence(path)
        if pictures is None:
            with storage.opened(path) if is_address(path) else opened(path) as stream:
                return _sampled(hashlib.sha256(), stream).hexdigest()[:16]
        hashed = hashlib.sha256(f"{len(pictures)} pictures".encode())
        for place in (0, len(pictures) // 2, len(pictures) - 1):
            with pictures.opened(place) as stream:
                _sampled(hashed, stream)
    except (OSError, ValueError, VideoError, StorageError, DependencyError):
        return None
    return hashed.hexdigest()[:16]


def _sampled(hashed: hashlib._Hash, stream: BinaryIO) -> hashlib._Hash:
    """Add a file's size, beginning, middle and end to a hash, and return it."""
    size = stream.seek(0, 2)
    hashed.update(str(size).encode())
    for place in (0, size // 2, max(size - _SAMPLE_BYTES, 0)):
        stream.seek(place)
        hashed.update(stream.read(_SAMPLE_BYTES))
    return hashed


def _bounds(start: float | None, end: float | None) -> Stretch:
    return float(start or 0.0), inf if end is None else float(end)

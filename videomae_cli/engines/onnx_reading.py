"""Reads what an ONNX file that `videomae export` wrote says of itself, before ONNX Runtime reads the file.

The structure alone is looked at, field by field and without the weights: a file that is something else, is cut short, or
names weights in places where they can't be is refused in words. The wire format and the field numbers are those of
onnx.proto.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from videomae_cli import filesystem
from videomae_cli.errors import CheckpointError, ConfigError
from videomae_cli.model import VideoMAEConfig

SUFFIX = ".onnx"
# The key of our JSON object among an ONNX file's metadata, and the version of what we read of it.
KEY, _SCHEMA = "videomae", 2
# A protocol buffer can't be larger. A model has some thousand fields for each of its blocks.
_MOST_BYTES, _MOST_FIELDS, _MOST_TEXT, _DEEPEST = 2**31 - 1, 5_000_000, 64 * 2**20, 32
_CHUNK = 16 * 2**20
_DTYPES = ("float32", "float16", "int8")

# For each kind of message, the fields that hold other messages and the kind of these.
_Kinds: TypeAlias = Mapping[str, Mapping[int, str]]
_NESTED: _Kinds = {
    "model": {7: "graph", 14: "metadata", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class ExportedOnnx:
    """An ONNX file that `videomae export` wrote. about: its metadata; config: of the model, with labels; files: itself and the
    weights that lie beside it, if any."""

    path: Path
    about: Mapping[str, Any]
    config: VideoMAEConfig
    files: tuple[Path, ...]

    @property
    def dtype(self) -> str:
        """The number format that the model computes in."""
        return str(self.about["dtype"])

    @property
    def gives_logits(self) -> bool:
        """Whether its outputs are logits (B, labels), not embeddings (B, D)."""
        return bool(self.about["output"]["name"] == "logits")

    @property
    def takes_frames(self) -> bool:
        """Whether its input is frames (B, T, H, W, 3) uint8, not pixel values (B, T, 3, H, W) float32."""
        return bool(self.about["input"]["name"] == "frames")

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """The shape of one clip of the input."""
        frames, (height, width) = self.config.num_frames, self.config.image_hw
        return (frames, height, width, 3) if self.takes_frames else (frames, 3, height, width)

    @property
    def output_size(self) -> int:
        """The number of values for each clip."""
        return self.config.num_labels if self.gives_logits else self.config.hidden_size

    def digest(self) -> str:
        """Compute the digest of the files. Raises CheckpointError."""
        found = hashlib.sha256()
        for file in self.files:
            try:
                with filesystem.opened(file) as stream:
                    while chunk := stream.read(_CHUNK):
                        found.update(chunk)
            except OSError as error:
                raise _unreadable(file, error) from None
        return found.hexdigest()[:32]


def is_exported(path: Path) -> bool:
    """Whether a path is a file that is named as ONNX files are."""
    return path.suffix.lower() == SUFFIX and filesystem.is_file(path)


def read_exported(path: Path) -> ExportedOnnx:
    """Read the metadata of an ONNX file. Raises CheckpointError for one that `videomae export` didn't write, or that is
    damaged."""
    try:
        with filesystem.opened(path) as stream:
            size = stream.seek(0, 2)
            if size == 0:
                raise CheckpointError.about(path, "{subject} is empty")
            if size > _MOST_BYTES:
                raise CheckpointError.about(
                    path, "{subject} has more than 2 GB, and no ONNX file can: it is something else"
                )
            text, weights = _Structure(stream, size, path).read()
    except OSError as error:
        raise _unreadable(path, error) from None
    if text is None:
        raise CheckpointError.about(
            path, "{subject} has no metadata of `videomae export`: give a file that it wrote, or a checkpoint"
        )
    about = _parsed(text, path)
    files = (path, *(_beside(path, name, end) for name, end in sorted(weights.items())))
    return ExportedOnnx(path, about, _config(about, path), files)


class _Structure:
    """Walks through an ONNX file's fields."""

    def __init__(self, stream: BinaryIO, size: int, path: Path) -> None:
        self._stream, self._size, self._path = stream, size, path
        self._left = _MOST_FIELDS
        self._text: bytes | None = None
        self._weights: dict[str, int] = {}

    def read(self) -> tuple[bytes | None, dict[str, int]]:
        """Return our metadata, if any, and the files that hold weights with the number of bytes that each needs."""
        self._walk("model", 0, self._size, 0)
        return self._text, self._weights

    def _walk(self, kind: str, start: int, end: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise self._wrong("is nested too deeply for an ONNX file")
        entries: dict[bytes, bytes] = {}
        for number, begin, stop in self._fields(start, end):
            inner = _NESTED[kind].get(number)
            if inner in ("metadata", "external"):
                key, value = self._entry(begin, stop)
                if inner == "external":
                    entries[key] = value
                elif key == KEY.encode():
                    self._text = value
            elif inner is not None:
                self._walk(inner, begin, stop, depth + 1)
        if entries:
            self._note_weights(entries)

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield the number of each field of a message, and where its content begins and ends."""
        place = start
        while place < end:
            self._left -= 1
            if self._left < 0:
                raise self._wrong("has too many parts for an ONNX file")
            self._stream.seek(place)
            tag = self._varint()
            number, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                begin = self._stream.tell()
                self._varint()
                stop = self._stream.tell()
            elif wire == _BYTES:
                length = self._varint()
                begin = self._stream.tell()
                stop = begin + length
            elif wire in (_FIXED64, _FIXED32):
                begin = self._stream.tell()
                stop = begin + (8 if wire == _FIXED64 else 4)
            else:
                raise self._wrong("is no ONNX file")
            if number == 0 or stop > end:
                raise self._wrong("is cut short, or no ONNX file")
            yield number, begin, stop
            place = stop

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._stream.read(1)
            if not byte:
                raise self._wrong("is cut short, or no ONNX file")
            value |= (byte[0] & 127) << shift
            if byte[0] < 128:
                return value
        raise self._wrong("is no ONNX file")

    def _entry(self, start: int, end: int) -> tuple[bytes, bytes]:
        """Read a pair of strings."""
        found = {1: b"", 2: b""}
        for number, begin, stop in self._fields(start, end):
            if stop - begin > _MOST_TEXT:
                raise self._wrong("has metadata that are too large")
            if number in found:
                self._stream.seek(begin)
                found[number] = self._stream.read(stop - begin)
        return found[1], found[2]

    def _note_weights(self, entries: Mapping[bytes, bytes]) -> None:
        """Note which file holds a tensor's numbers, and up to which byte."""
        try:
            name = entries.get(b"location", b"").decode()
            offset, length = (int(entries.get(key, b"0")) for key in (b"offset", b"length"))
        except ValueError:
            raise self._wrong("doesn't say where its weights are") from None
        if name != Path(name).name or name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise self._wrong("wants to read weights from another folder, and is not opened")
        if offset < 0 or length < 0:
            raise self._wrong("doesn't say where its weights are")
        self._weights[name] = max(self._weights.get(name, 0), offset + length)

    def _wrong(self, words: str) -> CheckpointError:
        return CheckpointError.about(self._path, "{subject} {words}", words=words)


def _beside(path: Path, name: str, end: int) -> Path:
    """Return the file of weights beside an ONNX file. Raises CheckpointError if it is missing or too short."""
    file = path.parent / name
    if not filesystem.is_file(file):
        reason = "{subject} needs the file {name} beside it, which holds its weights: move both together"
        raise CheckpointError.about(path, reason, name=name)
    if file.stat().st_size < end:
        raise CheckpointError.about(file, "{subject} is cut short: it lacks weights of {name}", name=path.name)
    return file


def _parsed(text: bytes, path: Path) -> Mapping[str, Any]:
    """Return the metadata. Raises CheckpointError if they aren't those of an exported model."""
    reason = "{subject}: its metadata make no sense"
    try:
        about = json.loads(text)
        schema, named = about["schema_version"], (about["input"]["name"], about["output"]["name"])
        dtype = about["dtype"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError.about(path, reason) from None
    if schema != _SCHEMA:
        raise CheckpointError.about(
            path, "{subject} was exported by another version: export it again to run it here", schema=schema
        )
    known = named[0] in ("frames", "pixel_values") and named[1] in ("logits", "embeddings") and dtype in _DTYPES
    if not known or not all(isinstance(about.get(name), dict) for name in ("config", "sampling", "preprocessing")):
        raise CheckpointError.about(path, reason)
    return dict(about)


def _config(about: Mapping[str, Any], path: Path) -> VideoMAEConfig:
    try:
        config = VideoMAEConfig.from_dict(about["config"], where=path)
    except ConfigError as error:
        raise CheckpointError.about(path, "{subject}: its metadata make no sense: {error}", error=error) from None
    if about["output"]["name"] == "logits" and config.num_labels == 0:
        raise CheckpointError.about(path, "{subject}: its metadata make no sense: it has logits, and no labels")
    return config


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError.about(path, "{subject} can't be read: {reason}", reason=error.strerror or error)

"""The npz files of `videomae embed`, some rows at a time: numpy itself would read an array as a whole."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from videomae_cli.search.pieces import BLOCK, MAX_DIMENSIONS, ROW_COLUMNS, Array, Piece, mapping, row_of


def npz_settings(file: Path) -> dict[str, Any]:
    """What the vectors were made with, as far as the file says."""
    return mapping(_metadata(file).get("settings"))


def read_npz(file: Path) -> Iterator[Piece]:
    """Raises ValueError, OSError, RuntimeError or what zipfile raises where the file is damaged."""
    failed = len(_metadata(file).get("failures", ()))
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        if not {"embeddings.npy", "paths.npy"} <= names:
            raise ValueError("it has no arrays embeddings and paths")
        vectors = _Npy(archive.open("embeddings.npy"))
        if len(vectors.shape) != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] > MAX_DIMENSIONS:
            raise ValueError(f"its embeddings are {vectors.shape} {vectors.dtype}, not (N, D) numbers")
        columns = {
            name: _Npy(archive.open(f"{name}.npy")) for name in ("paths", "t", *ROW_COLUMNS) if f"{name}.npy" in names
        }
        if any(column.shape != vectors.shape[:1] for column in columns.values()):
            raise ValueError("its arrays are not of one length")
        while len(block := vectors.read(BLOCK)):
            lists = {name: _values(column.read(BLOCK)) for name, column in columns.items()}
            lists["path"] = [str(path) for path in lists.pop("paths")]
            records = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
            yield Piece(
                vectors=block,
                rows=[row_of(record) for record in records],
                failed=failed,
                slots=any(value is not None for value in lists.get("t", ())),
            )
            failed = 0
    if failed:  # of a file without any vector
        yield Piece(np.zeros((0, 0), np.float32), [], failed)


def _metadata(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        if "metadata.npy" not in archive.namelist():
            return {}
        stored = np.load(archive.open("metadata.npy"), allow_pickle=False)
    return mapping(json.loads(str(stored)))


class _Npy:
    """One array of the archive, read from its beginning to its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, columnwise, self.dtype = read(stream)
        if self.dtype.hasobject or not self.shape or min(self.shape) < 0:
            raise ValueError("it holds an array of something else than numbers and texts")
        if columnwise and len(self.shape) > 1:
            raise ValueError("its embeddings are stored column by column: save np.ascontiguousarray of them")
        self._left = self.shape[0]

    def read(self, count: int) -> Array:
        """The next rows, `count` at most; none after the last."""
        rows = min(count, self._left)
        self._left -= rows
        shape = (rows, *self.shape[1:])
        size = int(np.prod(shape)) * self.dtype.itemsize
        content = self._stream.read(size) if size else b""
        if len(content) != size:
            raise ValueError("it is cut off")
        return np.frombuffer(content, self.dtype).reshape(shape) if size else np.zeros(shape, self.dtype)


def _values(column: Array) -> list[Any]:
    """Return a column as Python values; -1, which stands for what does not apply, becomes None."""
    if column.dtype.kind in "iu":
        return [None if value < 0 else value for value in column.tolist()]
    values: list[Any] = column.tolist()
    return values

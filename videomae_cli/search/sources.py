"""The three formats of a file of embeddings, read piece by piece: Parquet, npz, JSON Lines. Nothing is judged here.

A reader raises ValueError where the file is not what it should be; `vectors` makes that a sentence for people.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from videomae_cli.results import path_of
from videomae_cli.writers.parquet import load_pyarrow

Array = npt.NDArray[Any]

# Rows that are in memory at once: 12 MB of 768 float32 values.
BLOCK = 4096
# Wider than any VideoMAE by far: a number beyond it is damage, and must not become an allocation.
MAX_DIMENSIONS = 65536
_ROW_COLUMNS = ("index", "clip", "start", "end")  # as `Row` has them after the path
_TOKEN_COLUMNS = ("t", "h", "w")


@dataclass(frozen=True, slots=True)
class Row:
    """What one vector is of. index: the file's place in the job's list; clip, start, end (seconds): None where unknown."""

    path: str
    index: int | None = None
    clip: int | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Piece:
    """Some rows as they are stored. vectors: (n, D), any float type; failed: rows that hold an error instead."""

    vectors: Array
    rows: list[Row]
    failed: int = 0
    tokens: bool = False
    models: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Source:
    """An opened format: the settings it was made with, and its pieces, as often as they are wanted."""

    file: Path
    format: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def pieces(self) -> Iterator[Piece]:
        """From the first row to the last."""
        return _READERS[self.format](self.file)


def open_source(file: Path) -> Source:
    """By the first bytes, not by the name. Raises ValueError, OSError."""
    with file.open("rb") as stream:
        head = stream.read(4)
    if head == b"PAR1":
        return Source(file, "parquet", _parquet_settings(file))
    if head[:2] == b"PK":
        return Source(file, "npz", _npz_metadata(file).get("settings", {}))
    if head[:1] == b"{":
        return Source(file, "jsonl")
    raise ValueError("it is none of Parquet, npz and JSON Lines")


# --- Parquet ----------------------------------------------------------------------------------


def _parquet_settings(file: Path) -> Mapping[str, Any]:
    _, parquet = load_pyarrow()
    with _parquet_errors(), parquet.ParquetFile(file) as table:
        stored = (table.schema_arrow.metadata or {}).get(b"videomae")
    settings = json.loads(stored) if stored else {}
    return settings if isinstance(settings, dict) else {}


def _read_parquet(file: Path) -> Iterator[Piece]:
    _, parquet = load_pyarrow()
    wanted = ["path", *_ROW_COLUMNS, "path_bytes", "embedding", "model", "fingerprint", *_TOKEN_COLUMNS]
    with _parquet_errors(), parquet.ParquetFile(file) as table:
        names = table.schema_arrow.names
        if "path" not in names or "embedding" not in names:
            raise ValueError("it has no columns path and embedding")
        for batch in table.iter_batches(batch_size=BLOCK, columns=[name for name in wanted if name in names]):
            yield _parquet_piece(batch)


def _parquet_piece(batch: Any) -> Piece:
    there = batch.column("embedding").is_valid()
    kept = batch.filter(there)
    columns = {name: kept.column(name).to_pylist() for name in kept.schema.names if name != "embedding"}
    count = kept.num_rows
    lists = [columns.get(name, [None] * count) for name in _ROW_COLUMNS]
    paths = [path_of({"path": path, "path_bytes": raw}) for path, raw in _paired(columns, count)]
    return Piece(
        vectors=_parquet_vectors(kept.column("embedding"), count),
        rows=[Row(*values) for values in zip(paths, *lists, strict=True)],
        failed=batch.num_rows - count,
        tokens=any(value is not None for name in _TOKEN_COLUMNS for value in columns.get(name, ())),
        models=frozenset(set(columns.get("model", ())) - {None}),
        fingerprints=frozenset(set(columns.get("fingerprint", ())) - {None}),
    )


def _paired(columns: dict[str, list[Any]], count: int) -> Iterator[tuple[str, str | None]]:
    return zip(columns["path"], columns.get("path_bytes", [None] * count), strict=True)


def _parquet_vectors(column: Any, count: int) -> Array:
    """(n, D) from fixed-size lists, or from lists that all have one length, as other tools write them."""
    flat = column.flatten()
    if count and len(flat) % count == 0 and not hasattr(column.type, "list_size"):
        lengths = {len(value) for value in column}
        if len(lengths) > 1:
            raise MixedDimensionsError(sorted(lengths))
    values = np.asarray(flat.to_numpy(zero_copy_only=False))
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError("its embeddings are no numbers with a fraction")
    return values.reshape(count, len(flat) // count if count else 0)


class _parquet_errors:  # noqa: N801 - used as a statement
    """pyarrow's exceptions, most of which are no ValueErrors, as ValueErrors of one line."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        pa, _ = load_pyarrow()
        if isinstance(error, pa.ArrowException) and not isinstance(error, (MemoryError, KeyboardInterrupt)):
            raise ValueError(f"it is damaged ({' '.join(str(error).split())})") from None


class MixedDimensionsError(ValueError):
    """Vectors of more than one length."""

    def __init__(self, lengths: list[int]) -> None:
        super().__init__(f"its vectors have {' and '.join(map(str, lengths[:3]))} values: they can't be compared")


# --- npz --------------------------------------------------------------------------------------


def _npz_metadata(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        if "metadata.npy" not in archive.namelist():
            return {}
        stored = np.load(archive.open("metadata.npy"), allow_pickle=False)
    metadata = json.loads(str(stored))
    return metadata if isinstance(metadata, dict) else {}


def _read_npz(file: Path) -> Iterator[Piece]:
    failed = len(_npz_metadata(file).get("failures", ()))
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        if not {"embeddings.npy", "paths.npy"} <= names:
            raise ValueError("it has no arrays embeddings and paths")
        vectors = _Npy(archive.open("embeddings.npy"))
        if len(vectors.shape) != 2 or vectors.dtype.kind != "f" or vectors.shape[1] > MAX_DIMENSIONS:
            raise ValueError(f"its embeddings are {vectors.shape} {vectors.dtype}, not (N, D) of floats")
        extra = ("paths", *_ROW_COLUMNS, *_TOKEN_COLUMNS)
        columns = {name: _Npy(archive.open(f"{name}.npy")) for name in extra if f"{name}.npy" in names}
        if any(column.shape != vectors.shape[:1] for column in columns.values()):
            raise ValueError("its arrays are not of one length")
        while (block := vectors.read(BLOCK)) is not None:
            lists = {name: _values(column.read(BLOCK)) for name, column in columns.items()}
            absent = [None] * len(block)
            values = [lists.get(name, absent) for name in _ROW_COLUMNS]
            rows = [Row(str(path), *rest) for path, *rest in zip(lists["paths"], *values, strict=True)]
            tokens = any(value is not None for name in _TOKEN_COLUMNS for value in lists.get(name, ()))
            yield Piece(block, rows, failed, tokens)
            failed = 0
        if failed:
            yield Piece(np.zeros((0, vectors.shape[1]), np.float32), [], failed)


class _Npy:
    """One array of an npz file, read some rows at a time; numpy itself would read all of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, fortran, self.dtype = read(stream)
        if self.dtype.hasobject or not self.shape or (fortran and len(self.shape) > 1):
            raise ValueError("it holds an array that is not stored row by row")
        self._left = self.shape[0]

    def read(self, count: int) -> Array | None:
        """The next rows, `count` at most; None after the last."""
        rows = min(count, self._left)
        if rows == 0:
            return None
        self._left -= rows
        shape = (rows, *self.shape[1:])
        size = int(np.prod(shape)) * self.dtype.itemsize
        content = self._stream.read(size)
        if len(content) != size:
            raise ValueError("it is cut off")
        return np.frombuffer(content, self.dtype).reshape(shape)


def _values(column: Array | None) -> list[Any]:
    """As Python has them; what is no number (an absent clip is -1 or NaN) is None."""
    assert column is not None, "all columns have one length"
    if column.dtype.kind == "f":
        return [None if np.isnan(value) else float(value) for value in column]
    if column.dtype.kind in "iu":
        return [None if value < 0 else int(value) for value in column]
    return [str(value) for value in column]


# --- JSON Lines -------------------------------------------------------------------------------


def _read_lines(file: Path) -> Iterator[Piece]:
    records: list[dict[str, Any]] = []
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            record = json.loads(line) if line.strip() else None
            if not isinstance(record, dict) or "embedding" not in record or "path" not in record:
                raise ValueError(f"line {number} has no path and embedding")
            records.append(record)
            if len(records) == BLOCK:
                yield _lines_piece(records)
                records = []
    yield _lines_piece(records)


def _lines_piece(records: list[dict[str, Any]]) -> Piece:
    there = [record for record in records if record["embedding"] is not None]
    lengths = {len(record["embedding"]) for record in there}
    if len(lengths) > 1:
        raise MixedDimensionsError(sorted(lengths))
    vectors = np.array([record["embedding"] for record in there], np.float32)
    return Piece(
        vectors=vectors.reshape(len(there), lengths.pop() if lengths else 0),
        rows=[Row(path_of(r), *(r.get(name) for name in _ROW_COLUMNS)) for r in there],
        failed=len(records) - len(there),
        tokens=any(record.get(name) is not None for record in there for name in _TOKEN_COLUMNS),
        models=frozenset(r["model"] for r in there if r.get("model")),
        fingerprints=frozenset(r["fingerprint"] for r in there if r.get("fingerprint")),
    )


_READERS = {"parquet": _read_parquet, "npz": _read_npz, "jsonl": _read_lines}
# What damaged files make the readers raise.
DAMAGE = (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)

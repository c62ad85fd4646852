"""A file of embeddings, read piece by piece: Parquet, npz, JSON Lines, the folder that `embed -o DIR/` makes, or
the one of Parquet shards that a cluster makes.

Nothing is judged here: a reader raises one of `DAMAGE` where a file is not what it should be, and `embedding_table` makes that a
sentence for people.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from videomae_cli import filesystem
from videomae_cli.results import file_of, path_of
from videomae_cli.search.npz import npz_settings, read_npz
from videomae_cli.search.pieces import BLOCK, ROW_COLUMNS, Array, Piece, mapping, matrix, row_of, same_length, texts
from videomae_cli.writers import shards_in
from videomae_cli.writers.parquet import load_pyarrow

# What damaged files make the readers raise.
DAMAGE = (ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
INDEX = "index.jsonl"  # of a folder: what its .npy files are of


@dataclass(frozen=True)
class EmbeddingFile:
    """An opened format: the settings it was made with, and its pieces, as often as they are wanted."""

    file: Path
    format: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def pieces(self) -> Iterator[Piece]:
        """From the first row to the last."""
        return _READERS[self.format](self.file)


def open_source(file: Path) -> EmbeddingFile:
    """Open embeddings of any format, recognised by the first bytes and not by the name. Raises OSError or one of `DAMAGE`."""
    if filesystem.is_folder(file):
        if shards := shards_in(file):
            return EmbeddingFile(file, "shards", _parquet_settings(shards[0]))
        filesystem.opened(file / INDEX).close()
        return EmbeddingFile(file, "folder")
    with filesystem.opened(file) as stream:
        head = stream.read(4)
    if head == b"PAR1":
        return EmbeddingFile(file, "parquet", _parquet_settings(file))
    if head[:2] == b"PK":
        return EmbeddingFile(file, "npz", npz_settings(file))
    if head[:1] == b"{":
        return EmbeddingFile(file, "jsonl")
    raise ValueError("it is none of Parquet, npz and JSON Lines")


# --- Parquet ----------------------------------------------------------------------------------


def _parquet_settings(file: Path) -> dict[str, Any]:
    _, parquet = load_pyarrow()
    with _parquet_errors(), parquet.ParquetFile(file) as table:
        stored = (table.schema_arrow.metadata or {}).get(b"videomae")
    return mapping(json.loads(stored)) if stored else {}


def _read_parquet(file: Path) -> Iterator[Piece]:
    _, parquet = load_pyarrow()
    wanted = ["path", "path_bytes", "embedding", "model", "fingerprint", "t", *ROW_COLUMNS]
    # Without pre_buffer a row group at a time is in memory, else in the end all of them.
    with _parquet_errors(), parquet.ParquetFile(file, pre_buffer=False) as table:
        names = table.schema_arrow.names
        if "path" not in names or "embedding" not in names:
            raise ValueError("it has no columns path and embedding")
        for batch in table.iter_batches(batch_size=BLOCK, columns=[name for name in wanted if name in names]):
            yield _parquet_piece(batch)


def _read_shards(folder: Path) -> Iterator[Piece]:
    for file in shards_in(folder):
        yield from _read_parquet(file)


def _parquet_piece(batch: Any) -> Piece:
    kept = batch.filter(batch.column("embedding").is_valid())
    columns = {name: kept.column(name).to_pylist() for name in kept.schema.names if name != "embedding"}
    return Piece(
        vectors=_parquet_vectors(kept.column("embedding")),
        rows=[row_of(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)],
        failed=batch.num_rows - kept.num_rows,
        slots=any(value is not None for value in columns.get("t", ())),
        models=texts(columns.get("model", ())),
        fingerprints=texts(columns.get("fingerprint", ())),
    )


def _parquet_vectors(column: Any) -> Array:
    """(n, D) from lists of one length, by their type or by themselves, as other tools write them."""
    if hasattr(column, "value_lengths"):
        same_length(column.value_lengths().to_pylist())
    elif not hasattr(column.type, "list_size"):
        raise ValueError("its embeddings are no lists of numbers")
    return matrix(np.asarray(column.flatten().to_numpy(zero_copy_only=False)), len(column))


@contextmanager
def _parquet_errors() -> Iterator[None]:
    """pyarrow's own exceptions, not all of which are ValueErrors, as ValueErrors of one line."""
    pa, _ = load_pyarrow()
    try:
        yield
    except pa.ArrowException as error:
        if isinstance(error, MemoryError):
            raise
        raise ValueError(f"it is damaged ({' '.join(str(error).split())})") from None


# --- JSON Lines, and a folder of .npy files with such lines beside them --------------------------


def _records(file: Path) -> Iterator[dict[str, Any]]:
    with filesystem.opened(file) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                raise ValueError(f"line {number} is damaged or cut off") from None
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is no record")
            yield record


def _read_lines(file: Path) -> Iterator[Piece]:
    records: list[dict[str, Any]] = []
    for number, record in enumerate(_records(file), 1):
        if "path" not in record or not isinstance(record.get("embedding", 0), (list, NoneType)):
            raise ValueError(f"line {number} has no path and embedding")
        records.append(record)
        if len(records) == BLOCK:
            yield _lines_piece(records)
            records = []
    yield _lines_piece(records)


def _lines_piece(records: list[dict[str, Any]]) -> Piece:
    there = [record for record in records if record["embedding"] is not None]
    same_length([len(record["embedding"]) for record in there])
    vectors = matrix(np.array([record["embedding"] for record in there]), len(there))
    with np.errstate(over="ignore"):  # what becomes infinite is told with its name
        return _piece(there, vectors.astype(np.float32), len(records) - len(there))


def _piece(there: list[dict[str, Any]], vectors: Array, failed: int) -> Piece:
    return Piece(
        vectors=vectors,
        rows=[row_of(record) for record in there],
        failed=failed,
        slots=any(record.get("t") is not None for record in there),
        models=texts([record.get("model") for record in there]),
        fingerprints=texts([record.get("fingerprint") for record in there]),
    )


def _read_folder(folder: Path) -> Iterator[Piece]:
    records: list[dict[str, Any]] = []
    vectors: list[Array] = []
    failed = 0
    for record in _records(folder / INDEX):
        if "path" not in record or "file" not in record:
            raise ValueError(f"its {INDEX} is not that of a folder of embeddings")
        if record["file"] is None:
            failed += 1
            continue
        array = np.atleast_2d(np.load(_array_of(folder, record), allow_pickle=False))
        places = record.get("rows") or [{}]
        if len(places) != len(array):
            raise ValueError(f"{record['file']} does not have the {len(places)} vectors of {INDEX}")
        records += [record | mapping(place) for place in places]
        vectors += list(array)
        if len(records) >= BLOCK:
            same_length([len(vector) for vector in vectors])
            yield _piece(records, matrix(np.stack(vectors), len(vectors)), failed)
            records, vectors, failed = [], [], 0
    same_length([len(vector) for vector in vectors])
    yield _piece(records, matrix(np.stack(vectors) if vectors else np.zeros((0, 0)), len(vectors)), failed)


def _array_of(folder: Path, record: dict[str, Any]) -> Path:
    """The file that holds a record's vectors. Indexes of earlier versions tell bytes that are no UTF-8 only in the path of the
    video, which the name ends as."""
    name = file_of(record) or ""
    if record.get("path_bytes") and not record.get("file_bytes") and "~" not in name:
        name = "/".join(path_of(record).split("/")[-name.count("/") - 1 :]) + ".npy"
    return folder / name


_READERS = {
    "parquet": _read_parquet,
    "npz": read_npz,
    "jsonl": _read_lines,
    "folder": _read_folder,
    "shards": _read_shards,
}

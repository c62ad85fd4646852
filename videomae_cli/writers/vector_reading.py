"""Reads embeddings that this or another tool wrote: Parquet, npz, JSON Lines, the folder that `embed -o DIR/` makes, or a
cluster's folder of Parquet shards.

Every format is read as batches of rows in file order, so that memory stays flat. `read_vector_records` turns them back into
the records of a job (resume, merge); `search.embedding_table` compares their vectors. Files may be damaged or foreign: a reader
raises OSError or one of `DAMAGE`, which its callers turn into a one-line message.
"""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from types import NoneType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from videomae_cli import filesystem
from videomae_cli.errors import OutputError, Wording
from videomae_cli.results import Record, engine_of, file_of, path_fields, path_of
from videomae_cli.storage.manifests import load_pyarrow
from videomae_cli.writers.columns import ERROR, to_error
from videomae_cli.writers.formats import VectorLayout, pick_vector_format
from videomae_cli.writers.parquet import READ_BYTES
from videomae_cli.writers.reading import unreadable
from videomae_cli.writers.vectors import METADATA_KEY, PLACE

Array = npt.NDArray[Any]
Row = dict[str, Any]

# What the readers raise for damaged files. RuntimeError: a zip member with a password or an unknown compression method.
DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
INDEX = "index.jsonl"  # in a folder: one line per video, naming its .npy file
# A shard of a cluster job, and what its folder also holds until the job is complete.
PART = re.compile(r"part-([0-9]{5,})-of-([0-9]{5,})\.parquet")
PARTIAL = "_partial"
# The most missing shards to list: a damaged or invented name may promise any number of them.
_MOST_MISSING = 1000
# Rows in memory at once: 12 MiB with 768 float32 values each. Fewer when a merge reads many files side by side.
BLOCK = 4096
_JOINED_BLOCK = 512
# Far wider than any VideoMAE: a larger number means damage, and must not lead to a huge allocation.
MAX_DIMENSIONS = 65536


@dataclass(frozen=True)
class RowBatch:
    """Consecutive rows of a file. rows: the columns of each, without its vector; present: which rows have a vector; vectors:
    (n, D), of any real type, one for each row that is present."""

    rows: list[Row]
    present: list[bool]
    vectors: Array

    def pairs(self) -> Iterator[tuple[Row, Array | None]]:
        """Yield each row with its vector (D,), or None."""
        vectors = iter(self.vectors)
        return ((row, next(vectors) if present else None) for row, present in zip(self.rows, self.present, strict=True))


@dataclass(frozen=True)
class EmbeddingFile:
    """An output of known format, and the settings it was made with, as far as it records them."""

    file: Path
    format: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def batches(
        self, columns: Collection[str] | None = None, *, vectors: bool = True, size: int | None = None
    ) -> Iterator[RowBatch]:
        """Read all rows, `size` at a time (default: `BLOCK`). columns: the ones to read, where skipping others saves time;
        vectors: False skips the vectors. Raises OSError or one of `DAMAGE`."""
        return _READERS[self.format](self.file, size or BLOCK, columns, vectors)


def open_embeddings(file: Path) -> EmbeddingFile:
    """Open embeddings of any format, recognised by the first bytes and not by the name. Raises OSError or one of `DAMAGE`."""
    if filesystem.is_folder(file):
        if shards := shards_in(file):
            if missing := missing_shards(shards):
                raise OutputError.about(
                    file,
                    "{subject} is not complete: {missing} is missing",
                    missing=missing[0],
                    remedy=Wording("run its job again with {@resume:True}"),
                )
            return EmbeddingFile(file, "shards", _about(shards[0], "parquet")[0])
        return EmbeddingFile(file, "folder", _folder_settings(file))
    with filesystem.opened(file) as stream:
        head = stream.read(4)
    format = "parquet" if head == b"PAR1" else "npz" if head[:2] == b"PK" else "jsonl" if head[:1] == b"{" else None
    if format is None:
        raise ValueError("it is none of Parquet, npz and JSON Lines")
    return EmbeddingFile(file, format, _about(file, format)[0])


def _folder_settings(folder: Path) -> dict[str, Any]:
    """Return the settings that the lines of a folder's index name, {} if they name none."""
    for _, row in _json_rows(folder / INDEX):
        return _object(row.get("settings"))
    return {}


def shards_in(folder: Path) -> list[Path]:
    """List the Parquet shards in a cluster job's folder, in order."""
    return [file for file in filesystem.entries(folder, "part-*.parquet") if is_part(file)]


def is_part(file: Path) -> bool:
    """Return whether a file is named as one of several in a cluster job's folder."""
    return PART.fullmatch(file.name) is not None


def missing_shards(files: Iterable[Path]) -> list[str]:
    """List the shards, at most a thousand, that the names of the others promise: `part-00002-of-00005.parquet` promises five."""
    given: dict[tuple[Path, str], set[int]] = {}
    for file in files:
        if match := PART.fullmatch(file.name):
            given.setdefault((file.parent, match[2]), set()).add(int(match[1]))
    missing = (
        f"part-{number:05}-of-{count}.parquet"
        for (_, count), numbers in given.items()
        for number in range(int(count))
        if number not in numbers
    )
    return list(islice(missing, _MOST_MISSING))


def _about(file: Path, format: str) -> tuple[dict[str, Any], str | None]:
    """Return the settings that a file was made with, {} if it names none, and its shard ("I/N") or None."""
    if format == "npz":
        with zipfile.ZipFile(file) as archive:
            about = _metadata(archive)
        return _object(about.get("settings")), about.get("shard")
    if format == "parquet":
        _, parquet = load_pyarrow()
        with _parquet_errors(), parquet.ParquetFile(file) as table:
            stored = (table.schema_arrow.metadata or {}).get(METADATA_KEY)
        return _object(json.loads(stored)) if stored else {}, None
    return {}, None


# --- Back to the records of a job -------------------------------------------------------------


def read_layout(file: Path) -> VectorLayout:
    """Return what the vectors of a file have in common. Raises OutputError if it is not an output of `embed`."""
    format = pick_vector_format(None, file)
    try:
        filesystem.opened(file).close()  # raises for a pipe, reading which would block
        settings, shard = _about(file, format)
        if format == "jsonl":
            settings, shard = _layout_of_lines(file)
        dimensions, storage = settings["dimensions"], settings["storage"]
        if dimensions not in range(1, MAX_DIMENSIONS + 1) or storage not in ("float16", "float32"):
            raise ValueError(f"vectors of {dimensions} values of {storage}")
        return VectorLayout(dimensions, storage, settings, shard)
    except (OSError, *DAMAGE) as error:
        raise unreadable(file, error, "{subject} is no output of videomae embed ({error})") from None


def _layout_of_lines(file: Path) -> tuple[dict[str, Any], str | None]:
    for batch in EmbeddingFile(file, "jsonl").batches(size=1):
        for row, vector in batch.pairs():
            if vector is not None:
                settings = {name: row.get(name) for name in ("model", "revision", "engine", "fingerprint", "version")}
                return settings | {"dimensions": len(vector), "storage": "float32"}, row["shard"]
    raise ValueError("it holds no vector")


def holds_vectors(file: Path) -> bool:
    """Return whether a file looks like an output of `embed`, judging by its suffix and its beginning."""
    suffix = file.suffix.lower()
    if filesystem.look(file).kind == "other":
        return False  # opening a pipe would block
    try:
        if suffix in (".parquet", ".pq"):
            _, parquet = load_pyarrow()
            return "embedding" in parquet.read_schema(file).names
        if suffix in (".jsonl", ".ndjson"):
            with file.open("rb") as stream:
                return "embedding" in json.loads(stream.readline() or b"{}")
    except (OSError, *DAMAGE):
        return False  # the reader will report what is wrong
    return suffix == ".npz"


def read_vector_records(file: Path, *, vectors: bool = True, size: int = _JOINED_BLOCK) -> Iterator[Record]:
    """Read the records of an output of `embed`, one per video, with `rows` and `vectors` (R, D); vectors=False reads None for
    the vectors. size: how many rows are in memory at once. Raises OutputError."""
    source = EmbeddingFile(file, pick_vector_format(None, file))
    try:
        filesystem.opened(file).close()  # raises for a pipe, reading which would block
        pairs = (pair for batch in source.batches(vectors=vectors, size=size) for pair in batch.pairs())
        for _, group in groupby(pairs, key=lambda pair: pair[0]["index"]):
            yield _record(list(group))
    except (OSError, *DAMAGE) as error:
        raise unreadable(file, error) from None


def _record(pairs: list[tuple[Row, Array | None]]) -> Record:
    first = pairs[0][0]
    vectors = [vector for _, vector in pairs if vector is not None]
    skipped = (*PLACE, *ERROR, "path_bytes", *(("list",) if not first.get("list") else ()))
    record = {name: value for name, value in first.items() if name not in skipped}
    failed = first["status"] != "ok"
    return record | {
        **path_fields(path_of(first)),
        "error": first["error"] if "error" in first else to_error(first),
        "rows": [] if failed else [{name: row[name] for name in PLACE} for row, _ in pairs],
        "vectors": np.stack(vectors) if vectors else None,
    }


# --- Parquet ----------------------------------------------------------------------------------


def _read_parquet(file: Path, size: int, columns: Collection[str] | None, vectors: bool) -> Iterator[RowBatch]:
    _, parquet = load_pyarrow()
    # pre_buffer would end up holding all row groups in memory; without it there is one at a time.
    # buffer_size reads a column's pages one by one, of which a merge has many files open.
    with _parquet_errors(), parquet.ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES) as table:
        names = table.schema_arrow.names
        if "path" not in names or "embedding" not in names:
            raise ValueError("it has no columns path and embedding")
        wanted = [name for name in names if columns is None or name in columns]
        for batch in table.iter_batches(size, columns=wanted if vectors else [n for n in wanted if n != "embedding"]):
            if not vectors:
                yield RowBatch(batch.to_pylist(), [False] * batch.num_rows, _NONE)
                continue
            column = batch.column("embedding")
            valid = column.is_valid()
            rows = batch.drop_columns(["embedding"]).to_pylist()
            yield RowBatch(rows, valid.to_pylist(), _parquet_vectors(column.filter(valid)))


def _read_shards(folder: Path, size: int, columns: Collection[str] | None, vectors: bool) -> Iterator[RowBatch]:
    for file in shards_in(folder):
        yield from _read_parquet(file, size, columns, vectors)


def _parquet_vectors(column: Any) -> Array:
    """Return (n, D) from a column of fixed-size lists, or of lists that happen to have one length, as other tools write."""
    if hasattr(column, "value_lengths"):
        _same_length(column.value_lengths().to_pylist())
    elif not hasattr(column.type, "list_size"):
        raise ValueError("its embeddings are no lists of numbers")
    return _matrix(np.asarray(column.flatten().to_numpy(zero_copy_only=False)), len(column))


@contextmanager
def _parquet_errors() -> Iterator[None]:
    """Turn pyarrow's errors for a damaged file, its own and OSErrors without an errno, into a one-line ValueError."""
    pa, _ = load_pyarrow()
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise ValueError(f"it is damaged ({' '.join(str(error).split())})") from None


# --- JSON Lines, and a folder of .npy files with a JSON Lines index -----------------------------


def _json_rows(file: Path) -> Iterator[tuple[int, Row]]:
    """Yield the objects of a JSON Lines file with their line numbers."""
    with filesystem.opened(file) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise ValueError(f"line {number} is damaged or cut off") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no record")
            yield number, row


def _read_lines(file: Path, size: int, columns: Collection[str] | None, vectors: bool) -> Iterator[RowBatch]:
    def pairs() -> Iterator[tuple[Row, Array | None]]:
        for number, row in _json_rows(file):
            values = row.pop("embedding", 0)
            if "path" not in row or not isinstance(values, (list, NoneType)):
                raise ValueError(f"line {number} has no path and embedding")
            yield row, _numbers(values) if vectors and values is not None else None

    return _batched(pairs(), size)


def _numbers(values: list[Any]) -> Array:
    numbers = np.array(values)
    if numbers.dtype.kind not in "fiu":
        raise ValueError("its embeddings are no lists of numbers")
    with np.errstate(over="ignore"):  # `search` reports infinite values with the file's name
        return numbers.astype(np.float32)


def _read_folder(folder: Path, size: int, columns: Collection[str] | None, vectors: bool) -> Iterator[RowBatch]:
    def pairs() -> Iterator[tuple[Row, Array | None]]:
        for _, row in _json_rows(folder / INDEX):
            if "path" not in row or "file" not in row:
                raise ValueError(f"its {INDEX} is not that of a folder of embeddings")
            if row["file"] is None:
                yield row, None
                continue
            array = _array(folder / _array_name(row))
            places = row.get("rows") or [{}]
            if len(places) != len(array):
                raise ValueError(f"{row['file']} does not have the {len(places)} vectors of {INDEX}")
            yield from ((row | _object(place), vector) for place, vector in zip(places, array, strict=True))

    return _batched(pairs(), size)


def _array(file: Path) -> Array:
    """Read all vectors (R, D) of one video."""
    with filesystem.opened(file) as stream:
        array = _Npy(stream, os.fstat(stream.fileno()).st_size)
        return np.atleast_2d(array.read(array.rows))


def _array_name(row: Row) -> str:
    """Return the name, below the folder, of the file with a row's vectors. Indexes of earlier versions record bytes that aren't
    UTF-8 only in the video's path, so the name is rebuilt from the end of that."""
    name = file_of(row) or ""
    if row.get("path_bytes") and not row.get("file_bytes") and "~" not in name:
        name = "/".join(path_of(row).split("/")[-name.count("/") - 1 :]) + ".npy"
    return name


# --- npz --------------------------------------------------------------------------------------


def _read_npz(file: Path, size: int, columns: Collection[str] | None, vectors: bool) -> Iterator[RowBatch]:
    """Read `size` rows of every array at a time, where numpy itself would load whole arrays."""
    with zipfile.ZipFile(file) as archive:
        names = ("embeddings", "paths", "index", *PLACE)
        arrays = {name: _member(archive, name) for name in names if f"{name}.npy" in archive.namelist()}
        if "embeddings" not in arrays or "paths" not in arrays:
            raise ValueError("it has no arrays embeddings and paths")
        table = arrays.pop("embeddings")
        if len(table.shape) != 2 or table.dtype.kind not in "fiu" or table.shape[1] > MAX_DIMENSIONS:
            raise ValueError(f"its embeddings are {table.shape} {table.dtype}, not (N, D) numbers")
        if any(array.shape != table.shape[:1] for array in arrays.values()):
            raise ValueError("its arrays are not of one length")
        about = _metadata(archive)
        settings = _object(about.get("settings"))
        shared = {name: settings.get(name) for name in ("model", "revision", "fingerprint", "version")}
        shared |= {
            "engine": engine_of(settings),
            **{name: about.get(name) for name in ("schema_version", "shard", "list")},
        }
        failures = _npz_failures(about, shared)
        for _ in range(0, table.rows, size):
            values = {name: _values(array.read(size)) for name, array in arrays.items()}
            values["path"] = [str(path) for path in values.pop("paths")]
            whole = shared | {"status": "ok", "error": None}
            rows = [whole | dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
            # Failures are stored apart: merge each into its place among the rows.
            earlier = [row for row in failures if row["index"] < rows[-1].get("index", -1)]
            failures = failures[len(earlier) :]
            rows = list(merge(rows, earlier, key=itemgetter("index"))) if earlier else rows
            yield RowBatch(
                rows, [vectors and row["error"] is None for row in rows], table.read(size) if vectors else _NONE
            )
    if failures:
        yield RowBatch(failures, [False] * len(failures), _NONE)


def _npz_failures(about: Mapping[str, Any], shared: Row) -> list[Row]:
    """Return the rows of the failed videos, in the order of the job."""
    rows = {}
    for entry in about.get("failures", ()):
        error = {name: entry[name] for name in ("kind", "message", "retryable") if name in entry}
        failure = {"index": entry["index"], "path": entry["path"], "status": "error", "error": error}
        rows[entry["index"]] = shared | dict.fromkeys(PLACE) | failure
    return [rows[index] for index in sorted(rows)]


def _metadata(archive: zipfile.ZipFile) -> dict[str, Any]:
    if "metadata.npy" not in archive.namelist():
        return {}
    return _object(json.loads(str(_member(archive, "metadata").read(1)[0])))


def _member(archive: zipfile.ZipFile, name: str) -> _Npy:
    return _Npy(archive.open(f"{name}.npy"), archive.getinfo(f"{name}.npy").file_size)


def _values(column: Array) -> list[Any]:
    """Convert a column to Python values; -1 and NaN, which mark what does not apply, become None."""
    values: list[Any] = column.tolist()
    if column.dtype.kind in "iu":
        return [None if value < 0 else value for value in values]
    return [None if value != value else value for value in values]


class _Npy:
    """Reads an array in numpy's format (NEP 1) from its first row to its last. rows: their number, 1 for a scalar.

    size: bytes in the stream; an array that claims more is refused as cut off before memory is allocated for it.
    """

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size = stream, size
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, columnwise, self.dtype = read(stream)
        if self.dtype.hasobject or min(self.shape, default=0) < 0:
            raise ValueError("it holds an array of something else than numbers and texts")
        if columnwise and len(self.shape) > 1:
            raise ValueError("its embeddings are stored column by column: save np.ascontiguousarray of them")
        self.rows = self._left = self.shape[0] if self.shape else 1

    def read(self, count: int) -> Array:
        """Read the next rows, at most `count`; an empty array after the last. Raises ValueError if cut off."""
        rows = min(count, self._left)
        self._left -= rows
        shape = (rows, *self.shape[1:])
        size = math.prod(shape) * self.dtype.itemsize
        content = self._stream.read(size) if 0 < size <= self._size else b""
        if len(content) != size:
            raise ValueError("it is cut off")
        return np.frombuffer(content, self.dtype).reshape(shape) if size else np.zeros(shape, self.dtype)


# --- Any format -------------------------------------------------------------------------------

_NONE: Array = np.zeros((0, 0), np.float32)


def _batched(pairs: Iterator[tuple[Row, Array | None]], size: int) -> Iterator[RowBatch]:
    while block := list(islice(pairs, size)):
        vectors = [vector for _, vector in block if vector is not None]
        _same_length([len(vector) for vector in vectors])
        table = _matrix(np.stack(vectors), len(vectors)) if vectors else _NONE
        yield RowBatch([row for row, _ in block], [vector is not None for _, vector in block], table)


def _matrix(vectors: Array, count: int) -> Array:
    """Reshape `vectors`, flat or not, to (count, D). Raises ValueError if they aren't numbers or D is too large."""
    if vectors.dtype.kind not in "fiu":
        raise ValueError("its embeddings are no lists of numbers")
    if count == 0:
        return _NONE
    values = vectors.reshape(count, len(vectors) // count) if vectors.ndim == 1 else vectors
    if values.ndim != 2:
        raise ValueError("its embeddings are no lists of numbers")
    if values.shape[1] > MAX_DIMENSIONS:
        raise ValueError(f"its embeddings have {values.shape[1]} values: no model makes so many")
    return values


def _same_length(lengths: Iterable[int]) -> None:
    """Raise ValueError if vectors have different lengths."""
    several = sorted(set(lengths))
    if len(several) > 1:
        raise ValueError(f"its vectors have {several[0]} and {several[1]} values: they can't be compared")


def _object(value: Any) -> dict[str, Any]:
    """Return a JSON object unchanged, and {} for anything else."""
    return value if isinstance(value, dict) else {}


_READERS = {
    "parquet": _read_parquet,
    "npz": _read_npz,
    "jsonl": _read_lines,
    "folder": _read_folder,
    "shards": _read_shards,
}

"""A file of embeddings -> its records again, one a file, in the order of the job: to join outputs, or to check one."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli import filesystem
from videomae_cli.errors import OutputError
from videomae_cli.results import Record, path_fields
from videomae_cli.writers.columns import ERROR, to_error
from videomae_cli.writers.formats import VectorLayout, pick_vector_format
from videomae_cli.writers.parquet import load_pyarrow
from videomae_cli.writers.vectors import METADATA_KEY

_PLACE = ("clip", "t", "h", "w", "start", "end")
Row = dict[str, Any]


def read_layout(file: Path) -> VectorLayout:
    """What the vectors of a file have in common. Raises OutputError where it is no output of `embed`."""
    try:
        settings, shard = _about(file)
        return VectorLayout(settings["dimensions"], settings["storage"], settings, shard)
    except OSError as error:
        raise OutputError(f"can't read {file}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise OutputError(f"{file} is no output of videomae embed ({error})") from None


def holds_vectors(file: Path) -> bool:
    """Whether a file is an output of `embed`, as far as its name and its beginning tell."""
    suffix = file.suffix.lower()
    if filesystem.look(file).kind == "other":
        return False  # a pipe would be waited for
    try:
        if suffix in (".parquet", ".pq"):
            _, pq = load_pyarrow()
            return "embedding" in pq.read_schema(file).names
        if suffix in (".jsonl", ".ndjson"):
            with file.open("rb") as stream:
                return "embedding" in json.loads(stream.readline() or b"{}")
    except (OSError, ValueError, TypeError):
        return False  # whoever reads it says what is wrong with it
    return suffix == ".npz"


def read_vector_records(file: Path, *, vectors: bool = True) -> Iterator[Record]:
    """The records, with `rows` and `vectors` (R, D). vectors: False leaves these out (None). Raises OutputError."""
    readers = {"parquet": _parquet_rows, "jsonl": _json_rows, "npz": _npz_rows}
    rows = readers[pick_vector_format(None, file)](file, vectors)
    try:
        for _, group in groupby(rows, key=lambda row: row["index"]):
            yield _record(list(group))
    except OSError as error:
        raise OutputError(f"can't read {file}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise OutputError(f"can't read {file}: {error}") from None


def _record(rows: list[Row]) -> Record:
    first = rows[0]
    vectors = [row["embedding"] for row in rows if row["embedding"] is not None]
    record = {name: value for name, value in first.items() if name not in (*_PLACE, "embedding")}
    if not first.get("path_bytes"):
        record.pop("path_bytes", None)
    failed = first["status"] != "ok"
    return record | {
        "rows": [] if failed else [{name: row[name] for name in _PLACE} for row in rows],
        "vectors": np.stack(vectors) if vectors else None,
    }


def _parquet_rows(file: Path, vectors: bool) -> Iterator[Row]:
    pa, pq = load_pyarrow()
    try:
        table = pq.ParquetFile(file, pre_buffer=False)  # or all row groups are in memory in the end
    except pa.ArrowException as error:
        raise ValueError(" ".join(str(error).split())) from None
    with table:
        names = [name for name in table.schema_arrow.names if vectors or name != "embedding"]
        for batch in table.iter_batches(batch_size=1024, columns=names):
            embedding = _embedding_of(batch) if vectors else [None] * batch.num_rows
            rest = batch.drop_columns(["embedding"]) if vectors else batch
            for row, vector in zip(rest.to_pylist(), embedding, strict=True):
                failure = to_error(row)
                yield {name: row[name] for name in row if name not in ERROR} | {"embedding": vector, "error": failure}


def _embedding_of(batch: Any) -> list[npt.NDArray[Any] | None]:
    column = batch.column("embedding")
    flat = column.values.to_numpy(zero_copy_only=False)
    size = column.type.list_size
    table = flat[column.offset * size : (column.offset + len(column)) * size].reshape(len(column), size)
    return [None if null else vector for null, vector in zip(column.is_null().to_pylist(), table, strict=True)]


def _json_rows(file: Path, vectors: bool) -> Iterator[Row]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                raise ValueError(f"line {number} is cut off")
            row = json.loads(line)
            values = row["embedding"]
            row["embedding"] = np.asarray(values, np.float32) if vectors and values is not None else None
            yield row


def _npz_rows(file: Path, vectors: bool) -> Iterator[Row]:
    with np.load(file, allow_pickle=False) as content:
        about = json.loads(str(content["metadata"]))
        columns = {name: content[name].tolist() for name in ("index", *_PLACE)}
        paths = content["paths"].tolist()
        table = content["embeddings"] if vectors else None
    settings = about["settings"]
    shared = {
        "schema_version": about["schema_version"],
        "model": settings["model"],
        "revision": settings["revision"],
        "fingerprint": settings["fingerprint"],
        "version": settings["version"],
        "shard": about["shard"],
    }
    failures = {entry["index"]: entry for entry in about["failures"]}
    rows: list[tuple[int, int | None]] = [(index, row) for row, index in enumerate(columns["index"])]
    rows += [(index, None) for index in failures]
    for index, place in sorted(rows, key=lambda entry: entry[0]):
        if place is None:
            entry = failures[index]
            error = {name: entry[name] for name in ("kind", "message", "retryable") if name in entry}
            empty = dict.fromkeys(_PLACE)
            yield (
                shared
                | empty
                | {"index": index, "path": entry["path"], "status": "error", "embedding": None, "error": error}
            )
            continue
        values = {name: None if columns[name][place] == -1 else columns[name][place] for name in _PLACE}
        vector = table[place] if table is not None else None
        yield (
            shared
            | values
            | {"index": index, **path_fields(paths[place]), "status": "ok", "embedding": vector, "error": None}
        )


def _about(file: Path) -> tuple[dict[str, Any], str | None]:
    format = pick_vector_format(None, file)
    if format == "npz":
        with np.load(file, allow_pickle=False) as content:
            about = json.loads(str(content["metadata"]))
        return about["settings"], about["shard"]
    if format == "parquet":
        pa, pq = load_pyarrow()
        try:
            metadata = pq.read_schema(file).metadata or {}
        except pa.ArrowException as error:
            raise ValueError(" ".join(str(error).split())) from None
        return json.loads(metadata[METADATA_KEY]), None
    for row in _json_rows(file, vectors=True):
        if row["embedding"] is not None:
            settings = {name: row[name] for name in ("model", "revision", "fingerprint", "version")}
            return settings | {"dimensions": len(row["embedding"]), "storage": "float32"}, row["shard"]
    raise ValueError("it holds no vector")

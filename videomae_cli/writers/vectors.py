"""Writes embedding records, with `rows` and `vectors` (R, D), to Parquet, npz or JSON Lines, one row per vector."""

from __future__ import annotations

import json
import math
import zipfile
from array import array
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import OptionError
from videomae_cli.results import SCHEMA_VERSION, Record, path_of
from videomae_cli.storage.manifests import load_pyarrow
from videomae_cli.writers.columns import ERROR, HEAD, MADE, READ
from videomae_cli.writers.formats import VectorLayout, Writer
from videomae_cli.writers.npz_archive import Archive, member
from videomae_cli.writers.parquet import RowGroupWriter, plain_types

# Upper bound of the vectors held in memory: 16 MiB.
ROW_GROUP_BYTES = 16 * 2**20
METADATA_KEY = b"videomae"


# Parquet columns: name -> kind, in the order of the file; "vector" is the fixed-size list of floats.
COLUMNS = {
    **HEAD,
    "embedding": "vector",
    "clip": "int",
    "t": "int",
    "h": "int",
    "w": "int",
    "start": "float",
    "end": "float",
    **MADE,
    **READ,
    "warnings": "texts",
}
PLACE = ("clip", "t", "h", "w", "start", "end")
_SECONDS = ("start", "end")
_NAMES_AT_ONCE = 16384
_NO_PLACE = dict.fromkeys(PLACE)


def rows_of(record: Record) -> Iterator[tuple[dict[str, Any], npt.NDArray[Any] | None]]:
    """Yield each row's other column values and its vector (D,); a failure gives one row and None."""
    error = record["error"] or {}
    shared = {name: record.get(name) for name in COLUMNS if name not in PLACE and name != "embedding"}
    shared |= {f"error_{name}": error.get(name) for name in ("kind", "message", "retryable")}
    if record["vectors"] is None:
        yield shared | _NO_PLACE, None
        return
    for place, vector in zip(record["rows"], record["vectors"], strict=True):
        yield shared | place, vector


class VectorWriter(Writer):
    """Base of the writers that need the layout of the vectors."""

    def __init__(self, sink: BinaryIO, layout: VectorLayout) -> None:
        super().__init__(sink)
        self.layout = layout


class VectorParquetWriter(RowGroupWriter):
    """Writes fixed-size lists of floats, which any reader knows."""

    def __init__(self, sink: BinaryIO, layout: VectorLayout) -> None:
        self.layout, self.size = layout, max(1, ROW_GROUP_BYTES // layout.bytes_each)
        # Floats hardly compress; the other columns repeat their values.
        compression = {name: "zstd" for name in COLUMNS if name not in ("embedding", "warnings")}
        compression |= {"embedding.list.element": "none", "warnings.list.element": "zstd"}
        super().__init__(sink, schema(load_pyarrow()[0], layout), compression)

    def write(self, record: Record, seconds: float | None = None) -> None:
        for pair in rows_of(record):
            self.add(pair)

    def table(self, rows: list[tuple[dict[str, Any], npt.NDArray[Any] | None]]) -> Any:
        pa, types = self._pa, {name: self._schema.field(name).type for name in COLUMNS}
        none = np.zeros(self.layout.dimensions, self.layout.storage)
        flat = np.stack([none if vector is None else vector for _, vector in rows])
        missing = pa.array([vector is None for _, vector in rows])
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=types["embedding"], mask=missing)
        columns = [
            embedding if name == "embedding" else pa.array([row[name] for row, _ in rows], types[name])
            for name in COLUMNS
        ]
        return pa.Table.from_arrays(columns, schema=self._schema)


def schema(pa: Any, layout: VectorLayout) -> Any:
    """Return the Arrow schema of the columns, with the settings as metadata."""
    number = pa.float16() if layout.storage == "float16" else pa.float32()
    kinds = plain_types(pa) | {"vector": pa.list_(pa.field("element", number), layout.dimensions)}
    about = {METADATA_KEY: json.dumps(dict(layout.settings)).encode()}
    return pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()], metadata=about)


class VectorJsonLinesWriter(VectorWriter):
    """Writes one JSON object per vector, with as many digits as its type holds."""

    def write(self, record: Record, seconds: float | None = None) -> None:
        for row, vector in rows_of(record):
            values = None if vector is None else [float(str(value)) for value in vector]
            entry = {name: values if name == "embedding" else row[name] for name in COLUMNS if name not in ERROR}
            entry["error"] = record["error"]
            self.put(json.dumps(entry, ensure_ascii=False) + "\n")


class VectorNpzWriter(VectorWriter):
    """Writes arrays for numpy.load: `embeddings` (N, D), `paths`, each row's place, and `metadata`, JSON text with
    the settings and failures. The number of rows must be known at the start, as npy headers precede the data."""

    def __init__(self, sink: BinaryIO, layout: VectorLayout, rows: int) -> None:
        super().__init__(sink, layout)
        self._total = rows
        self._archive = Archive(sink)
        self._member = self._archive.open(member("embeddings", zipfile.ZIP_STORED), "w", force_zip64=True)
        header = {"descr": np.dtype(layout.storage).str, "fortran_order": False, "shape": (rows, layout.dimensions)}
        np.lib.format.write_array_header_1_0(self._member, header)
        # Packed arrays: a million rows as lists of Python objects would take half a gigabyte.
        self._paths = _Names()
        self._columns = {name: array("d" if name in _SECONDS else "q") for name in ("index", *PLACE)}
        self._failures: list[dict[str, Any]] = []

    def write(self, record: Record, seconds: float | None = None) -> None:
        if record["vectors"] is None:
            self._failures.append({"index": record["index"], "path": record["path"], **(record["error"] or {})})
            return
        self._member.write(np.ascontiguousarray(record["vectors"], self.layout.storage).tobytes())
        for place in record["rows"]:
            self._paths.append(path_of(record))  # with surrogate escapes: the archive has no path_bytes
            self._columns["index"].append(record["index"])
            for name in PLACE:
                absent = math.nan if name in _SECONDS else -1
                column: array[Any] = self._columns[name]
                column.append(absent if place[name] is None else place[name])

    def finish(self) -> None:
        self._member.close()
        count = len(self._columns["index"])
        if count != self._total:
            raise OptionError.about(
                "vectors", "{count} vectors came where {total} were announced", count=count, total=self._total
            )
        self._add_names("paths", self._paths)
        for name, values in self._columns.items():
            self._archive.add(name, np.frombuffer(values, dtype=values.typecode))
        about = {
            "schema_version": SCHEMA_VERSION,
            "settings": dict(self.layout.settings),
            "shard": self.layout.shard,
            "list": self.layout.listed,
            "failures": self._failures,
        }
        self._archive.add("metadata", np.array(json.dumps(about)))
        self._archive.close()

    def _add_names(self, name: str, values: _Names) -> None:
        """Write a fixed-width numpy text array block by block, as it takes four bytes per character."""
        dtype = np.dtype(f"<U{max(1, values.longest)}")
        with self._archive.open(member(name), "w", force_zip64=True) as stream:
            header = {"descr": dtype.str, "fortran_order": False, "shape": (len(values),)}
            np.lib.format.write_array_header_1_0(stream, header)
            for block in values.blocks(_NAMES_AT_ONCE):
                stream.write(np.array(block, dtype=dtype).tobytes())


class _Names:
    """A compact list of strings, stored as one run of bytes."""

    def __init__(self) -> None:
        self._bytes, self._ends, self.longest = bytearray(), array("q"), 0

    def append(self, name: str) -> None:
        self._bytes += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))
        self.longest = max(self.longest, len(name))

    def __len__(self) -> int:
        return len(self._ends)

    def blocks(self, size: int) -> Iterator[list[str]]:
        """Yield the strings in lists of `size`."""
        start = 0
        for first in range(0, len(self._ends), size):
            names = []
            for end in self._ends[first : first + size]:
                names.append(self._bytes[start:end].decode("utf-8", "surrogatepass"))
                start = end
            yield names


def make_vector_writer(format: str, sink: BinaryIO, layout: VectorLayout, *, rows: int = 0) -> Writer:
    """Make the writer of a format for embeddings. rows: how many vectors will come, which npz needs."""
    if format == "npz":
        return VectorNpzWriter(sink, layout, rows)
    return (VectorParquetWriter if format == "parquet" else VectorJsonLinesWriter)(sink, layout)

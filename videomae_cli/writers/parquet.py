"""Writes and reads Parquet: one row per file, lists as lists, flushed in row groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, BinaryIO

from videomae_cli.errors import OutputError, Wording
from videomae_cli.results import Record, path_fields
from videomae_cli.storage.manifests import load_pyarrow
from videomae_cli.writers.columns import COLUMNS, TIMELINE_COLUMNS, are_ours, columns_of, to_record, to_row
from videomae_cli.writers.formats import Writer

# Rows of a group; a film may have thousands of segments and windows.
ROW_GROUP, FILM_GROUP = 8192, 256
# Bytes of a column that are read at once, instead of a whole row group.
READ_BYTES = 2**14


class RowGroupWriter(Writer):
    """Base of the writers of Parquet, which hold at most one row group in memory. size: rows of a group."""

    size = ROW_GROUP

    def __init__(self, sink: BinaryIO, schema: Any, compression: Any) -> None:
        super().__init__(sink)
        self._pa, _ = load_pyarrow()
        self._schema, self._compression = schema, compression
        self._rows: list[Any] = []

    @cached_property
    def _file(self) -> Any:
        return _abandonable()(self.sink, self._schema, compression=self._compression)

    def add(self, row: Any) -> None:
        """Take a row, and write the group if it is full."""
        self._rows.append(row)
        if len(self._rows) == self.size:
            self._flush()

    def finish(self) -> None:
        if self._rows:
            self._flush()
        self._file.close()

    def table(self, rows: list[Any]) -> Any:
        """Return the Arrow table of some rows."""
        return self._pa.Table.from_pylist(rows, schema=self._schema)

    def _flush(self) -> None:
        self._file.write_table(self.table(self._rows))
        self._rows = []


@cache
def _abandonable() -> Any:
    """Return pyarrow's writer without its `__del__`, which would complete a file that was given up, after its sink is closed."""
    return type("AbandonableWriter", (load_pyarrow()[1].ParquetWriter,), {"__del__": lambda self: None})


class ParquetWriter(RowGroupWriter):
    """Writes records to Parquet, one row per file. The first record says whether they are timelines."""

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__(sink, schema(load_pyarrow()[0]), "zstd")
        self._begun = False

    def write(self, record: Record, seconds: float | None = None) -> None:
        if not self._begun:
            columns = columns_of(record)
            self._begun, self._schema = True, schema(self._pa, columns)
            self.size = FILM_GROUP if columns is TIMELINE_COLUMNS else ROW_GROUP
        self.add(to_row(record))


def schema(pa: Any, columns: Mapping[str, str] = COLUMNS) -> Any:
    """Return the Arrow schema of the columns."""
    scored = [("label", pa.string()), ("label_id", pa.int32()), ("score", pa.float64())]
    span = [("start", pa.float64()), ("end", pa.float64())]
    prediction = pa.struct(scored)
    lists = {
        "predictions": pa.list_(prediction),
        "segments": pa.list_(pa.struct([*span, *scored, ("unsure", pa.bool_())])),
        "windows": pa.list_(pa.struct([*span, ("predictions", pa.list_(prediction))])),
        "values": pa.map_(pa.string(), pa.float64()),
        "frames": pa.list_(pa.list_(pa.int64())),
        "timestamps": pa.list_(pa.list_(pa.float64())),
        "warnings": plain_types(pa)["texts"],
    }
    return pa.schema(
        [(name, lists[name] if kind == "json" else plain_types(pa)[kind]) for name, kind in columns.items()]
    )


def plain_types(pa: Any) -> dict[str, Any]:
    """Return the Arrow type of each column kind that label and vector files share."""
    text = pa.string()
    return {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": text, "texts": pa.list_(text)}


def write_names(
    sink: BinaryIO,
    names: Sequence[str],
    more: Callable[[Sequence[str]], Mapping[str, Any]] = lambda some: {},
) -> None:
    """Write the names of files to a table with the columns `path` and `path_bytes`, which commands read as @LIST.

    more: returns further columns, pyarrow's arrays by name, for some of the names, of which it gets one stretch after the other.
    """
    pa, pq = load_pyarrow()
    extra = [(name, column.type) for name, column in more([]).items()]
    schema = pa.schema([("path", pa.string()), ("path_bytes", pa.string()), *extra])
    with pq.ParquetWriter(sink, schema, compression="zstd") as table:
        for first in range(0, len(names), ROW_GROUP):
            some = names[first : first + ROW_GROUP]
            rows = pa.Table.from_pylist([path_fields(name) for name in some], schema=pa.schema(list(schema)[:2]))
            for name, column in more(some).items():
                rows = rows.append_column(name, column)
            table.write_table(rows)


def read_parquet(file: Path, size: int = ROW_GROUP) -> Iterator[Record]:
    """Yield the records of a file that `ParquetWriter` wrote, of which `size` are in memory at once. Raises ValueError for any
    other file."""
    pa, pq = load_pyarrow()
    try:
        table = pq.ParquetFile(file, pre_buffer=False, buffer_size=READ_BYTES)
    except pa.ArrowException as error:
        raise ValueError(f"it is no Parquet file ({' '.join(str(error).split())})") from None
    with table:
        if not are_ours(table.schema_arrow.names):
            raise ValueError("its columns are not those of videomae")
        most = FILM_GROUP if "segments" in table.schema_arrow.names else ROW_GROUP
        for batch in table.iter_batches(batch_size=min(size, most)):
            for row in batch.to_pylist():
                yield to_record(row)


@dataclass(frozen=True)
class Counts:
    """Row counts of one of our Parquet files. good: rows with a result; failed: failed files, by kind of error."""

    good: int
    failed: Counter[str]


def count_rows(stream: BinaryIO) -> Counts:
    """Count the results in a Parquet file of labels or vectors, reading one column only. Raises OutputError if it is damaged."""
    pa, pq = load_pyarrow()
    try:
        with pq.ParquetFile(stream, pre_buffer=False) as table:
            kinds = Counter(table.read(columns=["error_kind"]).column("error_kind").to_pylist())
    except (pa.ArrowException, OSError, KeyError) as error:
        raise OutputError.about(
            "shard",
            "a shard is damaged: {error}",
            error=" ".join(str(error).split()),
            remedy=Wording("{@overwrite:True} starts again"),
            joined="; ",
        ) from None
    good = kinds.pop(None, 0)
    return Counts(good, kinds)

"""Writes and reads Parquet: one row per file, lists as lists, flushed in row groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from videomae_cli.errors import DependencyError, OutputError, Wording
from videomae_cli.results import Record
from videomae_cli.writers.columns import COLUMNS, are_ours, to_record, to_row
from videomae_cli.writers.formats import Writer

ROW_GROUP = 8192


class ParquetWriter(Writer):
    """Writes records to Parquet, holding at most one row group in memory."""

    format = "parquet"

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__(sink)
        pa, pq = load_pyarrow()
        self._pa, self._schema = pa, schema(pa)
        self._file = pq.ParquetWriter(sink, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, record: Record, seconds: float | None = None) -> None:
        self._rows.append(to_row(record))
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        if self._rows:
            self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._file.write_table(self._pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def schema(pa: Any) -> Any:
    """Return the Arrow schema of the columns."""
    prediction = pa.struct([("label", pa.string()), ("label_id", pa.int32()), ("score", pa.float64())])
    lists = {
        "predictions": pa.list_(prediction),
        "values": pa.map_(pa.string(), pa.float64()),
        "frames": pa.list_(pa.list_(pa.int64())),
        "timestamps": pa.list_(pa.list_(pa.float64())),
        "warnings": plain_types(pa)["texts"],
    }
    return pa.schema(
        [(name, lists[name] if kind == "json" else plain_types(pa)[kind]) for name, kind in COLUMNS.items()]
    )


def plain_types(pa: Any) -> dict[str, Any]:
    """Return the Arrow type of each column kind that label and vector files share."""
    text = pa.string()
    return {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": text, "texts": pa.list_(text)}


def read_parquet(file: Path) -> Iterator[Record]:
    """Yield the records of a file that `ParquetWriter` wrote. Raises ValueError for any other file."""
    pa, pq = load_pyarrow()
    try:
        table = pq.ParquetFile(file)
    except pa.ArrowException as error:
        raise ValueError(f"it is no Parquet file ({' '.join(str(error).split())})") from None
    with table:
        if not are_ours(table.schema_arrow.names):
            raise ValueError("its columns are not those of videomae")
        for batch in table.iter_batches(batch_size=ROW_GROUP):
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


def load_pyarrow() -> tuple[Any, Any]:
    """Import pyarrow and pyarrow.parquet. Raises DependencyError."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError.about(
            "pyarrow", "Parquet needs the package pyarrow: pip install pyarrow ({error})", error=error
        ) from None
    return pyarrow, parquet

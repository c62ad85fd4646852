"""Reads names from a Parquet table, in batches: from any table with a column of paths, or from our own outputs."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from itertools import groupby
from typing import Any, BinaryIO

from videomae_cli.column_names import find_columns
from videomae_cli.errors import DependencyError, OptionError

# The first bytes of every Parquet file.
PARQUET_MAGIC = b"PAR1"
_ROWS = 65536


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


def manifest_names(source: BinaryIO) -> Iterator[str]:
    """Yield the names in a table (a seekable stream), in order, one for rows in a row that have the same; rows without a
    name are skipped.

    The column is the first of `column_names.COLUMN_NAMES["path"]`, else the only text column. A row's `path_bytes`
    (base64, see `results.path_fields`) takes precedence if present. Raises OptionError.
    """
    pa, parquet = load_pyarrow()
    try:
        with parquet.ParquetFile(source) as table:
            for name, _ in groupby(_names(pa, table)):
                yield name
    except (pa.ArrowException, OSError) as error:
        raise OptionError(f"it is damaged ({' '.join(str(error).split())})") from None


def _names(pa: Any, table: Any) -> Iterator[str]:
    column = _column(pa, table.schema_arrow)
    raw = column == "path" and "path_bytes" in table.schema_arrow.names
    for batch in table.iter_batches(batch_size=_ROWS, columns=[column, "path_bytes"] if raw else [column]):
        names = batch.column(0).to_pylist()
        coded = batch.column(1).to_pylist() if raw else [None] * len(names)
        for name, code in zip(names, coded, strict=True):
            if code:
                yield os.fsdecode(base64.b64decode(code))
            elif name:
                yield os.fsdecode(name)


def _column(pa: Any, schema: Any) -> str:
    """Find the column with the names. Raises OptionError."""
    texts = [field.name for field in schema if _is_text(pa, field.type)]
    if (named := find_columns(texts).get("path")) is not None:
        return named
    if len(texts) == 1:
        return str(texts[0])
    raise OptionError(f"it has no column path (its columns: {', '.join(schema.names)}): name the one with the paths so")


def _is_text(pa: Any, kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))

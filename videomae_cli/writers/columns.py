"""Maps records to the columns of CSV and Parquet and back: single nested values become columns, lists stay lists.

`error` becomes `error_kind`, `error_message` and `error_retryable`; the best prediction is repeated as `label`,
`label_id` and `score`. Timelines have columns of their own, in Parquet only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videomae_cli.results import Record

ERROR = ("error_kind", "error_message", "error_retryable")
# Columns that files of earlier versions lack.
LATER = frozenset({"engine", "error_retryable", "list"})
# HEAD: which file; MADE: the error, or the model and version that made it; READ: how the file was decoded.
HEAD = {"schema_version": "int", "index": "int", "path": "text", "path_bytes": "text", "status": "text"}
MADE = {
    "error_kind": "text",
    "error_message": "text",
    "error_retryable": "bool",
    "model": "text",
    "revision": "text",
    "engine": "text",
    "fingerprint": "text",
    "version": "text",
    "shard": "text",
    "list": "text",
}
READ = {
    "sampling": "text",
    "decoder": "text",
    "num_frames": "int",
    "fps": "float",
    "duration": "float",
    "width": "int",
    "height": "int",
    "pixels": "text",
    "crops": "int",
}
# name -> kind, in file order. Kinds: "int", "float", "bool", "text", and "json" for lists, which are JSON text in CSV.
COLUMNS = {
    **HEAD,
    "label": "text",
    "label_id": "int",
    "score": "float",
    "value": "float",
    **MADE,
    "predictions": "json",
    "values": "json",
    "frames": "json",
    "timestamps": "json",
    **READ,
    "warnings": "json",
}
# Those of timelines, a row a film.
TIMELINE_COLUMNS = {
    **HEAD,
    **MADE,
    "start": "float",
    "end": "float",
    "window": "float",
    "hop": "float",
    "multi_label": "bool",
    "segments": "json",
    "windows": "json",
    **READ,
    "warnings": "json",
}


def columns_of(record: Record) -> dict[str, str]:
    """Return the columns that a record has."""
    return TIMELINE_COLUMNS if "segments" in record else COLUMNS


def to_row(record: Record) -> dict[str, Any]:
    """Return the column values of a record."""
    best = record["predictions"][0] if record.get("predictions") else {}
    error = record["error"] or {}
    made = {
        "label": best.get("label"),
        "label_id": best.get("label_id"),
        "score": best.get("score"),
        "error_kind": error.get("kind"),
        "error_message": error.get("message"),
        "error_retryable": error.get("retryable"),
    }
    return {name: made[name] if name in made else record.get(name) for name in columns_of(record)}


def to_record(row: dict[str, Any]) -> Record:
    """Rebuild the record that `to_row` was given."""
    path = {"path": row["path"]} | ({"path_bytes": row["path_bytes"]} if row["path_bytes"] else {})
    skipped = {"path", "path_bytes", "label", "label_id", "score", "value", *ERROR}
    record: Record = {}
    for name in columns_of(row):
        if name == "path":
            record |= path
        elif name == "list":
            record |= {name: row[name]} if row.get(name) else {}
        elif name == "engine":
            record[name] = row.get(name)
        elif name not in skipped:
            record[name] = dict(row[name]) if name == "values" and row[name] is not None else row[name]
        if name == "predictions":
            record["value"] = row["value"]  # belongs here in a record, but is an earlier column of the table
    return record | {"error": to_error(row)}


def to_error(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return a record's `error` from its columns, None if there is none."""
    if not row["error_kind"]:
        return None
    error = {"kind": row["error_kind"], "message": row["error_message"]}
    retryable = row.get("error_retryable")
    return error if retryable is None else {**error, "retryable": retryable}


def are_ours(names: Sequence[str]) -> bool:
    """Return whether a table has the columns that this or an earlier version of the package writes."""
    known = TIMELINE_COLUMNS if "segments" in names else COLUMNS
    return list(names) == [name for name in known if name not in LATER or name in names]

"""The columns of a record in CSV and Parquet: flat where a record nests one thing, as they are where it nests many.

`error` becomes `error_kind`, `error_message` and `error_retryable`; the best prediction is repeated as `label`, `label_id` and `score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videomae_cli.results import Record

ERROR = ("error_kind", "error_message", "error_retryable")
# Columns that files of earlier versions lack.
LATER = frozenset({"error_retryable"})
# What a record is of; what made it, or why it failed; and what was read of its file.
HEAD = {"schema_version": "int", "index": "int", "path": "text", "path_bytes": "text", "status": "text"}
MADE = {
    "error_kind": "text",
    "error_message": "text",
    "error_retryable": "bool",
    "model": "text",
    "revision": "text",
    "fingerprint": "text",
    "version": "text",
    "shard": "text",
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
# name -> kind, in the order of the file. A kind is "int", "float", "bool", "text" or "json": lists, as JSON text in CSV.
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


def to_row(record: Record) -> dict[str, Any]:
    """A record as column values."""
    best = record["predictions"][0] if record["predictions"] else {}
    error = record["error"] or {}
    made = {
        "label": best.get("label"),
        "label_id": best.get("label_id"),
        "score": best.get("score"),
        "error_kind": error.get("kind"),
        "error_message": error.get("message"),
        "error_retryable": error.get("retryable"),
    }
    return {name: made[name] if name in made else record.get(name) for name in COLUMNS}


def to_record(row: dict[str, Any]) -> Record:
    """The record that `to_row` was given."""
    path = {"path": row["path"]} | ({"path_bytes": row["path_bytes"]} if row["path_bytes"] else {})
    skipped = {"path", "path_bytes", "label", "label_id", "score", "value", *ERROR}
    record: Record = {}
    for name in COLUMNS:
        if name == "path":
            record |= path
        elif name not in skipped:
            record[name] = dict(row[name]) if name == "values" and row[name] is not None else row[name]
        if name == "predictions":
            record["value"] = row["value"]  # where records have it; its column stands before
    return record | {"error": to_error(row)}


def to_error(row: dict[str, Any]) -> dict[str, Any] | None:
    """The `error` of a record, of its columns."""
    if not row["error_kind"]:
        return None
    error = {"kind": row["error_kind"], "message": row["error_message"]}
    retryable = row.get("error_retryable")
    return error if retryable is None else {**error, "retryable": retryable}


def are_ours(names: Sequence[str]) -> bool:
    """Whether a table's columns are those of this package, of this version or of an earlier one."""
    return list(names) in (list(COLUMNS), [name for name in COLUMNS if name not in LATER])

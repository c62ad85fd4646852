"""The columns of a record in CSV and Parquet: flat where a record nests one thing, as they are where it nests many.

`error` becomes `error_kind` and `error_message`; the best prediction is repeated as `label`, `label_id` and `score`.
"""

from __future__ import annotations

from typing import Any

from videomae_cli.results import Record

# name -> kind, in the order of the file. A kind is "int", "float", "text" or "json": lists, as JSON text in CSV.
COLUMNS = {
    "schema_version": "int",
    "index": "int",
    "path": "text",
    "path_bytes": "text",
    "status": "text",
    "label": "text",
    "label_id": "int",
    "score": "float",
    "value": "float",
    "error_kind": "text",
    "error_message": "text",
    "model": "text",
    "revision": "text",
    "fingerprint": "text",
    "version": "text",
    "shard": "text",
    "predictions": "json",
    "values": "json",
    "frames": "json",
    "timestamps": "json",
    "sampling": "text",
    "decoder": "text",
    "num_frames": "int",
    "fps": "float",
    "duration": "float",
    "width": "int",
    "height": "int",
    "pixels": "text",
    "crops": "int",
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
    }
    return {name: made[name] if name in made else record.get(name) for name in COLUMNS}


def to_record(row: dict[str, Any]) -> Record:
    """The record that `to_row` was given."""
    path = {"path": row["path"]} | ({"path_bytes": row["path_bytes"]} if row["path_bytes"] else {})
    error = {"kind": row["error_kind"], "message": row["error_message"]} if row["error_kind"] else None
    skipped = {"path", "path_bytes", "label", "label_id", "score", "error_kind", "error_message"}
    record: Record = {}
    for name in COLUMNS:
        if name == "path":
            record |= path
        elif name not in skipped:
            record[name] = dict(row[name]) if name == "values" and row[name] is not None else row[name]
    return record | {"error": error}

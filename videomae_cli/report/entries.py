"""Condenses a record to what the report shows about its file, as compact JSON, since a page holds thousands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from videomae_cli.results import Record

Segments = Sequence[Mapping[str, Any]]

# Fields that are the same for the whole job; shown once at the top.
FACTS = ("model", "revision", "engine", "fingerprint", "version", "shard")
_MOST_LABELS = 10


def make_entry(record: Record, segments: Segments | None, duration: float | None) -> dict[str, Any]:
    """Build the report's entry for one file; `segments` and `duration` default to the record's own.

    In the entry, labels are [name, 0 to 1], best first: scores, or for segments the fraction of the time; timeline has
    [start, end, label, score, 1 if unsure else 0] per segment; unknown fields are left out.
    """
    segments = record.get("segments") if segments is None else segments
    duration = record.get("duration") if duration is None else duration
    times = [time for clip in record.get("timestamps") or () for time in clip]
    entry = {
        "index": record["index"],
        "path": record["path"],
        "path_bytes": record.get("path_bytes"),
        "labels": [[p["label"], _rounded(p["score"], 4)] for p in (record.get("predictions") or ())[:_MOST_LABELS]],
        "values": [[name, f"{value:.6g}"] for name, value in (record.get("values") or {}).items()],
        "timeline": [
            [
                _rounded(s["start"], 2),
                _rounded(s["end"], 2),
                s.get("label"),
                _rounded(s.get("score"), 4),
                int(bool(s.get("unsure"))),
            ]
            for s in segments or ()
        ],
        "duration": _rounded(duration, 2),
        "seen": [_rounded(min(times), 2), _rounded(max(times), 2)] if times else None,
        "size": [record["width"], record["height"]] if record.get("width") and record.get("height") else None,
        "fps": _rounded(record.get("fps"), 2),
        "sampling": record.get("sampling"),
        "warnings": list(record.get("warnings") or ()),
        "error": [record["error"]["kind"], record["error"]["message"]] if record.get("error") else None,
    }
    if entry["timeline"] and not entry["labels"]:
        entry["labels"], entry["share"] = _shares(entry["timeline"]), 1
    return {name: value for name, value in entry.items() if value not in (None, [])}


def ids_of(record: Record, segments: Segments | None) -> dict[str, int | None]:
    """Return the labels in a file's entry with their numbers, or None for a label without one."""
    labelled = [*(record.get("segments") or () if segments is None else segments)]
    labelled += (record.get("predictions") or ())[:_MOST_LABELS]
    return merge_ids({}, [(one["label"], one.get("label_id")) for one in labelled if one.get("label") is not None])


def merge_ids(ids: dict[str, int | None], found: Iterable[tuple[str, int | None]]) -> dict[str, int | None]:
    """Add labels with their numbers to `ids`, which it returns; of several labels with one name the least number counts."""
    for name, number in found:
        known = ids.get(name)
        ids[name] = number if known is None else known if number is None else min(known, number)
    return ids


def facts_of(record: Record) -> dict[str, str]:
    """Return the record's fields that describe its job."""
    return {name: str(record[name]) for name in FACTS if record.get(name) is not None}


def _shares(timeline: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return [label, fraction of the timeline's duration], longest first."""
    seconds: dict[str, float] = {}
    for start, end, label, *_ in timeline:
        if label is not None:
            seconds[label] = seconds.get(label, 0.0) + max(0.0, end - start)
    total = max(end for _, end, *_ in timeline) - min(start for start, *_ in timeline)
    ranked = sorted(seconds.items(), key=lambda item: -item[1])[:_MOST_LABELS]
    return [[label, round(time / total, 4) if total > 0 else 0.0] for label, time in ranked]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)

"""Writes timelines as plain text, or as CSV with one row per segment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from videomae_cli.results import Record, path_of
from videomae_cli.visible import visible
from videomae_cli.writers.cells import csv_row, json_cell
from videomae_cli.writers.clock import short_clock
from videomae_cli.writers.formats import Writer
from videomae_cli.writers.text import aligned, describe

COLUMNS = (
    *("index", "path", "path_bytes", "status", "kind"),
    *("start", "end", "label", "label_id", "score", "unsure", "predictions"),
    *("error_kind", "error_message", "model", "revision", "engine", "fingerprint", "version", "shard", "list"),
    *("window", "hop", "duration", "fps", "num_frames", "decoder"),
)


class TimelineTextWriter(Writer):
    """Writes the path, one line per segment, and a line about model and sampling, or the reason of a failure."""

    def write(self, record: Record, seconds: float | None = None) -> None:
        lines = [visible(path_of(record))]
        labels = aligned([marked(s) for s in record["segments"]])
        lines += [f"  {span(s)}  {label}  {percent(s)}" for label, s in zip(labels, record["segments"], strict=True)]
        if record["windows"]:
            lines.append("  windows")
            lines += [f"  {span(w)}  {visible(best_of(w))}" for w in record["windows"]]
        if record["error"]:
            lines.append(f"  failed: {visible(record['error']['message'])}")
        elif record["sampling"]:
            lines.append(f"  {describe(record, seconds)}")
        self.put("\n".join(lines) + "\n")


class TimelineCsvWriter(Writer):
    """Writes a header, then one row per segment and per window, told apart by `kind`; a file without segments has a row too."""

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__(sink)
        self.put(csv_row(COLUMNS))

    def write(self, record: Record, seconds: float | None = None) -> None:
        error = record["error"] or {}
        common = {**record, "error_kind": error.get("kind"), "error_message": error.get("message")}
        for row in rows_of(record, windows=True):
            made = {**dict.fromkeys(("label", "label_id", "score", "unsure", "predictions")), **row}
            if made["predictions"] is not None:
                made["predictions"] = json_cell(made["predictions"])
            self.put(csv_row([{**common, **made}.get(name) for name in COLUMNS], for_people=self.for_people))


def rows_of(record: Record, *, windows: bool) -> Iterator[Record]:
    """Yield the segments of a timeline, and its windows with their best label, told apart by `kind`."""
    if not record["segments"]:
        yield {"kind": "file"}
    for segment in record["segments"]:
        yield {"kind": "segment", **segment}
    for window in record["windows"] if windows else ():
        yield {"kind": "window", **window, **next(iter(window["predictions"]), {})}


def span(stretch: Record) -> str:
    """Format the start and end of a segment or window, aligned up to ten hours."""
    return f"{short_clock(stretch['start'])} - {short_clock(stretch['end'])}"


def marked(segment: Record) -> str:
    """Return the label of a segment for people to read, with a question mark if it is unsure; "-" if there is none."""
    label = str(segment["label"] or "-")
    return f"{label} ?" if segment.get("unsure") else label


def percent(segment: Record) -> str:
    """Format the score of a segment; empty if it has none."""
    return "" if segment["score"] is None else f"{segment['score']:6.1%}"


def best_of(window: Record) -> str:
    """Format the three best labels of a window."""
    return ", ".join(f"{p['label']} {p['score']:.1%}" for p in window["predictions"][:3])

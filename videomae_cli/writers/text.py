"""Writes results as plain text, for a pipe or a file that people read."""

from __future__ import annotations

from collections.abc import Sequence

from videomae_cli.results import Record, path_of
from videomae_cli.visible import columns, visible
from videomae_cli.writers.formats import Writer


class TextWriter(Writer):
    """Writes the path, then the ranked labels with scores and a line about model and sampling, or the reason of a failure."""

    def write(self, record: Record, seconds: float | None = None) -> None:
        lines = [visible(path_of(record))]
        if record["error"]:
            lines.append(f"      failed: {visible(record['error']['message'])}")
        else:
            labels = aligned([p["label"] for p in record["predictions"]])
            for rank, (label, p) in enumerate(zip(labels, record["predictions"], strict=True), 1):
                lines.append(f"{rank:>4}  {label}  {p['score']:.4f}")
            lines += [f"      {visible(name)}  {value:.6g}" for name, value in (record.get("values") or {}).items()]
            lines.append(f"      {describe(record, seconds)}")
        self.put("\n".join(lines) + "\n")


def describe(record: Record, seconds: float | None = None) -> str:
    """Format the line under a table: model, sampling, frame size, decoder, seconds taken."""
    words = [record["model"]]
    if record["sampling"]:
        words += [record["sampling"], f"{record['width']}x{record['height']} {record['decoder']}"]
    if seconds is not None:
        words.append(f"{seconds:.1f} s")
    return visible(", ".join(words))


def aligned(labels: Sequence[str]) -> list[str]:
    """Escape control characters in labels, and pad them to the width of the widest on a terminal."""
    shown = [visible(label) for label in labels]
    width = max(map(columns, shown), default=0)
    return [label + " " * (width - columns(label)) for label in shown]

"""A table in plain text: for a pipe, or a file that people read."""

from __future__ import annotations

from videomae_cli.results import Record, path_of, printable
from videomae_cli.writers.formats import Writer


class TextWriter(Writer):
    """Path, ranked labels with scores, and a line on how it was made; a failure is one line."""

    format = "table"

    def write(self, record: Record, seconds: float | None = None) -> None:
        lines = [one_line(path_of(record))]
        if record["error"]:
            lines.append(f"      failed: {one_line(record['error']['message'])}")
        else:
            width = max((len(p["label"]) for p in record["predictions"]), default=0)
            for rank, p in enumerate(record["predictions"], 1):
                lines.append(f"{rank:>4}  {p['label']:<{width}}  {p['score']:.4f}")
            lines += [f"      {one_line(name)}  {value:.6g}" for name, value in (record.get("values") or {}).items()]
            lines.append(f"      {describe(record, seconds)}")
        self.put("\n".join(lines) + "\n")


def describe(record: Record, seconds: float | None = None) -> str:
    """The line under a table: model, what was sampled, by whom decoded, how long it took."""
    words = [record["model"]]
    if record["sampling"]:
        words += [record["sampling"], f"{record['width']}x{record['height']} {record['decoder']}"]
    if seconds is not None:
        words.append(f"{seconds:.1f} s")
    return ", ".join(words)


def one_line(text: str) -> str:
    """Text with what can't be printed, line ends among it, as question marks."""
    return "".join(c if c.isprintable() else "?" for c in printable(text))

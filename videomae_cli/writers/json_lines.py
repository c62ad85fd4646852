"""JSON Lines, and one JSON document of the same objects."""

from __future__ import annotations

from videomae_cli.results import Record
from videomae_cli.visible import exact_json
from videomae_cli.writers.formats import Writer


class JsonLinesWriter(Writer):
    """One JSON object a line, written as it comes."""

    format = "jsonl"

    def write(self, record: Record, seconds: float | None = None) -> None:
        self.put(exact_json(record) + "\n")


class JsonWriter(Writer):
    """One JSON document: an array of the same objects, one a line."""

    format = "json"
    _count = 0

    def write(self, record: Record, seconds: float | None = None) -> None:
        self.put(("[\n" if self._count == 0 else ",\n") + exact_json(record))
        self._count += 1

    def finish(self) -> None:
        self.put("\n]\n" if self._count else "[]\n")

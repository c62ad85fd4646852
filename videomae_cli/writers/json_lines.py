"""Writes records as JSON Lines, or as one JSON array."""

from __future__ import annotations

from videomae_cli.results import Record
from videomae_cli.visible import exact_json
from videomae_cli.writers.formats import Writer


class JsonLinesWriter(Writer):
    """Writes one JSON object per line, each as it arrives."""

    def write(self, record: Record, seconds: float | None = None) -> None:
        self.put(exact_json(record) + "\n")


class JsonWriter(Writer):
    """Writes one JSON array, with one object per line."""

    _count = 0

    def write(self, record: Record, seconds: float | None = None) -> None:
        self.put(("[\n" if self._count == 0 else ",\n") + exact_json(record))
        self._count += 1

    def finish(self) -> None:
        self.put("\n]\n" if self._count else "[]\n")

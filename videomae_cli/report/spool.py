"""Stores report entries on disk, one per line, until the page is written; a resumed job reuses them.

Each line is written to the system immediately, so a kill loses nothing. A power cut may lose filmstrips, but not
entries, which are rebuilt from the records in the job's journal.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from videomae_cli.report.entries import facts_of, ids_of, make_entry
from videomae_cli.results import Record


@dataclass(frozen=True)
class Line:
    """The report's data on one file. facts: fields of its job; entry: what the page shows; ids: the numbers of its labels.

    strip: a filmstrip picture; shots: one of a frame for each of some segments, whose numbers are the entry's `shots`.
    """

    facts: dict[str, str]
    entry: dict[str, Any]
    ids: dict[str, int | None] = field(default_factory=dict)
    strip: bytes | None = field(default=None, repr=False)
    shots: bytes | None = field(default=None, repr=False)

    def encoded(self) -> bytes:
        """Encode the line as it is stored on the disk."""
        pictures = {
            name: base64.b64encode(picture).decode("ascii") if picture is not None else None
            for name, picture in (("strip", self.strip), ("shots", self.shots))
        }
        text = json.dumps({"facts": self.facts, "entry": self.entry, "ids": self.ids, **pictures}, ensure_ascii=False)
        return (text + "\n").encode("utf-8", "replace")

    @classmethod
    def parsed(cls, line: bytes) -> Line | None:
        """Decode a line made by `encoded`; None if it is truncated or damaged."""
        try:
            value = json.loads(line)
            pictures = (value["strip"], value.get("shots"))
            strip, shots = (base64.b64decode(picture) if picture is not None else None for picture in pictures)
            whole = cls(dict(value["facts"]), dict(value["entry"]), dict(value.get("ids", {})), strip, shots)
            return whole if line.endswith(b"\n") else None
        except (ValueError, KeyError, TypeError):
            return None


class Spool:
    """Entries in an unbuffered binary file, open for reading and writing. Raises OSError, for example on a full disk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def recover(self, records: Iterable[Record]) -> None:
        """Make the spool contain entries for exactly these records, keeping stored filmstrips as far as they match."""
        valid_bytes, matching = 0, True
        with self._reader() as reader:
            for record in records:
                expected = Line(facts_of(record), make_entry(record, None, None), ids_of(record, None))
                if matching:
                    raw = reader.readline()
                    line = Line.parsed(raw)
                    if line is not None and _same(line, expected):
                        valid_bytes += len(raw)
                        continue
                    matching = False
                    self._file.truncate(valid_bytes)
                self.append(expected)
        if matching:
            self._file.truncate(valid_bytes)

    def append(self, line: Line) -> None:
        """Add one entry at the end of the file."""
        self._file.seek(0, os.SEEK_END)
        data = line.encoded()
        written = 0
        while written < len(data):
            written += self._file.write(data[written:]) or 0

    def lines(self) -> Iterator[Line]:
        """Yield all entries, from the start."""
        with self._reader() as reader:
            for raw in reader:
                if (line := Line.parsed(raw)) is not None:
                    yield line

    def close(self) -> None:
        """Close the file, which deletes it."""
        self._file.close()

    def _reader(self) -> BinaryIO:
        """Reopen the file with a buffer: an unbuffered file reads lines byte by byte, and these are long."""
        reader = open(os.dup(self._file.fileno()), "rb")  # noqa: PTH123, SIM115 - a descriptor
        reader.seek(0)
        return reader


def _same(line: Line, expected: Line) -> bool:
    """Return whether a stored line is for the same file and job as the expected one."""
    return line.facts == expected.facts and all(line.entry.get(k) == expected.entry.get(k) for k in ("index", "path"))

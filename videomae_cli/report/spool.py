"""Entries on disk, a line each, until the page is written. A killed job goes on with those whose records it kept.

A line goes to the system at once, so a kill loses none. What a power cut takes costs pictures only: the records are safe
in the job's journal, and stand in for what is missing here.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from videomae_cli.report.entries import facts_of, make_entry
from videomae_cli.results import Record


@dataclass(frozen=True)
class Line:
    """One file. facts: of its job; entry: for the page; strip: a picture."""

    facts: dict[str, str]
    entry: dict[str, Any]
    strip: bytes | None = field(default=None, repr=False)

    def encoded(self) -> bytes:
        """Encode the line as it is stored on the disk."""
        strip = base64.b64encode(self.strip).decode("ascii") if self.strip is not None else None
        text = json.dumps({"facts": self.facts, "entry": self.entry, "strip": strip}, ensure_ascii=False)
        return (text + "\n").encode("utf-8", "replace")

    @classmethod
    def parsed(cls, line: bytes) -> Line | None:
        """Decode a line that `encoded` made; None for one that is torn or damaged."""
        try:
            value = json.loads(line)
            strip = base64.b64decode(value["strip"]) if value["strip"] is not None else None
            return cls(dict(value["facts"]), dict(value["entry"]), strip) if line.endswith(b"\n") else None
        except (ValueError, KeyError, TypeError):
            return None


class Spool:
    """Entries in an unbuffered binary file, open for reading and writing. Raises OSError: a full disk, say."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def recover(self, records: Iterable[Record]) -> None:
        """Make it hold the entries of exactly these records, with the strips that were kept of them."""
        kept, matching = 0, True
        with self._reader() as reader:
            for record in records:
                wanted = Line(facts_of(record), make_entry(record, None, None))
                if matching:
                    raw = reader.readline()
                    line = Line.parsed(raw)
                    if line is not None and _same(line, wanted):
                        kept += len(raw)
                        continue
                    matching = False
                    self._file.truncate(kept)
                self.append(wanted)
        if matching:
            self._file.truncate(kept)

    def append(self, line: Line) -> None:
        """Add one entry at the end of the file."""
        self._file.seek(0, os.SEEK_END)
        data = line.encoded()
        written = 0
        while written < len(data):
            written += self._file.write(data[written:]) or 0

    def lines(self) -> Iterator[Line]:
        """All entries, from the start."""
        with self._reader() as reader:
            for raw in reader:
                if (line := Line.parsed(raw)) is not None:
                    yield line

    def close(self) -> None:
        """Close the file, which deletes it."""
        self._file.close()

    def _reader(self) -> BinaryIO:
        """Open the file with a buffer of its own: lines are long, and an unbuffered file reads them byte by byte."""
        reader = open(os.dup(self._file.fileno()), "rb")  # noqa: PTH123, SIM115 - a descriptor
        reader.seek(0)
        return reader


def _same(line: Line, wanted: Line) -> bool:
    """Whether it is of the same file of the same job. A damaged one is none."""
    return line.facts == wanted.facts and all(line.entry.get(k) == wanted.entry.get(k) for k in ("index", "path"))

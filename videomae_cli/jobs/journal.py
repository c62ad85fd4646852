"""Records on disk, appended as they come: after a kill, a power cut or a full disk, all whole lines are still good.

Every line goes to the system at once, so a kill loses nothing that was written; it is forced to the disk about once a
second, so a power cut loses about a second of work. A torn or damaged tail is cut off when the file is opened again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from videomae_cli.errors import OutputError
from videomae_cli.results import Record, path_of

SYNC_SECONDS = 1.0


class Journal:
    """The records of a job so far, in order. For one process at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream: BinaryIO | None = None
        self._synced = 0.0

    def recover(self, names: Sequence[str]) -> Iterator[Record]:
        """The whole records so far; what follows the last of them is cut off.

        names: the list of the job. Raises OutputError where a record is of another file than the list has at its place.
        """
        good = done = 0
        with self._file.open("rb") as stream:
            for line in stream:
                record = _parse(line)
                if record is None:
                    break
                path = path_of(record)
                if done >= len(names) or names[done] != path:
                    now = repr(names[done]) if done < len(names) else "nothing"
                    raise OutputError(
                        f"the list of files has changed: number {done + 1} was {path!r} and is {now} now; "
                        "--overwrite starts again"
                    )
                good += len(line)
                done += 1
                yield record
        if good < self._file.stat().st_size:
            os.truncate(self._file, good)

    def append(self, record: Record) -> None:
        """Add one. Raises OSError: a full disk, say."""
        if self._stream is None:
            # Unbuffered: what an error leaves unwritten must not be tried again when the file is closed.
            self._stream = self._file.open("ab", buffering=0)
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        written = 0
        while written < len(line):
            written += self._stream.write(line[written:]) or 0
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force what was written to the disk."""
        if self._stream is not None:
            os.fsync(self._stream.fileno())
            self._synced = time.monotonic()

    def records(self) -> Iterator[Record]:
        """All records, from the start."""
        with self._file.open("rb") as stream:
            for line in stream:
                yield json.loads(line)

    def close(self) -> None:
        """Release the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _parse(line: bytes) -> Record | None:
    """The record of a line, or None where it is torn or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("path"), str) else None

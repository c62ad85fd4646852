"""An append-only file of records, of which every complete line survives a kill, a power cut or a full disk.

Each line is written to the system immediately, so a kill loses nothing; it is synced about once a second, so a power
cut loses about a second of work. A truncated or damaged tail is cut off when the file is opened again.

Each line ends with its checksum, which detects corruption on the disk. Lines of earlier versions have none, which is
accepted if the job's header is of such a version.

Vectors go to a second file as raw bytes, and the record holds their checksum, because a power cut can leave a record on
the disk but zeros in the place of its vectors.
"""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem
from videomae_cli.errors import OutputError, Wording
from videomae_cli.files import sync
from videomae_cli.results import Record, path_of
from videomae_cli.visible import exact_json
from videomae_cli.writers import VectorLayout

SYNC_SECONDS = 1.0
_CHECKSUM = re.compile(rb', "line_checksum": "([0-9a-f]{8})"\}\n\Z')


class Journal:
    """The records of a job so far, in order. Only one process may use it at a time.

    vectors: the layout of the records' vectors, if they have any; checked: treat lines without a checksum as damaged;
    end: the number of valid bytes in the two files.
    """

    def __init__(self, file: Path, vectors: VectorLayout | None = None, *, checked: bool = True) -> None:
        self.file, self._layout, self._checked = file, vectors, checked
        self.damaged = 0
        self.end = (0, 0)
        self._vector_file = file.with_name("vectors.bin" if file.stem == "records" else f"{file.stem}.bin")
        self._stream: BinaryIO | None = None
        self._vector_stream: BinaryIO | None = None
        self._synced = 0.0

    def create(self) -> None:
        """Create the journal's files if they are missing."""
        self.file.touch()
        if self._layout is not None:
            self._vector_file.touch()

    def recover(self, *, counts: Callable[[Record], bool] = lambda record: True) -> Iterator[Record]:
        """Yield the valid records, then cut off everything after them; `damaged` is the number of lines that were lost.

        counts: whether a record belongs to this job.
        """
        good = good_vectors = 0
        with self.file.open("rb") as stream, self._vectors_to_read() as vectors:
            for line in stream:
                record = _parse(line, self._checked)
                whole = record is not None and (vectors is None or self._take(record, vectors)) and counts(record)
                if record is None or not whole:
                    # A kill may have truncated the last line. Lines after a damaged one are redone, too.
                    self.damaged = sum(1 for _ in stream) + (record is not None or line.endswith(b"\n"))
                    break
                good += len(line)
                good_vectors += record["vectors"].nbytes if record.get("vectors") is not None else 0
                self.end = good, good_vectors
                yield record
        _cut(self.file, good)
        if self._layout is not None:
            _cut(self._vector_file, good_vectors)

    def append(self, record: Record) -> None:
        """Append a record. Raises OSError, for example on a full disk."""
        if self._stream is None:
            # Unbuffered, so that closing after an error does not retry writing what failed.
            self._stream = self.file.open("ab", buffering=0)
            self._vector_stream = self._vector_file.open("ab", buffering=0) if self._layout else None
        data = b""
        if self._vector_stream is not None:
            data = record["vectors"].tobytes() if record["vectors"] is not None else b""
            _write(self._vector_stream, data)
            record = {**record, "vectors": None, "checksum": zlib.crc32(data)}
        line = _line(record)
        _write(self._stream, line)
        self.end = self.end[0] + len(line), self.end[1] + len(data)
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force everything written so far to the disk."""
        for stream in (self._vector_stream, self._stream):
            if stream is not None:
                sync(stream)
        self._synced = time.monotonic()

    def records(self) -> Iterator[Record]:
        """Yield all records, in the order in which they were appended. Raises OutputError for damaged ones."""
        return self.records_at(repeat(None))

    def records_at(self, begins: Iterable[tuple[int, int] | None]) -> Iterator[Record]:
        """Yield the records that begin at earlier values of `end`, None for the one that follows the last. Raises OutputError
        for damaged ones."""
        with self.file.open("rb") as stream, self._vectors_to_read() as vectors:
            for begin in begins:
                if begin is not None:
                    stream.seek(begin[0])
                    if vectors is not None:
                        vectors.seek(begin[1])
                if not (line := stream.readline()):
                    return
                record = _parse(line, self._checked)
                if record is None:
                    raise damaged(self.file)
                if vectors is not None and not self._take(record, vectors):
                    raise damaged(self._vector_file)
                yield record

    def located(self) -> Iterator[tuple[Record, tuple[int, int]]]:
        """Yield each record, without its vectors, and where it begins, for `records_at`. Raises OutputError for damaged ones."""
        begin, vectors = 0, 0
        with self.file.open("rb") as stream:
            for line in stream:
                record = _parse(line, self._checked)
                if record is None:
                    raise damaged(self.file)
                yield record, (begin, vectors)
                begin += len(line)
                vectors += len(record.get("rows") or ()) * self._layout.bytes_each if self._layout is not None else 0

    def clear(self) -> None:
        """Remove all records from the journal."""
        self.create()
        _cut(self.file, 0)
        if self._layout is not None:
            _cut(self._vector_file, 0)
        self.end = (0, 0)

    @property
    def is_there(self) -> bool:
        """Whether the journal's file exists and, if open, is still the one at its path."""
        if self._stream is None:
            return filesystem.is_there(self.file)
        try:
            return os.path.samestat(os.fstat(self._stream.fileno()), self.file.stat())
        except OSError:
            return False

    def first(self) -> Record | None:
        """Return the first record, without vectors; None if it is damaged. Raises OSError if there is no file."""
        with self.file.open("rb") as stream:
            return _parse(stream.readline(), self._checked)

    def lines(self) -> int:
        """Count the lines, complete or not; 0 if there is no file."""
        try:
            with self.file.open("rb") as stream:
                return sum(1 for _ in stream)
        except OSError:
            return 0

    def close(self) -> None:
        """Close the journal's open files."""
        for stream in (self._vector_stream, self._stream):
            if stream is not None:
                stream.close()
        self._stream = self._vector_stream = None

    @contextmanager
    def _vectors_to_read(self) -> Iterator[BinaryIO | None]:
        if self._layout is None:
            yield None
            return
        with self._vector_file.open("rb") as stream:
            yield stream

    def _take(self, record: Record, vectors: BinaryIO) -> bool:
        """Read the next vectors and attach them to their record; False if their checksum is wrong."""
        assert self._layout is not None
        count = len(record.get("rows") or ())
        data = vectors.read(count * self._layout.bytes_each)
        if zlib.crc32(data) != record.pop("checksum", None):
            return False
        if count:
            import numpy as np

            record["vectors"] = np.frombuffer(data, self._layout.storage).reshape(count, self._layout.dimensions)
        return True


def damaged(file: Path) -> OutputError:
    """Make the error for a job's file whose content is not what the job wrote."""
    return OutputError.about(
        file, "{subject} was changed or damaged", remedy=Wording("{@resume:True} does what is lost again")
    )


def _write(stream: BinaryIO, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += stream.write(data[written:]) or 0


def _cut(file: Path, length: int) -> None:
    if length < file.stat().st_size:
        os.truncate(file, length)


def _line(record: Record) -> bytes:
    """Serialise a record as JSON whose last entry is the checksum of everything before it."""
    text = exact_json(record).encode()[:-1]
    return text + b', "line_checksum": "%08x"}\n' % zlib.crc32(text)


def _parse(line: bytes, checked: bool) -> Record | None:
    """Parse a line; None if it is truncated, damaged, or not a job's record."""
    if not line.endswith(b"\n"):
        return None
    found = _CHECKSUM.search(line)
    if found is None and checked:
        return None
    if found is not None:
        if int(found[1], 16) != zlib.crc32(line[: found.start()]):
            return None
        line = line[: found.start()] + b"}"
    try:
        record = json.loads(line)
        return record if _is_record(record) else None
    except (ValueError, RecursionError):
        return None


def _is_record(record: object) -> bool:
    """Return whether a value has the fields and types that jobs rely on. Raises ValueError for a damaged path."""
    if not isinstance(record, dict) or "error" not in record:
        return False
    if not isinstance(record.get("path"), str) or not isinstance(record.get("index"), int):
        return False
    error = record["error"]
    if error is not None and not (isinstance(error, dict) and isinstance(error.get("kind"), str)):
        return False
    path_of(record)
    return all(isinstance(record.get(name) or [], list) for name in ("frames", "rows")) and isinstance(
        record.get("crops") or 1, int
    )

"""Keeps answers in a CSV table that `finetune`, `evaluate` and pandas read; an answer that was acknowledged is on the disk.

One row per clip: path, start, end, label, time. A new answer is appended and synced; a changed or withdrawn one rewrites the
file, which replaces the old one whole or not at all. A kill may leave half a row at the end, which nobody was told is saved:
it is cut off when the file is opened again. Other columns of the file stay as they are.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from videomae_cli import filesystem
from videomae_cli.datasets.data_places import clip_in
from videomae_cli.errors import OptionError, OutputError, Wording, not_written
from videomae_cli.files import Lock, check_new, is_special, lock_output, sync, sync_folder, write_file
from videomae_cli.results import as_utf8, path_fields, path_of
from videomae_cli.storage import canonical, is_address
from videomae_cli.writers.cells import csv_row, read_cell

COLUMNS = ("path", "start", "end", "label", "time")
MAX_LABEL = 100  # characters
_LONGEST_ROW = 16_384  # bytes: a path has 4,096 at most, and stands there twice if it is not UTF-8
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d\d\d)?Z")


@dataclass(frozen=True)
class Clip:
    """A video file, or the part of it from `start` to `end` (seconds)."""

    path: str
    start: float | None = None
    end: float | None = None

    @property
    def key(self) -> tuple[str, int | None, int | None]:
        """Identifies the clip, however its path is spelled: its place on this disk, and milliseconds."""
        same = canonical(self.path) if is_address(self.path) else os.path.abspath(self.path)  # noqa: PTH100 - keeps links
        return same, _milliseconds(self.start), _milliseconds(self.end)


@dataclass(frozen=True)
class Answer:
    """What a person said about a clip. time: when, in UTC, as "2026-11-30T04:05:06.789Z"; empty if the table doesn't say."""

    clip: Clip
    label: str
    time: str = ""


@dataclass
class _Row:
    answer: Answer
    cells: dict[str, str] = field(default_factory=dict)


def check_label(label: str) -> str:
    """Return the name of a class without blanks around it. Raises OptionError for one that tables can't hold."""
    name = label.strip()
    if not name or len(name) > MAX_LABEL or not name.isprintable() or as_utf8(name) != name or set(name) & set("|;"):
        reason = "{label!r} can't be a class: give 1 to {most} characters, without | and ;"
        raise OptionError.about("classes", reason, label=label, most=MAX_LABEL)
    return name


def now() -> str:
    """Return the present time as answers hold it: to the millisecond, which tells what was answered at once."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def latest(answers: Iterable[Answer]) -> list[Answer]:
    """Return the answers of the latest time; those whose time is empty, or isn't one as `now` gives it, are left out."""
    timed = [answer for answer in answers if _TIME.fullmatch(answer.time)]
    last = max((answer.time for answer in timed), default="")
    return [answer for answer in timed if answer.time == last]


class AnswerTable:
    """The answers in a CSV file, as a context manager that locks it. All changes are on the disk when a method returns.

    Raises OutputError if the file is no such table, is being written by another process, or can't be written; after a
    failed write, file and object are as before.
    """

    def __init__(self, file: Path, *, locked: bool = True) -> None:
        self.file = file
        self.torn = False
        self._locked = locked
        self._lock: Lock | None = None
        self._header: list[str] = list(COLUMNS)
        self._rows: dict[tuple[str, int | None, int | None], _Row] = {}
        self._stamp: tuple[int, int, int] | None = None

    def __enter__(self) -> Self:
        check_new(self.file, overwrite=True)
        if is_special(self.file):  # a pipe would be waited for, and a device forgets
            raise OutputError.about(self.file, "{subject} is no file: answers are kept in one")
        try:
            if self._locked:
                self._lock = lock_output(self.file.with_name(f".{self.file.name}.lock"), self.file)
            self._read()
        except OSError as error:
            self._release()
            raise not_written(self.file, error) from None
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release(remove=True)
            self._lock = None

    @property
    def answers(self) -> list[Answer]:
        """All answers, in the order of the file."""
        return [row.answer for row in self._rows.values()]

    def answer_of(self, clip: Clip) -> Answer | None:
        """Return the answer for a clip; None if there is none."""
        row = self._rows.get(clip.key)
        return None if row is None else row.answer

    def add(self, answers: Sequence[Answer]) -> None:
        """Store answers; one for a clip that has another label replaces it. Raises OutputError if they are not on the disk."""
        rows = dict(self._rows)
        changed = {a.clip.key: a for a in answers if a.clip.key not in rows or rows[a.clip.key].answer.label != a.label}
        if not changed:
            return
        for key, answer in changed.items():
            cells = rows[key].cells if key in rows else {}
            rows[key] = _Row(answer, {**cells, "label": answer.label, "time": answer.time})
        header = self._header
        if "path_bytes" not in header and any("path_bytes" in path_fields(a.clip.path) for a in changed.values()):
            header = [*header, "path_bytes"]
        if self._stamp is None or changed.keys() & self._rows.keys() or header is not self._header:
            self._write(rows, header)
        else:
            self._append([rows[key] for key in changed])
        self._rows = rows

    def remove(self, clips: Iterable[Clip]) -> None:
        """Withdraw the answers of some clips. Raises OutputError if that is not on the disk."""
        gone = {clip.key for clip in clips} & self._rows.keys()
        if gone:
            rows = {key: row for key, row in self._rows.items() if key not in gone}
            self._write(rows, self._header)
            self._rows = rows

    def _write(self, rows: dict[tuple[str, int | None, int | None], _Row], header: list[str]) -> None:
        self._check_unchanged()
        text = csv_row(header) + "".join(self._line(row, header) for row in rows.values())
        write_file(self.file, text.encode())
        self._header, self._stamp = header, self._look()

    def _append(self, rows: Sequence[_Row]) -> None:
        self._check_unchanged()
        data = "".join(self._line(row, self._header) for row in rows).encode()
        try:
            with self.file.open("r+b", buffering=0) as stream:
                size = stream.seek(0, os.SEEK_END)
                try:
                    written = 0
                    while written < len(data):
                        written += stream.write(data[written:]) or 0
                    sync(stream)
                except OSError:
                    stream.truncate(size)  # frees what a full disk has just taken
                    raise
        except OSError as error:
            self._stamp = self._look()
            raise not_written(self.file, error) from None
        self._stamp = self._look()

    def _line(self, row: _Row, header: list[str]) -> str:
        clip = row.answer.clip
        made = {
            **path_fields(self._named(clip.path)),
            "start": "" if clip.start is None else f"{clip.start:.3f}",
            "end": "" if clip.end is None else f"{clip.end:.3f}",
        }
        # What was read is written as it was: a table of one's own may name paths in another way.
        return csv_row({**made, **row.cells}.get(name, "") for name in header)

    def _named(self, path: str) -> str:
        """Return how the table names a file: relative to its own folder, unless the path is absolute."""
        if is_address(path) or os.path.isabs(path):  # noqa: PTH117 - a string, which may not be UTF-8
            return path
        return os.path.relpath(path, self.file.parent)

    def _look(self) -> tuple[int, int, int]:
        stat = self.file.stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _check_unchanged(self) -> None:
        there = filesystem.is_there(self.file)
        if (self._look() if there else None) != self._stamp:
            raise OutputError.about(
                self.file,
                "{subject} was changed by another program",
                remedy="start videomae label again, which goes on from what it holds now",
            )

    def _read(self) -> None:
        if not filesystem.is_there(self.file):
            return
        data = self.file.read_bytes()
        whole = _whole_rows(data)
        text = whole.decode("utf-8-sig", "surrogateescape")
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        header = [name.strip() for name in rows[0]] if rows else list(COLUMNS)
        tail = list(csv.reader(io.StringIO(data[len(whole) :].decode("utf-8", "surrogateescape"), newline="")))
        missing = [name for name in ("path", "label") if name not in header]
        why = f"it has no column {[*missing, 'path'][0]}" if missing or (data and not rows) else ""
        why = why or ("it is not UTF-8" if as_utf8(text) != text else "")
        # Half a row is one row. More than that is no trace of a kill, but quotes that don't match: nothing of it may be lost.
        why = why or ("its quotes don't match" if len(tail) > 1 or len(data) - len(whole) > _LONGEST_ROW else "")
        if why:
            raise OutputError.about(
                self.file,
                "{subject} is there and is no table of answers ({why})",
                why=why,
                remedy=Wording("give another name with {@output}"),
            )
        self._header = [*header, *(name for name in COLUMNS if name not in header)]
        body = rows[1:]
        if len(whole) < len(data):
            self.torn = True
            last = tail[0] if tail else []
            time = last[header.index("time")] if "time" in header and len(last) == len(header) else ""
            if len(last) == len(header) and (not time or _TIME.fullmatch(time)):
                body.append(last)  # somebody's editor left out the last line end
        for cells in body:
            named = dict(zip(header, map(read_cell, cells), strict=False))
            if named.get("label") and (named.get("path") or named.get("path_bytes")):
                answer = self._answer(named)
                self._rows[answer.clip.key] = _Row(answer, named)
        self._stamp = self._look()
        if self.torn or header != self._header or len(self._rows) != len(body):
            self._write(self._rows, self._header)
            sync_folder(self.file.parent)

    def _answer(self, named: dict[str, str]) -> Answer:
        try:
            path = path_of(named)
        except ValueError:
            raw = named["path_bytes"]
            raise OutputError.about(self.file, "{subject} is damaged: {raw!r} is no path", raw=raw) from None
        start, end = (self._seconds(named.get(name)) for name in ("start", "end"))
        return Answer(Clip(clip_in(str(self.file.parent), path), start, end), named["label"], named.get("time", ""))

    def _seconds(self, cell: str | None) -> float | None:
        try:
            return float(cell) if cell else None
        except ValueError:
            raise OutputError.about(self.file, "{subject}: {cell!r} is no time in seconds", cell=cell) from None


def _whole_rows(data: bytes) -> bytes:
    """Return the rows that end with a line end: a line end inside quotes is a part of a cell."""
    end = position = quotes = 0
    for line in data.splitlines(keepends=True):
        position += len(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0 and line.endswith(b"\n"):
            end = position
    return data[:end]


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)

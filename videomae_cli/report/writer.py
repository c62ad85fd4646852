"""Writes the report: entries and filmstrips are spooled to disk while a job runs, then the page is written atomically."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from videomae_cli import filesystem
from videomae_cli.errors import not_written
from videomae_cli.files import check_new, is_special, linked, whole_file
from videomae_cli.pages import Document, in_script, picture_script, relative_address
from videomae_cli.pictures.hues import label_colours
from videomae_cli.report.entries import FACTS, Segments, facts_of, ids_of, make_entry, merge_ids
from videomae_cli.report.spool import Line, Spool
from videomae_cli.results import Record, path_of

# Bytes for the frames of segments: at most per file, at most per page, and what each file may use even on a full page.
_MOST_SHOT_BYTES, _PAGE_SHOT_BYTES, _LEAST_SHOT_BYTES = 120_000, 12_000_000, 20_000
_MARK = b'<meta name="generator" content="videomae report">'


def is_report(file: Path) -> bool:
    """Return whether a file is a report that this package wrote."""
    try:
        with file.open("rb") as stream:
            return _MARK in stream.read(4096)
    except OSError:
        return False


class ReportWriter:
    """Builds a report. Use as a context manager: `add` each file in order; the page is written if the block succeeds.

    A resumable job calls `begin` first, with the file that stores its entries, and `finish` at the end. title:
    describes the files; about: a line on how they were analysed; files: about how many there will be; overwrite:
    whether a file may be replaced. Raises OutputError as soon as it is known that the page can't be written or would
    replace something.
    """

    def __init__(self, output: Path, *, title: str, about: str, files: int = 1, overwrite: bool = False) -> None:
        self.output = output
        self.shot_bytes = max(_LEAST_SHOT_BYTES, min(_MOST_SHOT_BYTES, _PAGE_SHOT_BYTES // max(1, files)))
        self._title, self._about, self._overwrite = title, about, overwrite
        self._spool: Spool | None = None
        self._finished = False

    def __enter__(self) -> ReportWriter:
        with self._reported():
            check_new(self.output, overwrite=self._overwrite)
            # Fails now, not after hours of work, if the folder is not writable.
            self._use(self._temporary())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self._finished:
                self.finish()
        finally:
            if self._spool is not None:
                self._spool.close()
                self._spool = None

    def begin(self, kept: Path, records: Iterable[Record]) -> None:
        """Store entries in the file `kept` from now on, reusing those in it that belong to `records`, an earlier run's results.

        A record without a stored entry is shown without pictures; other stored entries are dropped.
        """
        with self._reported():
            if not filesystem.is_there(kept):
                kept.touch()
            self._use(cast(BinaryIO, kept.open("r+b", buffering=0)))
            assert self._spool is not None
            self._spool.recover(records)

    def add(
        self,
        record: Record,
        strip: bytes | None = None,
        segments: Segments | None = None,
        duration: float | None = None,
        shots: tuple[Sequence[int], bytes] | None = None,
        moments: Sequence[float] = (),
    ) -> None:
        """Add a file. record: from `Result.as_dict`; strip: a picture (WebP or JPEG) of frames side by side.

        segments: {start, end, label, score} each, in seconds; duration: seconds. Both default to the record's own.
        shots: the segment's number of each frame, and a picture like the strip, of frames of some segments; the first
        frame of a segment represents it. moments: the frames' times in seconds.
        """
        assert self._spool is not None, "a context manager"
        with self._reported():
            entry = make_entry(record, segments, duration)
            if shots is not None:
                entry["shots"] = list(shots[0])
                entry["moments"] = [round(moment, 2) for moment in moments]
            ids = ids_of(record, segments)
            self._spool.append(Line(facts_of(record), entry, ids, strip, None if shots is None else shots[1]))

    def finish(self) -> None:
        """Write the page under its final name."""
        assert self._spool is not None, "a context manager"
        with whole_file(self.output) as sink:
            self._write(self._spool, sink)
        self._finished = True

    def drop(self) -> None:
        """Skip writing the page, because nothing has changed."""
        self._finished = True

    def _write(self, spool: Spool, sink: BinaryIO) -> None:
        """Write the page in two passes over the spool, one line at a time, since a page may not fit in memory."""
        document = Document("videomae_cli.report", "report", title=self._title, media="'self' file:")
        facts: dict[str, dict[str, None]] = {name: {} for name in FACTS}
        labels: dict[str, int | None] = {}
        sink.write(document.head)
        sink.write(b'{"entries":[')
        for number, line in enumerate(spool.lines()):
            for name, value in line.facts.items():
                facts.setdefault(name, {})[value] = None
            merge_ids(labels, line.ids.items())
            sink.write((b",\n" if number else b"\n") + in_script(self._shown(line.entry)).encode())
        shown = {name: list(values) for name, values in facts.items() if values}
        rest = {"about": self._about, "facts": shown, "colours": list(label_colours(labels, labels).items())}
        sink.write(f"],{in_script(rest)[1:]}".encode())
        sink.write(document.middle)
        for number, line in enumerate(spool.lines()):
            if line.strip is not None:
                sink.write(picture_script(number, line.strip))
            if line.shots is not None:
                sink.write(picture_script(number, line.shots, prefix=b"s"))
        sink.write(document.tail)

    def _shown(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return an entry as the page has it: a film with a timeline is named as the page's browser finds it."""
        shown = {name: value for name, value in entry.items() if name != "path_bytes"}
        if "timeline" in entry and not is_special(self.output):
            shown["film"] = relative_address(path_of(entry), self.output)
        return {name: value for name, value in shown.items() if value is not None}

    def _use(self, file: BinaryIO) -> None:
        if self._spool is not None:
            self._spool.close()
        self._spool = Spool(file)

    def _temporary(self) -> BinaryIO:
        """Open an unnamed temporary file in the page's folder, so that nothing is left behind whatever happens."""
        folder = None if is_special(self.output) else linked(self.output).parent
        return cast(BinaryIO, tempfile.TemporaryFile(dir=folder, buffering=0))

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise not_written(self.output, error) from None

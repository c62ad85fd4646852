"""A resumable job: one output, and the records kept beside it until the output is complete."""

from __future__ import annotations

import contextlib
import json
import time
from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from videomae_cli import filesystem
from videomae_cli.errors import OptionError, OutputError, Wording, say
from videomae_cli.filenames import partial_folder
from videomae_cli.files import linked, sync_folder, whole_file
from videomae_cli.jobs.again import Replacements
from videomae_cli.jobs.folder import AGAIN, HEADER, LIST, RECORDS, STARTS_AGAIN, JobFolder
from videomae_cli.jobs.job_list import JobList
from videomae_cli.jobs.journal import Journal
from videomae_cli.jobs.settings import Begun, Settings
from videomae_cli.jobs.shards import Part
from videomae_cli.results import SCHEMA_VERSION, Record, as_utf8, engine_of, path_fields, path_of
from videomae_cli.writers import (
    VectorLayout,
    Writer,
    check_readable,
    holds_vectors,
    make_vector_writer,
    make_writer,
    read_layout,
    read_records,
    read_vector_records,
    write_names,
)

# Version 2 added checksums to the journal's lines, 3 a separate file for records that replace earlier ones, 4 the list
# of files, in whose order the records need not be.
LAYOUT_VERSION = 4
CHECK_SECONDS = 1.0


@dataclass
class JobTally:
    """Counts of a job's finished files, their views, vector rows, and failures by kind.

    again: positions of files to be redone, each with the number of views before it, or None if the file itself had
    none; views: total number of views of the files that earlier runs have processed; damaged: records that were
    discarded because a line of the journal, or one before them, was damaged; gone: the number of files with a result
    that are no longer listed, and count for nothing else; rest: positions of files without a result, None for all after
    the first ones; unknown_settings: whether the complete output is a narrow CSV, which doesn't record its settings.
    """

    done: int = 0
    again: dict[int, int | None] = field(default_factory=dict)
    damaged: int = 0
    views: int = 0
    rows: int = 0
    gone: int = 0
    rest: list[int] | None = None
    unknown_settings: bool = False
    failed: Counter[str] = field(default_factory=Counter)

    def count_gone(self, record: Record) -> None:
        """Add the record of a file that is no longer listed, which keeps its place in batches and in the output."""
        self.gone += 1
        self.views += _views(record)
        self.rows += len(record.get("rows") or ())

    def count(self, record: Record) -> None:
        """Add a finished record to the counts."""
        self.done += 1
        self.views += _views(record)
        self.rows += len(record.get("rows") or ())
        error = record.get("error")
        if error:
            self.failed[str(error.get("kind")) if isinstance(error, dict) else "error"] += 1

    def count_again(self, place: int, record: Record) -> None:
        """Add a record that is to be redone to the counts."""
        views = _views(record)
        self.again[place] = self.views if views else None
        self.views += views

    def left(self, total: int) -> list[int]:
        """Return the positions of the files still to be done, in the order in which `Job.append` expects their records."""
        return [*self.again, *self._rest(total)]

    def starts(self, total: int) -> list[int | None]:
        """Return how many of the job's views precede each file in `left`; see `starts` of `pipeline.Batches`.

        None means that the file directly follows the one before it in the list. One more element at the end is the
        number of views that earlier runs have processed, or 0 if that is not needed.
        """
        tail = len(self._rest(total))
        whole = self.views if any(start is not None for start in self.again.values()) else 0
        return [*self.again.values(), *[self.views, *[None] * (tail - 1)][:tail], whole]

    def _rest(self, total: int) -> Sequence[int]:
        return range(self.done + len(self.again), total) if self.rest is None else self.rest


class Job:
    """A batch that writes to `output`. Use as a context manager: call `begin`, then `append` until done, then `finish`.

    Raises OutputError if the output or results of an earlier run exist (without `resume` or `overwrite`), if another
    process is writing it, or if it can't be written.
    """

    def __init__(self, output: Path, *, format: str, resume: bool = False, overwrite: bool = False) -> None:
        if resume and overwrite:
            raise OptionError.about(
                "resume", "{@resume:True} and {@overwrite:True} say opposite things: give one of them"
            )
        self.output, self.format = output, format
        self._target = linked(output)
        if not self._target.name:
            raise OutputError.about(output, "{subject} is a folder: give a file name to write to")
        self.folder = partial_folder(self._target)
        self._job_folder = JobFolder(self.folder, output)
        self._resume, self._overwrite = resume, overwrite
        self._header = self.folder / HEADER
        self._layout: VectorLayout | None = None
        self._journal = Journal(self.folder / RECORDS)
        self._replacements = Replacements(self.folder / AGAIN, None)
        self._list = JobList(())
        # Whether the earlier records are those of a complete output, which is replaced once the redone ones are in.
        self._reopened = False
        self._again_left = 0
        self.tally = JobTally()
        self.complete = False
        self.fresh = False
        self._checked_at = 0.0

    def __enter__(self) -> Job:
        with self._reported():
            if filesystem.is_folder(self._target):
                raise OutputError.about(self.output, "{subject} is a folder: give a file name to write to")
            there = filesystem.look(self._target)
            if there.kind == "unknown":
                raise OutputError.about(self.output, "can't write {subject}: {reason}", reason=there.reason)
            self._job_folder.check()
            if not self._resume and not self._overwrite:
                self._refuse_to_lose()
            self._job_folder.enter()
        return self

    def _refuse_to_lose(self) -> None:
        if filesystem.is_there(self._target):
            raise OutputError.about(
                self.output,
                "{subject} is there already",
                remedy=Wording("{@overwrite:True} replaces it, {@resume:True} completes it"),
            )
        kept = self._journal.lines()
        if filesystem.is_there(self._header) or kept:
            without = "" if filesystem.is_there(self._header) else f" ({kept} of them; its {HEADER} is missing)"
            raise OutputError.about(
                self.folder,
                "{subject} keeps results of an earlier run{without}",
                without=without,
                remedy=Wording("{@resume:True} continues from there, {@overwrite:True} starts again"),
            )

    def begin(
        self,
        settings: Settings,
        names: Sequence[str],
        *,
        part: Part | None = None,
        vectors: VectorLayout | None = None,
        counts: Callable[[Record], bool] = lambda record: True,
    ) -> JobTally:
        """Start, or resume an earlier run; `JobTally.left` then says which of the names are still to be done, in which order.

        part: if these are the names of a part of a list; vectors: layout of the records' vectors, if they have any; counts:
        whether a record of an earlier run is still valid (its output file may have been removed, for example); invalid ones
        are redone. Records of files that are no longer listed are kept.

        Raises OutputError if the earlier run had other settings.
        """
        self._layout, self._list = vectors, JobList(names, part)
        shard = str(part) if part is not None else None
        header = {
            "layout_version": LAYOUT_VERSION,
            "shard": shard,
            "list": self._list.listed,
            "settings": settings.as_dict(),
        }
        with self._reported():
            earlier = self._job_folder.header() if self._resume and filesystem.is_there(self._header) else None
            self._journal = Journal(self.folder / RECORDS, vectors, checked=(earlier or {}).get("layout_version") != 1)
            self._replacements = Replacements(self.folder / AGAIN, vectors)
            # True if an earlier run was killed while removing its records after completing the output.
            cleared = filesystem.is_there(self._target) and not (
                self._journal.is_there or (earlier or {}).get("reopened")
            )
            if self._resume and filesystem.is_there(self._header) and not cleared:
                self._compare(earlier, header, settings)
                self._replacements.recover()
                self._journal.create()  # if the records are missing, all files are done again
                self._replacements.journal.create()  # job folders of earlier versions lack this file
                if earlier is not None and earlier.get("reopened"):
                    self._reopened = True
                    self._check_complete(settings, shard, counts)
                    if self._has_changed:
                        self._take_over(header, settings, names, counts)
                else:
                    self._recover(settings, counts)
                    if earlier is not None and earlier.get("list") != header["list"]:
                        # The lines of version 1 have no checksums, and stay as they are.
                        self._write_header(
                            {**header, "layout_version": 1} if earlier["layout_version"] == 1 else header
                        )
            elif self._resume and not filesystem.is_there(self._target) and self._journal.lines():
                # The header is lost, but each record has the fingerprint of its settings.
                first = self._journal.first()
                if first is None or first.get("fingerprint") != settings.fingerprint:
                    raise OutputError.about(
                        self.folder,
                        "can't go on: {subject} holds no {header}, and no results with these settings",
                        header=HEADER,
                        remedy=STARTS_AGAIN,
                        joined="; ",
                    )
                self._replacements.recover()
                self._recover(settings, counts)
                self._write_header(header)
            elif self._resume and filesystem.is_there(self._target):
                self._check_complete(settings, shard, counts)
                if self._has_changed:
                    self._job_folder.clear()
                    self._take_over(header, settings, names, counts)
                elif self.tally.again:
                    self._reopened = True
                    self._job_folder.clear()
                    self._write_header({**header, "reopened": True})
                else:
                    self.complete = True
            else:
                self.fresh = True
                self._job_folder.clear()
                self._write_header(header)
        self._again_left = len(self.tally.again)
        return self.tally

    def _recover(self, settings: Settings, counts: Callable[[Record], bool]) -> None:
        ours = self._journal.recover(counts=lambda record: record.get("fingerprint") == settings.fingerprint)
        for record in ours:
            self._count(record, counts)
        self._count_rest()
        self.tally.damaged = self._journal.damaged + self._replacements.journal.damaged

    def _count(self, record: Record, counts: Callable[[Record], bool]) -> None:
        place, now = self._list.place(record), self._replacements.of(record)
        if place is None:
            self.tally.count_gone(now)
        elif counts(now):
            self.tally.count(now)
        else:
            self.tally.count_again(place, now)

    def _count_rest(self) -> None:
        if not self._list.in_order:
            self.tally.rest = self._list.left()

    @property
    def _has_changed(self) -> bool:
        """Whether the list holds files that a complete output doesn't, or is another for the other shards of the job."""
        return self._list.relisted or self.tally.done + len(self.tally.again) < len(self._list.names)

    def _take_over(
        self, header: dict[str, Any], settings: Settings, names: Sequence[str], counts: Callable[[Record], bool]
    ) -> None:
        """Make an interrupted job of a complete output, which stays until the job is complete again."""
        self._journal.clear()
        stored = self._stored() if self._layout is None else read_vector_records(self._target)
        for record in stored:
            if self._layout is not None and record["vectors"] is not None:
                # JSON Lines don't say of which type the numbers are.
                record["vectors"] = record["vectors"].astype(self._layout.storage, copy=False)
            if self.tally.unknown_settings and (place := self._list.find(path_of(record))) is not None:
                record |= path_fields(names[place])  # narrow CSV holds no bytes that aren't UTF-8
            # Narrow CSV has no fingerprint, and a failure that is to be redone may have another.
            self._journal.append({"schema_version": SCHEMA_VERSION, **record, "fingerprint": settings.fingerprint})
        self._journal.sync()
        self._reopened = False
        self._write_header(header)
        self.tally = JobTally(unknown_settings=self.tally.unknown_settings)
        self._list = JobList(names, self._list.part)
        self._recover(settings, counts)

    def failures(self, asked: Container[Record]) -> Counter[str]:
        """Count by kind the recorded failures that `asked` contains, whether or not the job was completed. Changes nothing."""
        found: dict[str, str | None] = {}
        header = self._job_folder.header() if filesystem.is_there(self._header) else {}
        sources = [Journal(self.folder / AGAIN, checked=False).records()]
        if header and not header.get("reopened"):
            sources.insert(0, Journal(self.folder / RECORDS, checked=False).records())
        elif holds_vectors(self._target):
            sources.insert(0, read_vector_records(self._target, vectors=False))
        else:
            if filesystem.is_there(self._target):
                check_readable(self._target, self.format)
            sources.insert(0, self._stored())
        for source in sources:
            with contextlib.suppress(OSError, OutputError):
                for record in source:
                    found[path_of(record)] = record["error"]["kind"] if record in asked else None
        return Counter(kind for kind in found.values() if kind is not None)

    def begun(self) -> Begun | None:
        """Return how the run began that this one resumes, as far as its files say; None if there is none. Call before `begin`."""
        if not self._resume:
            return None
        with contextlib.suppress(OSError, OutputError):
            header = self._job_folder.header() if filesystem.is_there(self._header) else None
            if header is not None:
                return Begun(engine_of(header["settings"]))
        with contextlib.suppress(OSError, OutputError):
            if record := self._journal.first():
                return Begun(record.get("engine"))
        with contextlib.suppress(OSError, OutputError):
            if not filesystem.is_file(self._target):
                return None
            if holds_vectors(self._target):
                settings = read_layout(self._target).settings
                return Begun(engine_of(settings) or settings.get("engine"))
            if record := next(self._stored(), None):
                return Begun(record.get("engine"))
        return None

    def earlier_records(self) -> Iterator[Record]:
        """Yield the records of earlier jobs with this output, whatever their settings: complete, then interrupted ones.

        Unreadable records are left out.
        """
        if self.format == "jsonl" and filesystem.is_file(self._target):
            with contextlib.suppress(OutputError):
                yield from self._stored()
        with contextlib.suppress(OSError, OutputError):
            yield from Journal(self.folder / RECORDS, checked=False).records()

    def kept_records(self) -> Iterator[Record]:
        """Yield the records with which `begin` goes on: of an interrupted job, else of the complete output. Unreadable ones are
        left out."""
        begun = self._job_folder.header() if filesystem.is_there(self._header) else None
        with contextlib.suppress(OSError, OutputError):
            if begun is not None and not begun.get("reopened"):
                yield from Journal(self.folder / RECORDS, checked=False).records()
            elif filesystem.is_file(self._target):
                yield from self._stored()

    def records(self) -> Iterator[Record]:
        """Return the records so far, with replacements, in the order of the list; call after `begin`."""
        if not self.complete and not self._reopened and (self._list.relisted or not self._list.in_order):
            return self._in_list_order()
        return map(self._replacements.of, self._earlier()) if not self.complete else self._earlier()

    def _in_list_order(self) -> Iterator[Record]:
        """Yield the records of listed files in the order of the list, then the others, stamped with their places in it."""
        # Two packed arrays: ten million tuples would take a gigabyte.
        lines, vectors = (array("q", [-1]) * len(self._list.names) for _ in range(2))
        gone = []
        for record, begin in self._journal.located():
            place = self._list.find(path_of(record))
            if place is None:
                gone.append(begin)
            else:
                lines[place], vectors[place] = begin
        places = [place for place, begin in enumerate(lines) if begin >= 0]
        listed = self._journal.records_at((lines[place], vectors[place]) for place in places)
        for place, record in zip(places, listed, strict=True):
            yield self._list.stamped(self._replacements.of(record), place)
        for number, record in enumerate(self._journal.records_at(gone)):
            yield self._list.stamped_gone(self._replacements.of(record), number)

    def _earlier(self) -> Iterator[Record]:
        """Return the records of earlier runs, without replacements."""
        if not self.complete and not self._reopened:
            return self._journal.records()
        if self._layout is not None:
            return read_vector_records(self._target)
        return self._stored()

    def _stored(self) -> Iterator[Record]:
        """Return the records of the complete output; those of a narrow CSV contain only what its columns have."""
        return read_records(self._target, self.format, narrow=True)

    def append(self, record: Record) -> None:
        """Store the record of the file that is next in `JobTally.left`."""
        self.check_kept()
        with self._reported():
            if self._again_left:
                self._replacements.append(record)
                self._again_left -= 1
            else:
                self._journal.append(record)
        self.tally.count(record)

    def check_kept(self, *, at_once: bool = False) -> None:
        """Raise OutputError if the job's folder was removed or renamed meanwhile; checks at most once a second."""
        now = time.monotonic()
        if self.complete or not self._job_folder.is_locked or (now - self._checked_at < CHECK_SECONDS and not at_once):
            return
        self._checked_at = now
        if not self.is_kept:
            raise OutputError.about(
                self.folder,
                "{subject} was removed or renamed while this job ran: its {done} results are not kept there any more",
                done=self.tally.done,
                remedy=Wording("if it was renamed, give it its name back and {@resume:True}, else start again"),
                joined="; ",
            )

    @property
    def is_kept(self) -> bool:
        """Whether the results so far are where a later run would look for them."""
        return filesystem.is_there(self._header) and self._journal.is_there and self._replacements.journal.is_there

    def finish(self) -> None:
        """Write the output atomically; the job's folder is removed on leaving the block."""
        if self.complete:
            return
        self.check_kept(at_once=True)
        with self._reported():
            self._sync()
        try:
            with whole_file(self._target, scratch=self.folder) as sink:
                writer = self._writer(sink)
                for record in self.records():
                    writer.write(record)
                writer.finish()
        except OutputError as error:
            raise OutputError.about(self.output, "{error}{kept}", error=error, kept=self._kept()) from None
        self.complete = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._sync()
        self._journal.close()
        self._replacements.journal.close()
        nothing_done = self.tally.done == 0 and (self.fresh or not filesystem.is_there(self._header))
        if nothing_done and not self.fresh and self._journal.lines():
            nothing_done = False  # refuse to delete results just because their header is missing
        self._job_folder.leave(remove=self.complete or nothing_done)

    def _sync(self) -> None:
        self._journal.sync()
        self._replacements.journal.sync()

    def _writer(self, sink: BinaryIO) -> Writer:
        if self._layout is not None:
            return make_vector_writer(self.format, sink, self._layout, rows=self.tally.rows)
        return make_writer(self.format, sink)

    def _compare(self, earlier: dict[str, Any] | None, header: dict[str, Any], settings: Settings) -> None:
        if earlier is None:
            raise OutputError.about(self._header, "{subject} is damaged", remedy=STARTS_AGAIN)
        if header["shard"] is not None and earlier.get("shard") == header["shard"] and not earlier.get("list"):
            raise _by_position(self.folder)
        version = earlier.get("layout_version")
        if not isinstance(version, int) or version > LAYOUT_VERSION:
            raise OutputError.about(self.folder, "{subject} was made by a later version of videomae: go on with that")
        settings.check_same(self.folder, earlier, header["shard"])

    def _check_complete(self, settings: Settings, shard: str | None, counts: Callable[[Record], bool]) -> None:
        """Count the records of a complete output, and check that it belongs to this job. Raises OutputError."""
        if not filesystem.is_there(self._target):
            reason = "{subject} is gone, of which {folder} completes a part"
            raise OutputError.about(self.output, reason, folder=self.folder, remedy=STARTS_AGAIN)
        stored = self._stored()
        if self._layout is not None:
            stored = read_vector_records(self._target, vectors=False)
        for number, record in enumerate(stored):
            named = "fingerprint" in record
            if named != (self.format != "csv"):
                raise OutputError.about(
                    self.output,
                    "{subject} was made with {made}, so it can't go on with {wanted}",
                    made="all columns" if named else "a few columns",
                    wanted="a few" if named else "all",
                    remedy=Wording(
                        "give {@wide:True} as then, or {@overwrite:True} to start again"
                        if named
                        else "leave out {@wide:True}, or give {@overwrite:True} to start again"
                    ),
                )
            if not named and number == 0:
                self._list = JobList([as_utf8(name) for name in self._list.names])
            if named and shard is not None and record.get("shard") == shard and not record.get("list"):
                raise _by_position(self.output)
            same = not named or (record.get("fingerprint") == settings.fingerprint and record.get("shard") == shard)
            self.tally.unknown_settings |= not named
            # The settings of a failure don't matter if it is redone.
            if not same and (record.get("error") is None or counts(self._replacements.of(record))):
                differing = "; ".join(settings.differences_from_output(self._target, record, shard))
                reason = "{subject} was made with other settings ({differing})"
                raise OutputError.about(self.output, reason, differing=differing, remedy=STARTS_AGAIN)
            self._count(record, counts)
        self._count_rest()

    def _write_header(self, header: dict[str, Any]) -> None:
        # The journals first, because a header implies that they exist.
        self._journal.create()
        self._replacements.journal.create()
        with whole_file(self.folder / LIST) as sink:
            write_names(sink, self._list.names)
        with whole_file(self._header) as sink:
            sink.write(json.dumps(header, indent=2).encode())
        sync_folder(self.folder.parent)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError.about(
                self.output,
                "can't write {subject}: {reason}{kept}",
                reason=error.strerror or error,
                kept=self._kept(),
            ) from None

    def _kept(self) -> str:
        if not self.tally.done or not self.is_kept:
            return ""
        return say(
            "; {done} results are kept in {folder}, and {@resume:True} continues from there",
            done=self.tally.done,
            folder=self.folder,
        )


def _by_position(place: Path) -> OutputError:
    """Make the error for a shard that an earlier version began or wrote, which has other files than the shard has now."""
    reason = "{subject} is of an earlier version of videomae, which split lists in another way: it can be merged, but not resumed"
    return OutputError.about(place, reason, remedy=STARTS_AGAIN)


def _views(record: Record) -> int:
    return len(record.get("frames") or ()) * (record.get("crops") or 1)

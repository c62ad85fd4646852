"""One output and what is kept beside it until it is complete."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from videomae_cli import filesystem
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.filenames import partial_folder
from videomae_cli.jobs.folder import HEADER, RECORDS, JobFolder
from videomae_cli.jobs.journal import Journal
from videomae_cli.jobs.settings import Settings
from videomae_cli.results import Record, path_of
from videomae_cli.writers import (
    VectorLayout,
    Writer,
    linked,
    make_vector_writer,
    make_writer,
    read_records,
    read_vector_records,
    sync_folder,
    whole_file,
)

# 2: lines of the journal have checksums.
LAYOUT_VERSION = 2
LOOK_SECONDS = 1.0


@dataclass
class Tally:
    """How many files a job has behind it, with how many views and vectors, and how many failed, by kind. damaged: how many
    more were kept but don't count: a line that changed on the disk, or a file that was removed, and all that came after it."""

    done: int = 0
    damaged: int = 0
    views: int = 0
    rows: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def count(self, record: Record) -> None:
        """Add one record."""
        self.done += 1
        self.views += len(record.get("frames") or ()) * (record.get("crops") or 1)
        self.rows += len(record.get("rows") or ())
        error = record.get("error")
        if error:
            self.failed[str(error.get("kind")) if isinstance(error, dict) else "error"] += 1


class Job:
    """A batch that writes to `output`. Use as a context manager: `begin`, `append` until done, `finish`.

    Raises OutputError where the output exists (without `resume` or `overwrite`), where something of an earlier run is
    kept (likewise), where another process writes it, and where nothing can be written.
    """

    def __init__(self, output: Path, *, format: str, resume: bool = False, overwrite: bool = False) -> None:
        if resume and overwrite:
            raise OptionError("--resume and --overwrite say opposite things: give one of them")
        self.output, self.format = output, format
        self._target = linked(output)
        self.folder = partial_folder(self._target)
        self._kept_in = JobFolder(self.folder, output)
        self._resume, self._overwrite = resume, overwrite
        self._header = self.folder / HEADER
        self._layout: VectorLayout | None = None
        self._journal = Journal(self.folder / RECORDS)
        self.tally = Tally()
        self.complete = False
        self.fresh = False
        self._looked = 0.0

    def __enter__(self) -> Job:
        with self._reported():
            if filesystem.is_folder(self._target):
                raise OutputError(f"{self.output} is a folder: give a file name to write to")
            there = filesystem.look(self._target)
            if there.kind == "unknown":
                raise OutputError(f"can't write {self.output}: {there.reason}")
            self._kept_in.check()
            if not self._resume and not self._overwrite:
                self._refuse_to_lose()
            self._kept_in.enter()
        return self

    def _refuse_to_lose(self) -> None:
        if filesystem.is_there(self._target):
            raise OutputError(f"{self.output} is there already: --overwrite replaces it, --resume completes it")
        kept = self._journal.lines()
        if filesystem.is_there(self._header) or kept:
            without = "" if filesystem.is_there(self._header) else f" ({kept} of them; its {HEADER} is missing)"
            raise OutputError(
                f"{self.folder} keeps results of an earlier run{without}: --resume goes on from them, "
                "--overwrite starts again"
            )

    def begin(
        self,
        settings: Settings,
        names: Sequence[str],
        *,
        shard: str | None = None,
        vectors: VectorLayout | None = None,
        counts: Callable[[Record], bool] = lambda record: True,
    ) -> Tally:
        """Start, or find out what an earlier run has done: names[:tally.done] need not be done again.

        vectors: of the records, where they have some; counts: whether a record of an earlier run still does (a file that
        belongs to it may have been removed): from the first that doesn't, all is done again.

        Raises OutputError where that run had other settings or another list of files.
        """
        self._layout = vectors
        header = {"layout_version": LAYOUT_VERSION, "shard": shard, "settings": settings.as_dict()}
        with self._reported():
            earlier = self._kept_in.header() if self._resume and filesystem.is_there(self._header) else None
            self._journal = Journal(self.folder / RECORDS, vectors, checked=_has_checksums(earlier))

            def same_job(record: Record) -> bool:
                return record.get("fingerprint") == settings.fingerprint and counts(record)

            if self._resume and filesystem.is_there(self._header):
                self._compare(earlier, header, settings)
                self._recover(names, same_job)
            elif self._resume and not filesystem.is_there(self._target) and self._journal.lines():
                # The header is lost, but each record says what it was made with.
                first = self._journal.first()
                if first is None or first.get("fingerprint") != settings.fingerprint:
                    raise OutputError(
                        f"can't go on: {self.folder} holds no {HEADER}, and no results with these settings; "
                        "--overwrite starts again"
                    )
                self._recover(names, same_job)
                self._write_header(header)
            elif self._resume and filesystem.is_there(self._target):
                self._check_complete(settings, names, shard, counts)
                if not self.complete:
                    self._reopen(header)
            else:
                self.fresh = True
                self._kept_in.clear()
                self._write_header(header)
        return self.tally

    def _recover(self, names: Sequence[str], counts: Callable[[Record], bool]) -> None:
        for record in self._journal.recover(names, counts=counts):
            self.tally.count(record)
        self.tally.damaged = self._journal.damaged

    def earlier_records(self) -> Iterator[Record]:
        """What an earlier job with this output has made, whatever its settings: the complete one, then what was kept of one
        that broke off. What can't be read is left out."""
        if self.format == "jsonl" and filesystem.is_file(self._target):
            with contextlib.suppress(OutputError):
                yield from read_records(self._target, self.format)
        with contextlib.suppress(OSError, OutputError):
            yield from Journal(self.folder / RECORDS, checked=False).records()

    def records(self) -> Iterator[Record]:
        """Those of earlier runs, once it has begun."""
        return read_records(self._target, self.format) if self.complete else self._journal.records()

    def append(self, record: Record) -> None:
        """Keep one more record, of the file that comes next in the list."""
        self.check_kept()
        with self._reported():
            self._journal.append(record)
        self.tally.count(record)

    def check_kept(self, *, at_once: bool = False) -> None:
        """Raise OutputError where the folder of the results was removed or renamed meanwhile; looks once a second."""
        now = time.monotonic()
        if self.complete or not self._kept_in.is_locked or (now - self._looked < LOOK_SECONDS and not at_once):
            return
        self._looked = now
        if not self.is_kept:
            raise OutputError(
                f"{self.folder} was removed or renamed while this job ran: its {self.tally.done} results are not kept there "
                "any more; if it was renamed, give it its name back and --resume, else start again"
            )

    @property
    def is_kept(self) -> bool:
        """Whether the results so far are where a later run looks for them."""
        return filesystem.is_there(self._header) and self._journal.is_there

    def finish(self) -> None:
        """Write the output, whole, and remove what was kept."""
        if self.complete:
            return
        self.check_kept(at_once=True)
        with self._reported():
            self._journal.sync()
        try:
            with whole_file(self._target, scratch=self.folder) as sink:
                writer = self._writer(sink)
                for record in self._journal.records():
                    writer.write(record)
                writer.finish()
        except OutputError as error:
            raise OutputError(f"{error}{self._kept()}") from None
        self.complete = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._journal.sync()
        self._journal.close()
        started_in_vain = self.tally.done == 0 and (self.fresh or not filesystem.is_there(self._header))
        if started_in_vain and not self.fresh and self._journal.lines():
            started_in_vain = False  # results without a header: not ours to throw away
        self._kept_in.leave(remove=self.complete or started_in_vain)

    def _writer(self, sink: BinaryIO) -> Writer:
        if self._layout is not None:
            return make_vector_writer(self.format, sink, self._layout, rows=self.tally.rows)
        return make_writer(self.format, sink)

    def _compare(self, earlier: dict[str, Any] | None, header: dict[str, Any], settings: Settings) -> None:
        if earlier is None:
            raise OutputError(f"{self._header} is damaged: --overwrite starts again")
        version = earlier.get("layout_version")
        if not isinstance(version, int) or version > LAYOUT_VERSION:
            raise OutputError(f"{self.folder} was made by a later version of videomae: go on with that")
        before = earlier["settings"]
        differing = settings.differences(before)
        if earlier.get("shard") != header["shard"]:
            differing.append(f"shard was {earlier.get('shard')}, now {header['shard']}")
        if differing:
            raise OutputError(
                f"can't go on: {self.folder} holds results with other settings ({'; '.join(differing)}); "
                "use those, or --overwrite to start again"
            )

    def _check_complete(
        self, settings: Settings, names: Sequence[str], shard: str | None, counts: Callable[[Record], bool]
    ) -> None:
        """Count the records of a complete output, up to the first that doesn't count any more."""
        place, whole = 0, True
        stored = read_records(self._target, self.format)
        if self._layout is not None:
            stored = read_vector_records(self._target, vectors=False)
        for record in stored:
            if place >= len(names) or path_of(record) != names[place]:
                raise OutputError(f"{self.output} is complete, but for another list of files: --overwrite starts again")
            if record.get("fingerprint") != settings.fingerprint or record.get("shard") != shard:
                differing = "; ".join(settings.differences_from_record(record, shard))
                raise OutputError(f"{self.output} was made with other settings ({differing}): --overwrite starts again")
            whole = whole and counts(record)
            if whole:
                self.tally.count(record)
            place += 1
        if place < len(names):
            raise OutputError(f"{self.output} is complete, but for a shorter list of files: --overwrite starts again")
        self.complete = whole

    def _reopen(self, header: dict[str, Any]) -> None:
        """Keep the records of a complete output that still count, for the rest to be done again."""
        self._kept_in.clear()
        self._write_header(header)
        for place, record in enumerate(read_records(self._target, self.format)):
            if place == self.tally.done:
                break
            self._journal.append(record)

    def _write_header(self, header: dict[str, Any]) -> None:
        # The records first: a header says that there is something to go on from.
        self._journal.create()
        with whole_file(self._header) as sink:
            sink.write(json.dumps(header, indent=2).encode())
        sync_folder(self.folder.parent)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"can't write {self.output}: {error.strerror or error}{self._kept()}") from None

    def _kept(self) -> str:
        if not self.tally.done or not self.is_kept:
            return ""
        return f"; {self.tally.done} results are kept in {self.folder}, and --resume goes on from them"


def _has_checksums(header: dict[str, Any] | None) -> bool:
    return header is None or header.get("layout_version") != 1

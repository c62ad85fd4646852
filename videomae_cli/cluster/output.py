"""The output of a cluster job: pieces, then numbered Parquet shards, and finally, if requested, a single file.

    OUT/_job.json                                the header: settings, list and plan, written before the first piece
    OUT/_partial/0000000000-0000000013.parquet   the records of files 0 to 12 of the list
    OUT/part-00000-of-00007.parquet              a shard, made from pieces, which are then removed

The job is complete when OUT/_partial is gone. If OUT is to be a single file, all this is in `OUT.partial/` until
the shards are joined. Readers of Parquet folders ignore names that begin with _. Every machine writes here, so it
must be a shared folder or an object store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from videomae_cli import filesystem
from videomae_cli.cluster.plan import ClusterPlan, Pieces, tasks_left
from videomae_cli.errors import OptionError, OutputError, Wording
from videomae_cli.filenames import partial_folder
from videomae_cli.files import FileLockedError, Lock, lock_removed, whole_file
from videomae_cli.jobs import CLUSTER_HEADER, Settings
from videomae_cli.results import Record, path_of
from videomae_cli.storage import is_address
from videomae_cli.storage.folders import Folder
from videomae_cli.writers import (
    VectorLayout,
    Writer,
    make_vector_writer,
    make_writer,
    pick_format,
    pick_vector_format,
    read_records,
    read_vector_records,
    widened,
)
from videomae_cli.writers.parquet import count_rows

LAYOUT_VERSION = 1
PARTIAL = "_partial"
_SHARD = re.compile(r"part-[0-9]{5,}-of-[0-9]{5,}\.parquet")
_PIECE = re.compile(r"[0-9]{10,}-[0-9]{10,}\.parquet")
_LOCK = "_lock"
_OWN = re.compile(rf"{_SHARD.pattern}|{CLUSTER_HEADER}")


@dataclass(frozen=True)
class Form:
    """How records are written and read: with labels, or with vectors of the given layout."""

    layout: VectorLayout | None = None

    def writer(self, format: str, sink: BinaryIO, *, rows: int = 0) -> Writer:
        """Make a writer. rows: the total number of vectors, for formats that need to know it in advance."""
        if self.layout is not None:
            return make_vector_writer(format, sink, self.layout, rows=rows)
        return make_writer(format, sink)

    def read(self, file: Path, format: str = "parquet", *, vectors: bool = True) -> Iterator[Record]:
        """Return the records of a file, in order."""
        if self.layout is not None:
            return read_vector_records(file, vectors=vectors)
        return read_records(file, format)


@dataclass
class Past:
    """What a job has done so far. shards: finished shards -> their failed files by kind; again: shards to be rewritten because of
    failures of `kinds` -> the tasks to repeat."""

    shards: dict[int, Counter[str]] = field(default_factory=dict)
    pieces: Pieces = field(default_factory=Pieces)
    again: dict[int, list[int]] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()

    def chain(self, plan: ClusterPlan, shard: int) -> list[tuple[int, int]] | None:
        """Return the pieces needed to write (or rewrite) a shard, in order; None if some are missing."""
        if shard not in self.again:
            return self.pieces.chain(plan.shard_files(shard))
        chains = [self.pieces.chain(plan.task_files(task)) for task in self.again[shard]]
        return None if None in chains else [piece for chain in chains for piece in chain or ()]

    def left(self, plan: ClusterPlan) -> list[int]:
        """Return the numbers of the tasks still to be done."""
        return tasks_left(plan, self.shards, self.pieces, self.again)

    def done(self, plan: ClusterPlan) -> int:
        """Return how many files are finished."""
        return plan.files - sum(len(plan.task_files(task)) for task in self.left(plan))


class Output:
    """The output of one job, a context manager: call `begin`, write shards with `write_shard` (on any machine), then `finish`.

    Raises OutputError if the output exists, another process is writing it, or it can't be written.
    """

    def __init__(
        self,
        location: str,
        *,
        file: Path | None,
        format: str,
        resume: bool,
        overwrite: bool,
        retry: frozenset[str] = frozenset(),
    ) -> None:
        if resume and overwrite:
            raise OptionError.about(
                "resume", "{@resume:True} and {@overwrite:True} say opposite things: give one of them"
            )
        self.shown = str(file) if file is not None else location
        self.folder = Folder(location)
        self._file, self._format, self._resume, self._overwrite = file, format, resume, overwrite
        self._retry = retry
        self._header: dict[str, Any] = {}
        self._lock: Lock | None = None

    def __enter__(self) -> Output:
        if self._file is not None and filesystem.is_folder(self._file):
            raise OutputError.about(self._file, "{subject} is a folder: end it in / for a folder of shards")
        names = self.folder.names()
        ours = CLUSTER_HEADER in names
        if (names and not ours) or (self._file is not None and self._holds_foreign()):
            raise OutputError.about(self.folder.location, "{subject} holds other files: give a new folder")
        existing = ours or (self._file is not None and filesystem.is_there(self._file))
        if existing and not self._resume and not self._overwrite:
            raise OutputError.about(
                self.shown,
                "{subject} is there already",
                remedy=Wording("{@overwrite:True} replaces it, {@resume:True} completes it"),
            )
        self.folder.make()
        if not self.folder.remote:
            try:
                self._lock = lock_removed(Path(self.folder.location) / _LOCK)
            except FileLockedError:
                raise OutputError.about(
                    self.shown, "another process is writing {subject}: wait for it or stop it first"
                ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is None:
            return
        place = Path(self.folder.location)
        nothing_done = False
        with contextlib.suppress(OSError, OutputError):
            nothing_done = set(self.folder.names()) <= {CLUSTER_HEADER, _LOCK} and not self.folder.names(PARTIAL)
            if nothing_done:
                self.folder.remove(CLUSTER_HEADER)
        self._lock.release(remove=True)
        self._lock = None
        if nothing_done:
            with contextlib.suppress(OSError):
                place.rmdir()

    def _holds_foreign(self) -> bool:
        """Whether the job's folder, which is removed when its file is complete, contains anything that no job made."""
        place = Path(self.folder.location)
        if not os.path.lexists(place):
            return False
        if not filesystem.is_folder(place):
            return True
        known = re.compile(rf"\.?({_OWN.pattern}|{_LOCK})(\.[0-9a-f]{{8,}}\.part)?")
        return any(
            not known.fullmatch(entry.name) if entry.is_file(follow_symlinks=False) else entry.name != PARTIAL
            for entry in os.scandir(place)
        )

    def begin(
        self,
        settings: Settings,
        names: Iterable[str],
        plan: ClusterPlan,
        *,
        shard: str | None,
        form: Form | None = None,
    ) -> tuple[ClusterPlan, Past]:
        """Start, or resume an earlier run, whose plan is then returned, because pieces follow it.

        form: how to read records, to find failures to retry. Raises OutputError if an earlier run had other settings or
        another list of files.
        """
        names = list(names)
        digest = _digest(names)
        form = form or Form()
        if self._resume and CLUSTER_HEADER in self.folder.names():
            plan = self._compare(settings, digest, plan, shard)
            if self._header.get("reopened") and self._file is not None and filesystem.is_there(self._file):
                self._restore(plan, form)
            return plan, self._past(plan, form)
        reopened = self._resume and self._file is not None and filesystem.is_there(self._file)
        if reopened and not self._retry:
            raise OutputError.about(
                self.shown, "{subject} is complete", remedy=Wording("{@overwrite:True} makes it again")
            )
        if reopened:
            self._check_complete(settings, names, shard, form)
        self.folder.remove_own(_OWN)
        self.folder.remove_own(_PIECE, PARTIAL)
        self._header = {
            "layout_version": LAYOUT_VERSION,
            "list": digest,
            "shard": shard,
            "plan": plan.as_dict(),
            "settings": settings.as_dict(),
        }
        if reopened:
            self._header["reopened"] = True
        self._write_header()
        if reopened:
            self._restore(plan, form)
            return plan, self._past(plan, form)
        return plan, Past()

    def _write_header(self) -> None:
        with self.folder.writing(CLUSTER_HEADER) as sink:
            sink.write(json.dumps(self._header, indent=2).encode())

    def _check_complete(self, settings: Settings, names: Sequence[str], shard: str | None, form: Form) -> None:
        """Raise OutputError unless the complete file was made from this list with these settings."""
        assert self._file is not None
        count = 0
        for record in form.read(self._file, self._format, vectors=False):
            if count >= len(names) or path_of(record) != names[count]:
                raise OutputError.about(
                    self.shown,
                    "{subject} is complete, but for another list of files",
                    remedy=Wording("{@overwrite:True} starts again"),
                )
            same = record.get("fingerprint") == settings.fingerprint and record.get("shard") == shard
            if not same and not _is_asked(record, self._retry):
                differing = "; ".join(settings.differences_from_record(record, shard))
                raise OutputError.about(
                    self.shown,
                    "{subject} was made with other settings ({differing})",
                    differing=differing,
                    remedy=Wording("{@overwrite:True} starts again"),
                )
            count += 1
        if count < len(names):
            raise OutputError.about(
                self.shown,
                "{subject} is complete, but for a shorter list of files",
                remedy=Wording("{@overwrite:True} starts again"),
            )

    def _restore(self, plan: ClusterPlan, form: Form) -> None:
        """Split the complete file into shards again; it stays until the new one is complete."""
        assert self._file is not None
        existing = set(self.folder.names())
        records = form.read(self._file, self._format)
        for number in range(plan.shards):
            own = islice(records, len(plan.shard_files(number)))
            if plan.shard_name(number) in existing:
                deque(own, maxlen=0)
                continue
            with self.folder.writing(plan.shard_name(number)) as sink:
                writer = form.writer("parquet", sink)
                for record in own:
                    writer.write(record)
                writer.finish()

    def failures(self, form: Form) -> Counter[str]:
        """Count by kind the recorded failures that would be retried; changes nothing."""
        existing: Counter[str] = Counter()
        names = self.folder.names()
        shards = [name for name in names if _SHARD.fullmatch(name)] if CLUSTER_HEADER in names else []
        for name in shards:
            with self.folder.opened(name) as stream:
                existing += count_rows(stream).failed
        if not shards and self._file is not None and filesystem.is_there(self._file):
            records = form.read(self._file, self._format, vectors=False)
            existing.update(record["error"]["kind"] for record in records if record["error"])
        return Counter({kind: count for kind, count in existing.items() if _is_asked_kind(kind, self._retry)})

    def clear(self, plan: ClusterPlan, tasks: Sequence[int], pieces: Pieces) -> None:
        """Remove the pieces of tasks that are to be repeated."""
        for number in tasks:
            files = plan.task_files(number)
            for first, stop in pieces.within(files):
                self.folder.remove(piece_name(first, stop))
            pieces.forget(files)

    @property
    def kept(self) -> str:
        """The place where an interrupted job keeps its results."""
        return self.folder.location

    def finish(self, form: Form, plan: ClusterPlan) -> None:
        """Remove intermediate files; if a single file was requested, join the shards into it."""
        if self._header.pop("again", None) is not None:
            self._write_header()  # first: as long as the header asks for rewriting shards, the pieces are needed
        self.folder.remove_own(_PIECE, PARTIAL)
        self.folder.remove_own(_OWN, whole=False)  # also remove temporary files of killed workers
        if self._file is None:
            return
        rows = 0
        for number in range(plan.shards):
            with self.folder.opened(plan.shard_name(number)) as stream:
                rows += count_rows(stream).good
        with whole_file(self._file) as sink:
            writer = form.writer(self._format, sink, rows=rows)
            for number in range(plan.shards):
                with self.folder.local(plan.shard_name(number)) as path:
                    for record in form.read(path):
                        writer.write(record)
            writer.finish()
        self._header["reopened"] = True  # if this process is killed from here on, a resumed run finds the complete file
        self._write_header()
        self.folder.remove_own(_SHARD)
        # remove the header last, since a folder without one counts as the user's own
        self.folder.remove(CLUSTER_HEADER)

    def _compare(self, settings: Settings, digest: str, plan: ClusterPlan, shard: str | None) -> ClusterPlan:
        try:
            earlier = json.loads(self.folder.read(CLUSTER_HEADER))
            stored = ClusterPlan.from_dict(earlier["plan"])
            same_list = earlier["list"] == digest
            self._header = dict(earlier)
            if not isinstance(earlier["settings"], dict):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise OutputError.about(
                self.folder.location,
                "{subject}/{cluster_header} is damaged",
                cluster_header=CLUSTER_HEADER,
                remedy=Wording("{@overwrite:True} starts again"),
            ) from None
        settings.check_same(self.folder.location, earlier, shard)
        if not same_list:
            raise OutputError.about(
                self.folder.location,
                "{subject} is of another list of files ({stored} files then, {now} now)",
                stored=stored.files,
                now=plan.files,
                remedy=Wording("{@overwrite:True} starts again"),
            )
        return stored

    def _past(self, plan: ClusterPlan, form: Form) -> Past:
        past = Past(kinds=self._retry | frozenset(self._header.get("again") or ()))
        existing = set(self.folder.names())
        for number in range(plan.shards):
            name = plan.shard_name(number)
            if name in existing:
                with self.folder.opened(name) as stream:
                    past.shards[number] = count_rows(stream).failed
        for name in self.folder.names(PARTIAL):
            first, _, stop = name.removesuffix(".parquet").partition("-")
            if name.endswith(".parquet") and first.isdigit() and stop.isdigit():
                past.pieces.add(int(first), int(stop))
        if past.kinds:
            self._find_failures(past, plan, form)
        return past

    def _find_failures(self, past: Past, plan: ClusterPlan, form: Form) -> None:
        """Find the failures to retry, in shards (kept until they are rewritten) and in pieces (removed)."""
        for number, failed in list(past.shards.items()):
            if not any(_is_asked_kind(kind, past.kinds) for kind in failed):
                continue
            with self.folder.local(plan.shard_name(number)) as path:
                places = enumerate(form.read(path, vectors=False), plan.shard_files(number).start)
                tasks = {place // plan.task for place, record in places if _is_asked(record, past.kinds)}
            past.again[number] = sorted(tasks)
            del past.shards[number]
        for task in range(plan.tasks) if self._retry else ():
            for first, stop in past.pieces.within(plan.task_files(task)):
                with self.folder.opened(piece_name(first, stop)) as stream:
                    failed = count_rows(stream).failed
                if any(_is_asked_kind(kind, self._retry) for kind in failed):
                    self.clear(plan, [task], past.pieces)
                    break
        if past.again:
            self._header["again"] = sorted(past.kinds)
            self._write_header()


def open_output(
    output: str,
    *,
    vectors: bool,
    format: str | None,
    wide: bool = False,
    resume: bool,
    overwrite: bool,
    retry: frozenset[str] = frozenset(),
) -> Output:
    """Make the Output for the option `--output`: a folder of shards (DIR/, an address, an existing folder), or a single file.

    retry: the kinds of failures to retry, "all" for any. Raises OptionError if format and name don't match.
    """
    remote = is_address(output)
    if remote or output.endswith(("/", os.sep)) or filesystem.is_folder(Path(output)):
        if wide:
            widened("parquet", wide)
        if format not in (None, "parquet"):
            raise OptionError.about(
                output,
                "a folder holds shards in Parquet",
                remedy=Wording("leave out {@format:{format}}, or name a file", format=format),
            )
        location = output.rstrip("/") if remote else os.path.abspath(output)  # noqa: PTH100 - links stay as named
        return Output(location, file=None, format="parquet", resume=resume, overwrite=overwrite, retry=retry)
    file = Path(output)
    chosen = pick_vector_format(format, file) if vectors else widened(pick_format(format, file), wide)
    location = os.path.abspath(partial_folder(file))  # noqa: PTH100
    return Output(location, file=file, format=chosen, resume=resume, overwrite=overwrite, retry=retry)


def piece_name(first: int, stop: int) -> str:
    """Return the name of the piece with the records of files first, ..., stop - 1 of the list."""
    return f"{PARTIAL}/{first:010}-{stop:010}.parquet"


def write_shard(folder: Folder, form: Form, name: str, chain: Sequence[tuple[int, int]]) -> Counter[str]:
    """Write a shard from its pieces, then remove them; can run on any worker. Returns the number of failed files by kind."""
    if folder.exists(name):
        # The worker that wrote it died before it could report; some of the pieces may be gone.
        with folder.opened(name) as stream:
            failed = count_rows(stream).failed
        _remove(folder, chain)
        return failed
    with folder.writing(name) as sink:
        writer = form.writer("parquet", sink)
        failed = Counter()
        for first, stop in chain:
            with folder.local(piece_name(first, stop)) as path:
                for record in form.read(path):
                    writer.write(record)
                    if record["error"]:
                        failed[record["error"]["kind"]] += 1
        writer.finish()
    _remove(folder, chain)
    return failed


def renew_shard(
    folder: Folder, form: Form, name: str, first: int, chain: Sequence[tuple[int, int]], kinds: frozenset[str]
) -> Counter[str]:
    """Rewrite a shard, replacing its failures of these kinds by the records of pieces; other records are unchanged.

    Can run on any worker, and be repeated if one dies, since the pieces are kept. first: index in the list of the
    shard's first file. Returns the number of failed files by kind.
    """
    failed: Counter[str] = Counter()
    with folder.local(name) as before, folder.writing(name) as sink:
        writer = form.writer("parquet", sink)
        made = _records_of(folder, form, chain)
        at, new = next(made, (-1, None))
        for place, record in enumerate(form.read(before), first):
            while new is not None and at < place:
                at, new = next(made, (-1, None))
            if new is not None and at == place and _is_asked(record, kinds):
                record = new
            writer.write(record)
            if record["error"]:
                failed[record["error"]["kind"]] += 1
        writer.finish()
    return failed


def _records_of(folder: Folder, form: Form, chain: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Record]]:
    for first, stop in chain:
        with folder.local(piece_name(first, stop)) as path:
            yield from enumerate(form.read(path), first)


def _is_asked_kind(kind: str, kinds: frozenset[str]) -> bool:
    return kind in kinds or "all" in kinds


def _is_asked(record: Record, kinds: frozenset[str]) -> bool:
    error = record.get("error")
    return error is not None and _is_asked_kind(error["kind"], kinds)


def _remove(folder: Folder, chain: Sequence[tuple[int, int]]) -> None:
    for first, stop in chain:
        folder.remove(piece_name(first, stop))


def _digest(names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
    return digest.hexdigest()

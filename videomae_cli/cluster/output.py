"""The output of a cluster job: pieces, then numbered Parquet shards, and finally, if requested, a single file.

    OUT/_job.json                                the header: settings, list and plan, written before the first piece
    OUT/_list.parquet                            the names of the files, in the order of the records (see `source_stamps`)
    OUT/_metrics.jsonl                           what the job does and how fast (see `job_log`)
    OUT/_owners/3f9c2a7d8e01b44c.json            who writes here (see `ownership`)
    OUT/_partial/5d21c09e-0000000000-0000000013.parquet   the records of files 0 to 12 of the list, by the run 5d21c09e
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
import secrets
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain as chained
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO

from videomae_cli import filesystem
from videomae_cli.cluster.job_log import METRICS
from videomae_cli.cluster.ownership import OWNERS, Ownership
from videomae_cli.cluster.plan import ClusterPlan, Pieces, ranges_left
from videomae_cli.cluster.source_stamps import Changes, changes, known_stamps, looker, stamp_columns
from videomae_cli.errors import OptionError, OutputError, OutputUnavailableError, Wording
from videomae_cli.filenames import partial_folder
from videomae_cli.files import Lock, check_not_read, lock_output, whole_file
from videomae_cli.jobs import CLUSTER_HEADER, Settings
from videomae_cli.jobs.documents import pick_table_format
from videomae_cli.jobs.folder import STARTS_AGAIN
from videomae_cli.jobs.retry import earlier_failures
from videomae_cli.jobs.settings import Begun
from videomae_cli.results import Record, engine_of, path_of
from videomae_cli.storage import ObjectStamp, is_address, manifest_names
from videomae_cli.storage.folders import Folder
from videomae_cli.video.file_list import Paths
from videomae_cli.writers import (
    PART,
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
from videomae_cli.writers import PARTIAL as PARTIAL
from videomae_cli.writers.parquet import count_rows, write_names

LAYOUT_VERSION = 1
_PIECE = re.compile(r"(?:([0-9a-f]{8})-)?([0-9]{10,})-([0-9]{10,})\.parquet")
_LOCK = "_lock"
_LIST = "_list.parquet"
_OWN = re.compile(rf"{PART.pattern}|{CLUSTER_HEADER}|{_LIST}|{METRICS}")


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


@dataclass(frozen=True)
class WorkPlace:
    """Where a job writes, as workers get it. run: prefix of the pieces of this job, begun once and resumed or not, so that they
    are not taken for those of another job that wrote here before and isn't quite dead; fingerprint: of all its records."""

    folder: Folder
    run: str = ""
    fingerprint: str | None = None

    def piece_name(self, first: int, stop: int) -> str:
        """Return the name of the piece with the records of files first, ..., stop - 1 of the list."""
        return f"{PARTIAL}/{self.run and self.run + '-'}{first:010}-{stop:010}.parquet"

    def piece_of(self, name: str) -> tuple[int, int] | None:
        """Return the first file and the end of a piece, from its name in the subfolder; None if it is none of this job."""
        found = _PIECE.fullmatch(name)
        return (int(found[2]), int(found[3])) if found and (found[1] or "") == self.run else None

    def check_seen(self) -> None:
        """Raise OutputUnavailableError if this machine doesn't see the job's folder: that of a share which isn't mounted may be
        there, empty, and what is written to it lost."""
        if not self.folder.remote and not self.folder.exists(CLUSTER_HEADER):
            reason = "{subject} doesn't hold the job any more: is it on a share that is not mounted here?"
            raise OutputUnavailableError.about(self.folder.location, reason)

    def records(self, form: Form, chain: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Record]]:
        """Yield the records of pieces, in order, each with its index in the list. Raises OutputError if they are another job's."""
        names = [self.piece_name(*piece) for piece in chain]
        for name, (first, _), path in zip(names, chain, self.folder.copies(names), strict=True):
            for index, record in enumerate(form.read(path), first):
                if self.fingerprint is not None and record.get("fingerprint") != self.fingerprint:
                    reason = "{subject} holds results of other settings: another job writes to this output"
                    raise OutputError.about(f"{self.folder.location}/{name}", reason)
                yield index, record

    def remove(self, pieces: Iterable[tuple[int, int]]) -> None:
        """Remove pieces; missing ones are not an error."""
        self.folder.remove_all(self.piece_name(*piece) for piece in pieces)


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

    def left(self, plan: ClusterPlan) -> list[range]:
        """Return what is left to do of each task, as ranges of the list."""
        return ranges_left(plan, self.shards, self.pieces, self.again)

    def done(self, plan: ClusterPlan) -> int:
        """Return how many files are finished."""
        return plan.files - sum(map(len, self.left(plan)))


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
        self.names: Sequence[str] = []
        # Sources that have changed since an earlier run began, once `begin` has looked.
        self.changes: Changes | None = None
        self._header: dict[str, Any] = {}
        self._fingerprint: str | None = None
        self._lock: Lock | None = None
        self._ownership = Ownership(self.folder, self.shown)

    def __enter__(self) -> Output:
        self._ownership.check_free(certain=self._resume or self._overwrite)
        self._check()
        self.folder.make()
        if not self.folder.remote:
            self._lock = lock_output(self._root / _LOCK, self.shown)
        try:
            self._ownership.acquire()
            self._check()  # again: another run may have come and gone
        except BaseException:
            self._leave()
            raise
        return self

    def _check(self) -> None:
        """Raise OutputError if the output can't be written, or is there and may neither be replaced nor continued."""
        if self._file is not None and filesystem.is_folder(self._file):
            raise OutputError.about(self._file, "{subject} is a folder: end it in / for a folder of shards")
        names = set(self.folder.names()) - {_LOCK}
        ours = CLUSTER_HEADER in names
        if (names - {_LIST} and not ours) or (self._file is not None and self._holds_foreign()):
            raise OutputError.about(self.folder.location, "{subject} holds other files: give a new folder")
        existing = ours or (self._file is not None and filesystem.is_there(self._file))
        if existing and not self._resume and not self._overwrite:
            raise OutputError.about(
                self.shown,
                "{subject} is there already",
                remedy=Wording("{@overwrite:True} replaces it, {@resume:True} completes it"),
            )

    def __exit__(self, *exc: object) -> None:
        nothing_done = False
        try:
            with contextlib.suppress(OSError, OutputError):
                names = set(self.folder.names())
                nothing_done = names <= {CLUSTER_HEADER, _LIST, _LOCK, METRICS} and not self.folder.names(PARTIAL)
                if nothing_done and CLUSTER_HEADER in names:
                    self._ownership.check(now=True)
                    self.folder.remove(_LIST)
                    self.folder.remove(METRICS)
                    self.folder.remove(CLUSTER_HEADER)
        finally:
            self._leave()
        if nothing_done and not self.folder.remote:
            with contextlib.suppress(OSError):
                self._root.rmdir()

    def _leave(self) -> None:
        self._ownership.release()
        if self._lock is not None:
            self._lock.release(remove=True)
        self._lock = None

    def check_owned(self, *, now: bool = False) -> None:
        """Raise OutputError if another run has taken the output over. now: look, instead of trusting the last look."""
        self._ownership.check(now=now)

    @property
    def _root(self) -> Path:
        return Path(self.folder.location)

    @property
    def is_folder(self) -> bool:
        """Whether the shards stay, in a folder, instead of becoming a single file."""
        return self._file is None

    @property
    def place(self) -> WorkPlace:
        """Where workers write pieces and shards, once the job has begun."""
        return WorkPlace(self.folder, self._header.get("run", ""), self._fingerprint)

    def _holds_foreign(self) -> bool:
        """Return whether the job's folder, which is removed in the end, contains anything that no job made."""
        place = Path(self.folder.location)
        if not os.path.lexists(place):
            return False
        if not filesystem.is_folder(place):
            return True
        known = re.compile(rf"\.?({_OWN.pattern}|{_LOCK})(\.[0-9a-f]{{8,}}\.part)?")
        return any(
            not known.fullmatch(entry.name)
            if entry.is_file(follow_symlinks=False)
            else entry.name not in (PARTIAL, OWNERS)
            for entry in os.scandir(place)
        )

    def begin(
        self,
        settings: Settings,
        names: Sequence[str],
        plan: ClusterPlan,
        *,
        shard: str | None,
        form: Form | None = None,
    ) -> tuple[ClusterPlan, Past]:
        """Start, or resume an earlier run, whose plan is then returned, because pieces follow it.

        names: of the files, kept as they are, since there may be millions; form: how to read records, to find failures to
        retry. Afterwards `names` are the files in the order of the plan:
        those of the earlier run, then those that it didn't have. Raises OutputError if an earlier run had other settings, or
        another list that was split by `--shard`.
        """
        self.names = names
        self._fingerprint = settings.fingerprint
        if self._file is not None:
            check_not_read([self._file], self.names)
        form = form or Form()
        if self._resume and CLUSTER_HEADER in self.folder.names():
            plan = self._compare(settings, plan, shard, form)
            return plan, self._past(plan, form)
        reopened = self._resume and self._file is not None and filesystem.is_there(self._file)
        before = self._names_in_file(form) if reopened else Paths(())
        if reopened and not self._retry and len(_joined(before, names)) == len(before):
            words = earlier_failures(self._recorded(form))
            reason = "{subject} is complete; {words}" if words else "{subject} is complete"
            remedy = Wording("{@overwrite:True} makes it again")
            raise OutputError.about(self.shown, reason, words=words, remedy=remedy, joined=", " if words else ": ")
        if reopened:
            self._check_complete(settings, self.names if shard is not None else before, shard, form)
            self.names = _joined(before, self.names)
            plan = replace(plan, files=len(self.names))
        self.folder.remove_own(_OWN)
        self.folder.remove_own(_PIECE, PARTIAL)
        self._header = {
            "layout_version": LAYOUT_VERSION,
            "run": secrets.token_hex(4),
            "list": _digest(self.names),
            "shard": shard,
            "plan": plan.as_dict(),
            "settings": settings.as_dict(),
        }
        if reopened:
            self._header |= {"reopened": True, "growing": len(before)}
        self._write_list()
        self._write_header()
        if reopened:
            self._restore(plan, form)
            self._regroup(plan, form)
            return plan, self._past(plan, form)
        return plan, Past()

    def _names_in_file(self, form: Form) -> Paths:
        assert self._file is not None
        return Paths.kept(path_of(record) for record in form.read(self._file, self._format, vectors=False))

    def _write_list(self) -> None:
        look, before = looker(self.names), self._known_stamps()

        def columns(some: Sequence[str]) -> dict[str, Any]:
            known = list(islice(before, len(some)))
            return stamp_columns([*known, *look(some[len(known) :])])

        with self.folder.writing(_LIST) as sink:
            write_names(sink, self.names, columns)

    def _known_stamps(self) -> Iterator[ObjectStamp | None]:
        """Yield what is known of the files of an earlier run, if the list has grown."""
        files = self._header.get("plan", {}).get("files", 0)
        if _LIST in self.folder.names():
            with self.folder.opened(_LIST) as stream, contextlib.suppress(ValueError):
                for _, stamps in known_stamps(stream, files):
                    yield from stamps

    def _changes(self, files: int) -> Changes | None:
        if _LIST not in self.folder.names():
            return None
        with self.folder.opened(_LIST) as stream, contextlib.suppress(ValueError):  # one that is damaged tells nothing
            return changes(stream, files, looker(self.names))
        return None

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
                    self.shown, "{subject} is complete, but for another list of files", remedy=STARTS_AGAIN
                )
            same = record.get("fingerprint") == settings.fingerprint and record.get("shard") == shard
            if not same and not _is_asked(record, self._retry):
                differing = "; ".join(settings.differences_from_output(self._file, record, shard))
                reason = "{subject} was made with other settings ({differing})"
                raise OutputError.about(self.shown, reason, differing=differing, remedy=STARTS_AGAIN)
            count += 1
        if count < len(names):
            raise OutputError.about(
                self.shown, "{subject} is complete, but for a shorter list of files", remedy=STARTS_AGAIN
            )

    def _restore(self, grown: ClusterPlan, form: Form) -> None:
        """Split the complete file into shards again, and those as the list has grown; it stays until the new one is complete."""
        if self._file is None or not self._header.get("reopened") or not filesystem.is_there(self._file):
            return
        if self._header.get("restored"):
            return
        plan = replace(grown, files=self._header.get("growing", grown.files))
        existing = set(self.folder.names())
        records = form.read(self._file, self._format)
        for number in range(plan.shards):
            own = islice(records, len(plan.shard_files(number)))
            if plan.shard_name(number) in existing:
                deque(own, maxlen=0)
                continue
            with self.folder.writing(plan.shard_name(number)) as sink:
                _write(form.writer("parquet", sink), own)
        self._header["restored"] = True
        self._write_header()

    def failures(self, form: Form) -> Counter[str]:
        """Count by kind the recorded failures that would be retried; changes nothing."""
        recorded = self._recorded(form)
        return Counter({kind: count for kind, count in recorded.items() if _is_asked_kind(kind, self._retry)})

    def _recorded(self, form: Form) -> Counter[str]:
        existing: Counter[str] = Counter()
        names = self.folder.names()
        shards = [name for name in names if PART.fullmatch(name)] if CLUSTER_HEADER in names else []
        for name in shards:
            with self.folder.opened(name) as stream:
                existing += count_rows(stream).failed
        if not shards and self._file is not None and filesystem.is_there(self._file):
            records = form.read(self._file, self._format, vectors=False)
            existing.update(record["error"]["kind"] for record in records if record["error"])
        return existing

    @property
    def kept(self) -> str:
        """The place where an interrupted job keeps its results."""
        return self.folder.location

    def finish(self, form: Form, plan: ClusterPlan) -> None:
        """Remove intermediate files; if a single file was requested, join the shards into it."""
        self.check_owned(now=True)
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
        names = map(plan.shard_name, range(plan.shards))
        with whole_file(self._file) as sink:
            _write(form.writer(self._format, sink, rows=rows), _read_all(self.folder, form, names))
        self._header.pop("restored", None)
        self._header["reopened"] = True  # if this process is killed from here on, a resumed run finds the complete file
        self._write_header()
        self.folder.remove_own(PART)
        self.folder.remove(_LIST)
        # remove the header last, since a folder without one counts as the user's own
        self.folder.remove(CLUSTER_HEADER)

    def begun(self) -> Begun | None:
        """Return how the run began that this one resumes, as far as its files say; None if there is none. Call before `begin`."""
        with contextlib.suppress(OSError, OutputError, ValueError, KeyError, TypeError):
            if self._resume and CLUSTER_HEADER in self.folder.names():
                settings = json.loads(self.folder.read(CLUSTER_HEADER))["settings"]
                return Begun(engine_of(settings)) if isinstance(settings, dict) else None
        return None

    def _compare(self, settings: Settings, plan: ClusterPlan, shard: str | None, form: Form) -> ClusterPlan:
        try:
            earlier = json.loads(self.folder.read(CLUSTER_HEADER))
            stored = ClusterPlan.from_dict(earlier["plan"])
            same_list = earlier["list"] == _digest(self.names)
            self._header = dict(earlier)
            if not isinstance(earlier["settings"], dict):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise OutputError.about(
                self.folder.location, f"{{subject}}/{CLUSTER_HEADER} is damaged", remedy=STARTS_AGAIN
            ) from None
        settings.check_same(self.folder.location, earlier, shard)
        self._restore(stored, form)
        self._regroup(stored, form)
        self.changes = self._changes(stored.files)
        if not same_list and shard is None and (before := self._earlier_names(stored, form)) is not None:
            return self._grow(before, stored, form)
        if not same_list:
            reason = "{subject} is of another list of files ({stored} files then, {now} now)"
            raise OutputError.about(
                self.folder.location, reason, stored=stored.files, now=plan.files, remedy=STARTS_AGAIN
            )
        return stored

    def _earlier_names(self, plan: ClusterPlan, form: Form) -> Paths | None:
        """Return the names of an earlier run's files; None if they are not known."""
        names = Paths(())
        if _LIST in self.folder.names():
            with (
                self.folder.opened(_LIST) as stream,
                contextlib.suppress(OptionError),
            ):  # one that is damaged tells nothing
                names = Paths.kept(islice(manifest_names(stream), plan.files))
        elif self._header.get("reopened") and self._file is not None and filesystem.is_there(self._file):
            names = self._names_in_file(form)
        else:
            return None
        return names if _digest(names) == self._header["list"] else None

    def _grow(self, before: Sequence[str], plan: ClusterPlan, form: Form) -> ClusterPlan:
        """Continue a job with another list: files that are new come after those of the earlier one."""
        self.names = _joined(before, self.names)
        if len(self.names) == len(before):
            return plan
        grown = replace(plan, files=len(self.names))
        self._write_list()  # before the header, which says how many of these names count
        self._header |= {"list": _digest(self.names), "plan": grown.as_dict(), "growing": plan.files}
        self._write_header()
        self._regroup(grown, form)
        return grown

    def _regroup(self, plan: ClusterPlan, form: Form) -> None:
        """Name shards as the grown list demands; what isn't a whole shard any more becomes pieces. May be repeated."""
        if "growing" not in self._header:
            return
        before, existing = replace(plan, files=self._header["growing"]), set(self.folder.names())
        pieces = self._pieces()
        for number in range(before.shards):
            name, files = before.shard_name(number), before.shard_files(number)
            if name not in existing:
                continue
            if files != plan.shard_files(number):
                self._split(name, files, plan, form, pieces)
                self.folder.remove(name)
            elif name != plan.shard_name(number):
                self.folder.rename(name, plan.shard_name(number))
        del self._header["growing"]
        self._write_header()

    def _split(self, name: str, files: range, plan: ClusterPlan, form: Form, pieces: Pieces) -> None:
        """Write the records of a shard as pieces. Failures that an earlier run was asked to do again are replaced by what it did,
        and left out where it didn't get to them, so that they are done now."""
        kinds = frozenset(self._header.get("again") or ())
        with self.folder.local(name) as path:
            places = enumerate(form.read(path, vectors=False), files.start) if kinds else ()
            asked = {place for place, record in places if _is_asked(record, kinds)}
            records = enumerate(form.read(path), files.start)
            for start in range(files.start, files.stop, plan.task):
                task = range(start, min(start + plan.task, files.stop))
                chain = pieces.apart(task) if asked.intersection(task) else []
                left = asked.difference(*(range(first, stop) for first, stop in chain))
                settled = _renewed(islice(records, len(task)), self.place.records(form, chain), kinds)
                for undone, run in groupby(task, left.__contains__):
                    stretch = list(run)
                    own = islice(settled, len(stretch))
                    if undone:
                        deque(own, maxlen=0)
                        continue
                    with self.folder.writing(self.place.piece_name(stretch[0], stretch[-1] + 1)) as sink:
                        _write(form.writer("parquet", sink), own)

    def _pieces(self) -> Pieces:
        found = map(self.place.piece_of, self.folder.names(PARTIAL))
        return Pieces(piece for piece in found if piece is not None)

    def _past(self, plan: ClusterPlan, form: Form) -> Past:
        past = Past(kinds=self._retry | frozenset(self._header.get("again") or ()))
        existing = set(self.folder.names())
        for number in range(plan.shards):
            name = plan.shard_name(number)
            if name in existing:
                with self.folder.opened(name) as stream:
                    past.shards[number] = count_rows(stream).failed
        past.pieces = self._pieces()
        if past.kinds:
            self._find_failures(past, plan, form)
        return past

    def _find_failures(self, past: Past, plan: ClusterPlan, form: Form) -> None:
        """Find the failures to retry: note shards with some in `past.again`, and remove the pieces of tasks with some."""
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
                with self.folder.opened(self.place.piece_name(first, stop)) as stream:
                    failed = count_rows(stream).failed
                if any(_is_asked_kind(kind, self._retry) for kind in failed):
                    self.place.remove(past.pieces.within(plan.task_files(task)))
                    past.pieces.forget(plan.task_files(task))
                    break
        if past.again:
            self._header["again"] = sorted(past.kinds)
            self._write_header()


def open_output(
    output: str,
    *,
    vectors: bool,
    timelines: bool = False,
    format: str | None,
    wide: bool = False,
    resume: bool,
    overwrite: bool,
    retry: frozenset[str] = frozenset(),
) -> Output:
    """Make the Output for the option `--output`: a folder of shards (DIR/, an address, an existing folder), or a single file.

    vectors, timelines: whether records hold those; retry: the kinds of failures to retry, "all" for any. Raises OptionError if
    format and name don't match.
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
    if vectors:
        chosen = pick_vector_format(format, file)
    else:
        chosen = widened(pick_table_format(format, file) if timelines else pick_format(format, file), wide)
    location = os.path.abspath(partial_folder(file))  # noqa: PTH100
    return Output(location, file=file, format=chosen, resume=resume, overwrite=overwrite, retry=retry)


def write_shard(place: WorkPlace, form: Form, name: str, chain: Sequence[tuple[int, int]]) -> Counter[str]:
    """Write a shard from its pieces, then remove them; can run on any worker. Returns the number of failed files by kind."""
    folder = place.folder
    place.check_seen()
    if folder.exists(name):
        # The worker that wrote it died before it could report; some of the pieces may be gone.
        with folder.opened(name) as stream:
            failed = count_rows(stream).failed
        place.remove(chain)
        return failed
    with folder.writing(name) as sink:
        made = (record for _, record in place.records(form, chain))
        failed = _write(form.writer("parquet", sink), made)
    place.remove(chain)
    return failed


def renew_shard(
    place: WorkPlace, form: Form, name: str, first: int, chain: Sequence[tuple[int, int]], kinds: frozenset[str]
) -> Counter[str]:
    """Rewrite a shard, replacing its failures of these kinds by the records of pieces; other records are unchanged.

    Can run on any worker, and be repeated if one dies, since the pieces are kept. first: index in the list of the
    shard's first file. Returns the number of failed files by kind.
    """
    with place.folder.local(name) as before, place.folder.writing(name) as sink:
        renewed = _renewed(enumerate(form.read(before), first), place.records(form, chain), kinds)
        return _write(form.writer("parquet", sink), renewed)


def _renewed(
    before: Iterable[tuple[int, Record]], made: Iterator[tuple[int, Record]], kinds: frozenset[str]
) -> Iterator[Record]:
    """Yield records with their failures of these kinds replaced by what was `made` since; both in order, each with its index."""
    at, new = next(made, (-1, None))
    for index, record in before:
        while new is not None and at < index:
            at, new = next(made, (-1, None))
        yield new if new is not None and at == index and _is_asked(record, kinds) else record


def _read_all(folder: Folder, form: Form, names: Iterable[str]) -> Iterator[Record]:
    """Yield the records of several files of the folder, in order."""
    for name in names:
        with folder.local(name) as path:
            yield from form.read(path)


def _write(writer: Writer, records: Iterable[Record]) -> Counter[str]:
    """Write records, and finish. Returns the number of failed files by kind."""
    failed: Counter[str] = Counter()
    for record in records:
        writer.write(record)
        if record["error"]:
            failed[record["error"]["kind"]] += 1
    writer.finish()
    return failed


def _is_asked_kind(kind: str, kinds: frozenset[str]) -> bool:
    return kind in kinds or "all" in kinds


def _is_asked(record: Record, kinds: frozenset[str]) -> bool:
    error = record.get("error")
    return error is not None and _is_asked_kind(error["kind"], kinds)


def _joined(before: Sequence[str], names: Sequence[str]) -> Paths:
    """Return the names of before, then those of `names` that are not among them."""
    return Paths.kept(chained(before, names))


def _digest(names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
    return digest.hexdigest()

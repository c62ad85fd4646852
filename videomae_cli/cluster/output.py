"""What a job on a cluster writes: pieces as they come, numbered Parquet shards, and one file in the end where one was asked for.

    OUT/_job.json                                settings, list and plan, written before the first piece
    OUT/_partial/0000000000-0000000013.parquet   the records of files 0 to 12 of the list
    OUT/part-00000-of-00007.parquet              a shard, made of pieces that are then removed
    OUT/_partial, gone                           the job is complete

Where OUT is to be one file, all that is in `OUT.partial/` until the shards are joined. Names that begin with _ are passed
over by whatever reads a folder of Parquet. Every machine writes here: it is a folder they share, or an object store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from videomae_cli import filesystem
from videomae_cli.cluster.plan import Pieces, Plan
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.filenames import partial_folder
from videomae_cli.files import FileLockedError, Lock, lock_removed, whole_file
from videomae_cli.jobs import CLUSTER_HEADER, Settings
from videomae_cli.results import Record
from videomae_cli.storage import is_address
from videomae_cli.writers import (
    Folder,
    VectorLayout,
    Writer,
    make_vector_writer,
    make_writer,
    pick_format,
    pick_vector_format,
    read_records,
    read_vector_records,
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
    """How records are written and read: with labels, or with vectors as `layout` says."""

    layout: VectorLayout | None = None

    def writer(self, format: str, sink: BinaryIO, *, rows: int = 0) -> Writer:
        """rows: how many vectors will come, where the format must know."""
        if self.layout is not None:
            return make_vector_writer(format, sink, self.layout, rows=rows)
        return make_writer(format, sink)

    def read(self, file: Path) -> Iterator[Record]:
        """Of a Parquet file."""
        return read_vector_records(file) if self.layout is not None else read_records(file, "parquet")


@dataclass
class Past:
    """What there is of a job. shards: those that are whole, with the files in them that failed, by kind."""

    shards: dict[int, Counter[str]] = field(default_factory=dict)
    pieces: Pieces = field(default_factory=Pieces)

    def done(self, plan: Plan) -> int:
        """Files that need not be done again."""
        whole = sum(len(plan.shard_files(number)) for number in self.shards)
        for number in range(plan.tasks):
            files = plan.task_files(number)
            if plan.shard_of(files.start) not in self.shards and self.pieces.chain(files) is not None:
                whole += len(files)
        return whole


class Output:
    """The place for one job, to be entered: `begin`, then shards by `write_shard` (anywhere), then `finish`.

    Raises OutputError where something is there already, where another process writes, and where nothing can be written.
    """

    def __init__(self, location: str, *, file: Path | None, format: str, resume: bool, overwrite: bool) -> None:
        if resume and overwrite:
            raise OptionError("--resume and --overwrite say opposite things: give one of them")
        self.shown = str(file) if file is not None else location
        self.folder = Folder(location)
        self._file, self._format, self._resume, self._overwrite = file, format, resume, overwrite
        self._lock: Lock | None = None

    def __enter__(self) -> Output:
        if self._file is not None and filesystem.is_folder(self._file):
            raise OutputError(f"{self._file} is a folder: end it in / for a folder of shards")
        names = self.folder.names()
        ours = CLUSTER_HEADER in names
        if (names and not ours) or (self._file is not None and self._holds_foreign()):
            raise OutputError(f"{self.folder.location} holds other files: give a new folder")
        there = ours or (self._file is not None and filesystem.is_there(self._file))
        if there and not self._resume and not self._overwrite:
            raise OutputError(f"{self.shown} is there already: --overwrite replaces it, --resume completes it")
        self.folder.make()
        if not self.folder.remote:
            try:
                self._lock = lock_removed(Path(self.folder.location) / _LOCK)
            except FileLockedError:
                raise OutputError(f"another process is writing {self.shown}: wait for it or stop it first") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is None:
            return
        place = Path(self.folder.location)
        begun_in_vain = False
        with contextlib.suppress(OSError, OutputError):
            begun_in_vain = set(self.folder.names()) <= {CLUSTER_HEADER, _LOCK} and not self.folder.names(PARTIAL)
            if begun_in_vain:
                self.folder.remove(CLUSTER_HEADER)
        self._lock.release(remove=True)
        self._lock = None
        if begun_in_vain:
            with contextlib.suppress(OSError):
                place.rmdir()

    def _holds_foreign(self) -> bool:
        """Whether the folder of a job, which goes when its file is complete, holds anything that no job made."""
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

    def begin(self, settings: Settings, names: Iterable[str], plan: Plan, *, shard: str | None) -> tuple[Plan, Past]:
        """Start, or find out what is there. The plan is then that of the earlier run: it decides where pieces begin.

        Raises OutputError where an earlier run had other settings or another list of files.
        """
        digest = _digest(names)
        if self._resume and CLUSTER_HEADER in self.folder.names():
            plan = self._compare(settings, digest, plan, shard)
            return plan, self._past(plan)
        if self._resume and self._file is not None and filesystem.is_there(self._file):
            raise OutputError(f"{self.shown} is complete: --overwrite makes it again")
        self.folder.remove_own(_OWN)
        self.folder.remove_own(_PIECE, PARTIAL)
        header = {
            "layout_version": LAYOUT_VERSION,
            "list": digest,
            "shard": shard,
            "plan": plan.as_dict(),
            "settings": settings.as_dict(),
        }
        with self.folder.writing(CLUSTER_HEADER) as sink:
            sink.write(json.dumps(header, indent=2).encode())
        return plan, Past()

    def clear(self, plan: Plan, tasks: Sequence[int], pieces: Pieces) -> None:
        """Remove pieces of tasks that are done anew."""
        for number in tasks:
            files = plan.task_files(number)
            for first, stop in pieces.within(files):
                self.folder.remove(piece_name(first, stop))
            pieces.forget(files)

    @property
    def kept(self) -> str:
        """Where an interrupted job keeps what it has."""
        return self.folder.location

    def finish(self, form: Form, plan: Plan) -> None:
        """Remove what was only needed on the way; where one file was asked for, make it of the shards."""
        self.folder.remove_own(_PIECE, PARTIAL)
        self.folder.remove_own(_OWN, whole=False)  # of workers that were killed
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
        self.folder.remove_own(_SHARD)
        self.folder.remove(CLUSTER_HEADER)  # last: a folder without it is taken for somebody else's

    def _compare(self, settings: Settings, digest: str, plan: Plan, shard: str | None) -> Plan:
        try:
            earlier = json.loads(self.folder.read(CLUSTER_HEADER))
            before, stored = dict(earlier["settings"]), Plan.from_dict(earlier["plan"])
            same_list = earlier["list"] == digest
        except (ValueError, KeyError, TypeError):
            raise OutputError(f"{self.folder.location}/{CLUSTER_HEADER} is damaged: --overwrite starts again") from None
        differing = settings.differences(before)
        if earlier.get("shard") != shard:
            differing.append(f"shard was {earlier.get('shard')}, now {shard}")
        if differing:
            raise OutputError(
                f"can't go on: {self.folder.location} holds results with other settings ({'; '.join(differing)}); "
                "use those, or --overwrite to start again"
            )
        if not same_list:
            raise OutputError(
                f"{self.folder.location} is of another list of files ({stored.files} files then, {plan.files} now): "
                "--overwrite starts again"
            )
        return stored

    def _past(self, plan: Plan) -> Past:
        past = Past()
        there = set(self.folder.names())
        for number in range(plan.shards):
            name = plan.shard_name(number)
            if name in there:
                with self.folder.opened(name) as stream:
                    past.shards[number] = count_rows(stream).failed
        for name in self.folder.names(PARTIAL):
            first, _, stop = name.removesuffix(".parquet").partition("-")
            if name.endswith(".parquet") and first.isdigit() and stop.isdigit():
                past.pieces.add(int(first), int(stop))
        return past


def open_output(output: str, *, vectors: bool, format: str | None, resume: bool, overwrite: bool) -> Output:
    """Where `--output` says: a folder of shards (DIR/, an address, a folder that is there), or one file in the end.

    Raises OptionError where format and name don't go together.
    """
    remote = is_address(output)
    if remote or output.endswith(("/", os.sep)) or filesystem.is_folder(Path(output)):
        if format not in (None, "parquet"):
            raise OptionError(f"a folder holds shards in Parquet: leave out --format {format}, or name a file")
        location = output.rstrip("/") if remote else os.path.abspath(output)  # noqa: PTH100 - links stay as named
        return Output(location, file=None, format="parquet", resume=resume, overwrite=overwrite)
    file = Path(output)
    chosen = pick_vector_format(format, file) if vectors else pick_format(format, file)
    location = os.path.abspath(partial_folder(file))  # noqa: PTH100
    return Output(location, file=file, format=chosen, resume=resume, overwrite=overwrite)


def piece_name(first: int, stop: int) -> str:
    """The file that holds the records of places first, first + 1, ..., stop - 1 of the list."""
    return f"{PARTIAL}/{first:010}-{stop:010}.parquet"


def write_shard(folder: Folder, form: Form, name: str, chain: Sequence[tuple[int, int]]) -> Counter[str]:
    """Make a shard of its pieces, and remove them. For a worker, any of them. Returns the files that failed, by kind."""
    if folder.exists(name):
        # Whoever made it died before it could say so; some of the pieces may be gone.
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


def _remove(folder: Folder, chain: Sequence[tuple[int, int]]) -> None:
    for first, stop in chain:
        folder.remove(piece_name(first, stop))


def _digest(names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
    return digest.hexdigest()

"""One output and what is kept beside it until it is complete."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from videomae_cli.errors import OptionError, OutputError
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

LAYOUT_VERSION = 1
# Of a job on a cluster (`cluster.output`), which keeps other things in a folder of the same name.
CLUSTER_HEADER = "_job.json"


@dataclass
class Tally:
    """How many files a job has behind it, with how many views and vectors, and how many failed, by kind."""

    done: int = 0
    views: int = 0
    rows: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def count(self, record: Record) -> None:
        """Add one record."""
        self.done += 1
        self.views += len(record.get("frames") or ()) * (record.get("crops") or 1)
        self.rows += len(record.get("rows") or ())
        if record["error"]:
            self.failed[record["error"]["kind"]] += 1


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
        self.folder = self._target.with_name(self._target.name + ".partial")
        self._resume, self._overwrite = resume, overwrite
        self._header = self.folder / "job.json"
        self._layout: VectorLayout | None = None
        self._journal = Journal(self.folder / "records.jsonl")
        self.tally = Tally()
        self.complete = False
        self._fresh = False
        self._lock: FileLock | None = None

    def __enter__(self) -> Job:
        with self._reported():
            if self._target.is_dir():
                raise OutputError(f"{self.output} is a folder: give a file name to write to")
            if not self._resume and not self._overwrite:
                self._refuse_to_lose()
            if (self.folder / CLUSTER_HEADER).exists():
                raise OutputError(
                    f"{self.folder} keeps results of a run with --cluster: go on with that, or remove the folder"
                )
            self.folder.mkdir(exist_ok=True)
            self._lock = FileLock(self.folder / "lock", timeout=0)
            try:
                self._lock.acquire()
            except Timeout:
                self._lock = None
                raise OutputError(f"another process is writing {self.output}: wait for it or stop it first") from None
        return self

    def _refuse_to_lose(self) -> None:
        if self._target.exists():
            raise OutputError(f"{self.output} is there already: --overwrite replaces it, --resume completes it")
        if self._header.exists():
            raise OutputError(
                f"{self.folder} keeps results of an earlier run: --resume goes on from them, --overwrite starts again"
            )

    def begin(
        self,
        settings: Settings,
        names: Sequence[str],
        *,
        shard: str | None = None,
        vectors: VectorLayout | None = None,
    ) -> Tally:
        """Start, or find out what an earlier run has done: names[:tally.done] need not be done again.

        vectors: of the records, where they have some.

        Raises OutputError where that run had other settings or another list of files.
        """
        self._layout = vectors
        self._journal = Journal(self.folder / "records.jsonl", vectors)
        header = {"layout_version": LAYOUT_VERSION, "shard": shard, "settings": settings.as_dict()}
        with self._reported():
            if self._resume and self._header.exists():
                self._compare(header, settings)
                for record in self._journal.recover(names):
                    self.tally.count(record)
            elif self._resume and self._target.exists():
                self._check_complete(settings, names, shard)
            else:
                self._fresh = True
                self._clear()
                self._write_header(header)
        return self.tally

    def records(self) -> Iterator[Record]:
        """Those of earlier runs, once it has begun."""
        return read_records(self._target, self.format) if self.complete else self._journal.records()

    def append(self, record: Record) -> None:
        """Keep one more record, of the file that comes next in the list."""
        with self._reported():
            self._journal.append(record)
        self.tally.count(record)

    def finish(self) -> None:
        """Write the output, whole, and remove what was kept."""
        if self.complete:
            return
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
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            started_in_vain = self.tally.done == 0 and (self._fresh or not self._header.exists())
            if self.complete or started_in_vain:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _writer(self, sink: BinaryIO) -> Writer:
        if self._layout is not None:
            return make_vector_writer(self.format, sink, self._layout, rows=self.tally.rows)
        return make_writer(self.format, sink)

    def _compare(self, header: dict[str, Any], settings: Settings) -> None:
        try:
            earlier = json.loads(self._header.read_bytes())
            before = dict(earlier["settings"])
        except (ValueError, KeyError, TypeError):
            raise OutputError(f"{self._header} is damaged: --overwrite starts again") from None
        differing = settings.differences(before)
        if earlier.get("shard") != header["shard"]:
            differing.append(f"shard was {earlier.get('shard')}, now {header['shard']}")
        if differing:
            raise OutputError(
                f"can't go on: {self.folder} holds results with other settings ({'; '.join(differing)}); "
                "use those, or --overwrite to start again"
            )

    def _check_complete(self, settings: Settings, names: Sequence[str], shard: str | None) -> None:
        place = 0
        stored = read_records(self._target, self.format)
        if self._layout is not None:
            stored = read_vector_records(self._target, vectors=False)
        for record in stored:
            if place >= len(names) or path_of(record) != names[place]:
                raise OutputError(f"{self.output} is complete, but for another list of files: --overwrite starts again")
            if record["fingerprint"] != settings.fingerprint or record["shard"] != shard:
                differing = "; ".join(settings.differences_from_record(record, shard))
                raise OutputError(f"{self.output} was made with other settings ({differing}): --overwrite starts again")
            self.tally.count(record)
            place += 1
        if place < len(names):
            raise OutputError(f"{self.output} is complete, but for a shorter list of files: --overwrite starts again")
        self.complete = True

    def _clear(self) -> None:
        for entry in self.folder.iterdir():
            if entry.name != "lock":
                entry.unlink()

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
        if not self.tally.done:
            return ""
        return f"; {self.tally.done} results are kept in {self.folder}, and --resume goes on from them"

"""Targets of a batch's results: a resumable job's file or folder, or a stream to which records are written immediately."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from videomae_cli import filesystem
from videomae_cli.cli.outputs.replaced import Replaced
from videomae_cli.cli.outputs.reporting import SIDECAR
from videomae_cli.cli.outputs.single_output import standard_output
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.filenames import names_below, partial_folder
from videomae_cli.files import is_special, whole_file
from videomae_cli.jobs import Job, JobTally, Settings
from videomae_cli.results import Record, as_utf8, file_fields, file_of, path_of
from videomae_cli.writers import VectorLayout, Writer, make_writer, pick_vector_format

if TYPE_CHECKING:
    from rich.console import Console

    from videomae_cli.report import ReportWriter

# The index of a folder: which file belongs to which video.
INDEX = "index.jsonl"


class Target(ABC):
    """Takes the records of a batch while it is open: `begin`, `append` for each file in order, `finish`.

    The defaults are those of a target that keeps nothing between runs. resumable: whether a later run can continue the
    output; console: the console that results are drawn on, None if they aren't;
    output: the file or folder that is there in the end, None if there is none.
    """

    resumable = False
    console: Console | None = None
    output: Path | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the target open during the block. Raises OutputError if it can't be written."""
        yield

    def begin(
        self,
        settings: Settings,
        names: Sequence[str],
        *,
        shard: str | None = None,
        vectors: VectorLayout | None = None,
    ) -> JobTally:
        """Start or resume, and return what an earlier run has done. vectors: the layout of the records' vectors, if any."""
        return JobTally()

    @abstractmethod
    def append(self, record: Record, seconds: float | None = None) -> None:
        """Add one record to the output."""

    def finish(self) -> None:  # noqa: B027  most targets write at once
        """Complete the output after the last record."""

    @property
    def done(self) -> int:
        """The number of files with stored results, of this and of earlier runs."""
        return 0

    @property
    def kept(self) -> str | None:
        """The folder in which an interrupted job keeps its results; None if it has none."""
        return None

    def check_kept(self) -> None:  # noqa: B027  a stream keeps nothing
        """Raise OutputError if the folder with the results so far was removed or renamed."""

    def failures(self) -> Counter[str]:
        """Count by kind the failures of an earlier run that will be retried; call before `begin`."""
        return Counter()

    def begin_report(self, report: ReportWriter) -> ReportWriter | None:
        """Return the report, filled with the records of earlier runs; None if it is already complete."""
        return report

    def retell(self, report: ReportWriter) -> None:
        """Fill the report again with all records in list order, after some have been replaced."""
        raise AssertionError("only jobs do files again")


class FileTarget(Target):
    """A target whose output appears only when complete, and which can be resumed after any interruption."""

    resumable = True

    def __init__(self, job: Job, retry: Container[Record] = ()) -> None:
        self._job, self._retry = job, retry
        self.output = job.output

    @contextmanager
    def opened(self) -> Iterator[None]:
        with self._job:
            yield

    def begin(
        self,
        settings: Settings,
        names: Sequence[str],
        *,
        shard: str | None = None,
        vectors: VectorLayout | None = None,
    ) -> JobTally:
        return self._job.begin(settings, names, shard=shard, vectors=vectors, counts=self._counts)

    def append(self, record: Record, seconds: float | None = None) -> None:
        self._job.append(record)

    def finish(self) -> None:
        self._job.finish()

    @property
    def done(self) -> int:
        return self._job.tally.done

    @property
    def kept(self) -> str | None:
        job = self._job
        return str(job.folder) if job.tally.done and not job.complete and job.is_kept else None

    def check_kept(self) -> None:
        self._job.check_kept(at_once=True)

    def failures(self) -> Counter[str]:
        return self._job.failures(self._retry)

    def _counts(self, record: Record) -> bool:
        """Whether the record of an earlier run still counts, so that its file is not done again."""
        return record not in self._retry

    def begin_report(self, report: ReportWriter) -> ReportWriter | None:
        if self._job.complete and filesystem.is_there(report.output):
            report.drop()
            return None
        if self._job.tally.unknown_settings:
            raise OutputError.about(
                self._job.output,
                "{subject} has only a few columns, which no report can be made of: give --overwrite, or a new "
                "output with --wide",
            )
        report.begin(self._job.folder / SIDECAR, self._job.records())
        return report

    def retell(self, report: ReportWriter) -> None:
        sidecar = self._job.folder / SIDECAR
        with contextlib.suppress(OSError):
            sidecar.unlink()
        report.begin(sidecar, self._job.records())


class FolderTarget(FileTarget):
    """Writes one file per video into a folder, and `index.jsonl`, which maps videos to files. Subclasses define the files'
    contents.

    Names follow those of the videos, below the folder that all of them share (`filenames.names_below`). Unrelated files are never
    touched: a file in a result's place is replaced only with `overwrite`, or when this job is resumed. An earlier job's files are
    removed when this one is complete. `resume` makes removed files again.

    ending: the files' suffix; instead: whether it replaces the videos' own suffix, unless names would then clash.
    """

    def __init__(
        self,
        folder: Path,
        ending: str,
        *,
        instead: bool,
        resume: bool,
        overwrite: bool,
        retry: Container[Record] = (),
    ) -> None:
        super().__init__(Job(folder / INDEX, format="jsonl", resume=resume, overwrite=overwrite), retry)
        self.output = folder
        self._folder, self._ending, self._instead, self._overwrite = folder, ending, instead, overwrite
        self._names: dict[str, str] = {}

    @abstractmethod
    def content(self, record: Record) -> bytes | None:
        """Return the contents of a record's own file, or None; fields that belong only in the file are removed from the record."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        made = not filesystem.is_there(self._folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.about(
                self._folder, "can't make the folder {subject}: {reason}", reason=error.strerror
            ) from None
        try:
            with super().opened():
                yield
        finally:
            if made:
                with contextlib.suppress(OSError):
                    self._folder.rmdir()  # nothing was written

    def begin(
        self,
        settings: Settings,
        names: Sequence[str],
        *,
        shard: str | None = None,
        vectors: VectorLayout | None = None,
    ) -> JobTally:
        reserved = (INDEX, partial_folder(Path(INDEX)).name)
        self._names = names_below(self._folder, names, self._ending, instead=self._instead, reserved=reserved)
        if self._overwrite:
            replaced = Replaced(self._job.folder, self._folder, self._ending)
            replaced.keep(file_of(record) for record in self._job.earlier_records())
        tally = self._job.begin(settings, names, shard=shard, counts=self._counts)
        if self._job.fresh and not self._overwrite:
            taken = next((name for name in self._names.values() if filesystem.is_named(self._folder / name)), None)
            if taken is not None:
                raise OutputError.about(
                    self._folder / taken,
                    "{file} is there already: --overwrite replaces it",
                    file=as_utf8(str(self._folder / taken)),
                )
        return tally

    def append(self, record: Record, seconds: float | None = None) -> None:
        self._job.check_kept()
        content = self.content(record)
        name = None
        file = self._folder / self._names[path_of(record)]
        if content is None:
            with contextlib.suppress(OSError):
                file.unlink()  # belongs to the record that this one replaces
        else:
            name = self._names[path_of(record)]
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError.about(
                    file.parent, "can't make the folder {subject}: {reason}", reason=error.strerror
                ) from None
            with whole_file(file, scratch=self._job.folder) as sink:
                sink.write(content)
        self._job.append({**record, **file_fields(name)})

    def finish(self) -> None:
        self._job.finish()
        Replaced(self._job.folder, self._folder, self._ending).remove_but(set(self._names.values()))

    def _counts(self, record: Record) -> bool:
        """Whether the record of an earlier run still counts: its file exists, under the name that it has in this run."""
        if not super()._counts(record):
            return False
        name = file_of(record)
        if name is None:
            return True
        return name == self._names.get(path_of(record)) and filesystem.is_file(self._folder / name)


class ArrayFolderTarget(FolderTarget):
    """Writes one .npy per video: (D,) for a single vector, else (rows, D)."""

    def __init__(self, folder: Path, *, resume: bool, overwrite: bool, retry: Container[Record] = ()) -> None:
        super().__init__(folder, ".npy", instead=False, resume=resume, overwrite=overwrite, retry=retry)

    def content(self, record: Record) -> bytes | None:
        import numpy as np

        vectors = record.pop("vectors")
        if vectors is None:
            return None
        content = io.BytesIO()
        np.save(content, vectors[0] if len(vectors) == 1 else vectors, allow_pickle=False)
        return content.getvalue()


class StreamTarget(Target):
    """Writes records as they come to standard output, a device or a pipe, and keeps nothing.

    listed: the names of all files if a terminal shows a table with one line per file, else none.
    """

    def __init__(self, format: str, output: Path | None, *, listed: Sequence[str] = ()) -> None:
        self._format, self._output, self._listed = format, output, listed
        self._sink: BinaryIO | None = None
        self._writer: Writer | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        stack = contextlib.ExitStack()
        try:
            with self._reported():
                self._open(stack)
            yield
        finally:
            with self._reported():
                stack.close()

    def _open(self, stack: contextlib.ExitStack) -> None:
        if self._output is not None:
            self._sink = stack.enter_context(self._output.open("wb"))
            self._writer = make_writer(self._format, self._sink)
        elif self._format.endswith("table") and console.is_terminal(sys.stdout):
            from videomae_cli.cli.terminal import display

            self.console = display.consoles()[0]
            if self._format == "timeline-table":
                self._writer = display.TerminalTimelineWriter(self.console)
            elif self._listed:
                self._writer = display.TerminalListWriter(self.console, self._listed)
            else:
                self._writer = display.TerminalWriter(self.console)
        else:
            self._sink = standard_output(self._format)
            self._writer = make_writer(self._format, self._sink)
            self._writer.for_people = streams.is_shown(self._sink)
            if self._format.endswith("table"):
                self._writer.encoding = streams.text_encoding(self._sink)

    def append(self, record: Record, seconds: float | None = None) -> None:
        assert self._writer is not None
        with self._reported():
            self._writer.write(record, seconds)
            if self._sink is not None:
                self._sink.flush()

    def finish(self) -> None:
        assert self._writer is not None
        with self._reported():
            self._writer.finish()
            if self._sink is not None:
                self._sink.flush()

    def _reported(self) -> AbstractContextManager[None]:
        return streams.written(self._output or "to standard output")


def open_target(
    format: str,
    output: Path | None,
    *,
    resume: bool,
    overwrite: bool,
    retry: Container[Record] = (),
    listed: Sequence[str] = (),
) -> Target:
    """Make the target for `--output` and related options. listed: see `StreamTarget`. Raises OptionError for options that exclude each other."""
    if output is None or is_special(output):
        if resume:
            raise OptionError.about("resume", "--resume needs an output that is a file: give it with --output")
        return StreamTarget(format, output, listed=listed)
    return FileTarget(Job(output, format=format, resume=resume, overwrite=overwrite), retry)


def open_vector_target(
    format: str | None, output: str, *, resume: bool, overwrite: bool, retry: Container[Record] = ()
) -> FileTarget:
    """Make the target for embeddings: a folder if `output` ends in a slash or is one, else a file."""
    path = Path(output)
    if output.endswith(("/", os.sep)) or filesystem.is_folder(path):
        if format is not None:
            raise OptionError.about(
                "format", "a folder holds .npy files: leave out --format, or name a file in {output}", output=output
            )
        return ArrayFolderTarget(path, resume=resume, overwrite=overwrite, retry=retry)
    if is_special(path):
        raise OptionError.about("output", "embeddings need a file or a folder to be written to")
    chosen = pick_vector_format(format, path)
    return FileTarget(Job(path, format=chosen, resume=resume, overwrite=overwrite), retry)

"""Where the results of a batch go: a file kept safe by a job, or a stream that takes them as they come."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Protocol

from videomae_cli.cli import console
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.jobs import Job, Settings, Tally
from videomae_cli.results import Record
from videomae_cli.writers import Writer, is_special, make_writer

if TYPE_CHECKING:
    from rich.console import Console


class Target(Protocol):
    """A context manager: `begin`, `append` for each file in order, `finish`."""

    def __enter__(self) -> Target: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, settings: Settings, names: Sequence[str], *, shard: str | None = None) -> Tally:
        """What an earlier run has done."""

    def append(self, record: Record, seconds: float | None = None) -> None:
        """One more record."""

    def finish(self) -> None:
        """After the last."""

    @property
    def kept(self) -> str | None:
        """Where an interrupted job keeps its results, if it has some and does."""

    @property
    def console(self) -> Console | None:
        """The console that results are drawn on, if they are."""


class FileTarget:
    """A job: complete or not at all, and gone on with after any break."""

    console: Console | None = None

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> FileTarget:
        self._job.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._job.__exit__(kind, error, trace)

    def begin(self, settings: Settings, names: Sequence[str], *, shard: str | None = None) -> Tally:
        return self._job.begin(settings, names, shard=shard)

    def append(self, record: Record, seconds: float | None = None) -> None:
        self._job.append(record)

    def finish(self) -> None:
        self._job.finish()

    @property
    def done(self) -> int:
        """Files that are through, in this run and before."""
        return self._job.tally.done

    @property
    def kept(self) -> str | None:
        return str(self._job.folder) if self._job.tally.done and not self._job.complete else None


class StreamTarget:
    """Standard output, a device or a pipe: records are written as they come, and nothing is kept."""

    kept: str | None = None

    def __init__(self, format: str, output: Path | None) -> None:
        self._format, self._output = format, output
        self._stack = contextlib.ExitStack()
        self._sink: BinaryIO | None = None
        self._writer: Writer | None = None
        self.console: Console | None = None

    def __enter__(self) -> StreamTarget:
        with self._reported():
            if self._output is not None:
                self._sink = self._stack.enter_context(self._output.open("wb"))
                self._writer = make_writer(self._format, self._sink)
            elif self._format == "table" and console.is_terminal(sys.stdout):
                from videomae_cli.cli.display import TerminalWriter, consoles

                self.console = consoles()[0]
                self._writer = TerminalWriter(self.console)
            else:
                self._sink = standard_output(self._format)
                self._writer = make_writer(self._format, self._sink)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._reported():
            self._stack.close()

    def begin(self, settings: Settings, names: Sequence[str], *, shard: str | None = None) -> Tally:
        return Tally()

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

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            where = self._output or "to standard output"
            raise OutputError(f"can't write {where}: {error.strerror or error}") from None


def open_target(format: str, output: Path | None, *, resume: bool, overwrite: bool) -> Target:
    """The target for `--output` and what goes with it. Raises OptionError where they don't fit together."""
    if output is None or is_special(output):
        if resume:
            raise OptionError("--resume needs an output that is a file: give it with --output")
        return StreamTarget(format, output)
    return FileTarget(Job(output, format=format, resume=resume, overwrite=overwrite))


def standard_output(format: str) -> BinaryIO:
    """Standard output for bytes. Raises OutputError where it is closed, OptionError for Parquet on a terminal."""
    if sys.stdout is None:
        raise OutputError("standard output is closed: give a file with --output")
    if format == "parquet" and console.is_terminal(sys.stdout):
        raise OptionError("Parquet is nothing for a terminal: give a file with --output")
    return sys.stdout.buffer

"""The target of a batch whose results are shown or passed on at once: standard output, a device or a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from videomae_cli.cli.outputs.single_output import standard_output
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError
from videomae_cli.files import is_special
from videomae_cli.jobs.retry import OnExisting
from videomae_cli.jobs.targets import FileTarget, Target
from videomae_cli.results import Record
from videomae_cli.writers import Writer, make_writer


class StreamTarget(Target):
    """Writes each record at once to standard output, a device or a pipe, and stores nothing.

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


def open_target(format: str, output: Path | None, asked: OnExisting, *, listed: Sequence[str] = ()) -> Target:
    """Make the target for `--output` and related options. listed: see `StreamTarget`. Raises OptionError for options
    that exclude each other."""
    if output is None or is_special(output):
        if asked.resume:
            raise OptionError.about("resume", "--resume needs an output that is a file: give it with --output")
        return StreamTarget(format, output, listed=listed)
    return FileTarget(output, format, asked)

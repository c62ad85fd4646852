"""Targets of timelines: those of jobs, or standard output, for tables and for a single document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videomae_cli.cli.outputs.single_output import standard_output
from videomae_cli.cli.outputs.streaming import open_target
from videomae_cli.cli.terminal import streams
from videomae_cli.errors import OptionError
from videomae_cli.files import is_special
from videomae_cli.jobs.documents import TABLES, check_single, has_content, open_timeline_file, timeline_document
from videomae_cli.jobs.retry import OnExisting
from videomae_cli.jobs.targets import Target
from videomae_cli.results import Record
from videomae_cli.writers import widened


def open_timeline_target(
    format: str, output: str | None, asked: OnExisting, *, videos: int, wide: bool = False
) -> Target:
    """Make the target for `--output` and related options. Raises OptionError for options that exclude each other."""
    path = Path(output) if output is not None else None
    layout = widened(TABLES.get(format, format), wide)
    if format in TABLES and (path is None or is_special(path)):
        return open_target(layout, path, asked)
    if output is not None:
        return open_timeline_file(format, output, asked, videos=videos, wide=wide)
    check_single(format, videos, resume=asked.resume)
    return PrintedDocument(format)


class PrintedDocument(Target):
    """A target for a single document on standard output."""

    def __init__(self, format: str) -> None:
        self._format = format

    @contextmanager
    def opened(self) -> Iterator[None]:
        if self._format == "png":
            raise OptionError.about("output", "a chart can't go to standard output: name a file with --output")
        standard_output(self._format)
        yield

    def append(self, record: Record, seconds: float | None = None) -> None:
        if not has_content(record):
            return
        with streams.written():
            sink = standard_output(self._format)
            sink.write(timeline_document(self._format, record))
            sink.flush()

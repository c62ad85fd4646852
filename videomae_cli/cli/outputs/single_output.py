"""Opens the output of commands that write everything at once: a file, or standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.files import output_file


def standard_output(format: str) -> BinaryIO:
    """Open standard output for bytes. Raises OutputError if it is closed, OptionError for Parquet on a terminal."""
    if streams.is_closed():
        raise OutputError.about("output", "standard output is closed: give a file with --output")
    if format == "parquet" and console.is_terminal(sys.stdout):
        raise OptionError.about("output", "Parquet can't be shown on a terminal: name a file with --output")
    return sys.stdout.buffer


@contextmanager
def single_output(
    format: str, output: Path | None, *, overwrite: bool, source: str | os.PathLike[str]
) -> Iterator[BinaryIO]:
    """Yield a sink for everything that a command writes: a file, written atomically, or standard output.

    Raises OutputError if it can't be written, or would replace an existing file without `overwrite`, or `source` at all.
    """
    if output is None:
        with streams.written():
            sink = standard_output(format)
            yield sink
            sink.flush()
        return
    with output_file(output, overwrite=overwrite, source=source) as sink:
        yield sink

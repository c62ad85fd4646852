"""Makes standard output and error robust: they may be closed, on a full disk, without a reader, or in any encoding.

A line that can't be written to stderr is dropped and the job goes on. Standard output is data: failing to write it is
an error, except for the closing remark of a command whose output is a file.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from videomae_cli import system
from videomae_cli.cli.terminal.console import folded, is_terminal
from videomae_cli.errors import OutputError, not_written
from videomae_cli.visible import FALLBACK, exact_json, visible


def prepare() -> None:
    """Prepare this process's standard streams so that writing never fails unexpectedly; call before anything else."""
    for number in (0, 1, 2):
        _occupy(number)
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed()), encoding="utf-8", errors=FALLBACK)
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=FALLBACK)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8", errors=FALLBACK)  # noqa: PTH123, SIM115 - as long as the process
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = io.TextIOWrapper(
            _Forgiving(sys.stderr),
            encoding=sys.stderr.encoding,
            errors=FALLBACK,
            line_buffering=True,
            write_through=True,
        )


def put(text: str) -> None:
    """Write a line of data to standard output. Raises OutputError if it can't be written, BrokenPipeError if the reader has
    gone."""
    with written():
        _print(_shown(text))


def put_json(value: object, *, indent: int | None = None) -> None:
    """Write a JSON document to standard output, in UTF-8 whatever the terminal's encoding. Raises as `put` does."""
    with written():
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        sys.stdout.flush()
        sys.stdout.buffer.write((exact_json(value, indent=indent) + "\n").encode())
        sys.stdout.buffer.flush()


def text_encoding(sink: object) -> str:
    """Return the encoding of human-readable text for `sink`: a terminal's own; for files and pipes UTF-8, so that no label
    is lost whatever the locale, unless PYTHONIOENCODING requests another."""
    asked = bool(os.environ.get("PYTHONIOENCODING")) and sink is getattr(sys.stdout, "buffer", None)
    return (sys.stdout.encoding or "utf-8") if asked or is_shown(sink) else "utf-8"


def is_shown(sink: object) -> bool:
    """Return whether `sink` is standard output and a terminal, so that a person reads it."""
    return sink is getattr(sys.stdout, "buffer", None) and is_terminal(sys.stdout)


@contextmanager
def dispensable() -> Iterator[None]:
    """Ignore failures to write to standard output in the block, because the result itself is in a file."""
    try:
        yield
    except (OSError, OutputError):
        drop_stdout()


def remark(text: str) -> None:
    """Print a remark about an output file on standard output, ignoring failures."""
    with dispensable():
        _print(_shown(text))


def is_closed() -> bool:
    """Return whether standard output is closed; check this before hours of work whose result would go there."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return sys.stdout is None or sys.stdout.closed or isinstance(raw, _Closed)


def drop_stdout() -> None:
    """Discard what is left in standard output's buffers and whatever follows."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.close()  # discard its buffer now: from Python 3.13 on, exit reports a failed flush
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as the process


@contextmanager
def written(where: object = "to standard output") -> Iterator[None]:
    """Turn a failure to write into an OutputError that names `where`; BrokenPipeError is passed on."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise not_written(where, error) from None


def _shown(text: str) -> str:
    """Escape a line, and on a terminal break it between words."""
    line = visible(text)
    return "\n".join(folded(line, system.terminal_width(sys.stdout))) if is_terminal(sys.stdout) else line


def _print(text: str) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _occupy(number: int) -> None:
    """Open a closed standard descriptor on the null device, or the next opened file would get its number and C libraries would
    write messages into it."""
    try:
        os.fstat(number)
    except OSError:
        with contextlib.suppress(OSError):
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


class _Closed(io.RawIOBase):
    """Stand-in for a closed standard output: writing raises OSError, as on a full disk."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise OSError(errno.EBADF, "it is closed")


class _Forgiving(io.RawIOBase):
    """A raw stream that writes what it can and silently drops the rest."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__()
        self._stream = stream  # keep a reference, since its destructor would close the raw stream
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        with contextlib.suppress(OSError, ValueError):
            while left and (count := self._raw.write(left)):
                left = left[count:]
        return size

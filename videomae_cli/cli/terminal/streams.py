"""Standard output and standard error as they may be: closed, on a full device, without a reader, of any encoding.

A line on stderr that can't be said is dropped and the job goes on. Standard output is data: what can't be written there is an
error, except for a closing remark of a command whose output is a file.
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

from videomae_cli.cli.terminal.console import is_terminal
from videomae_cli.errors import OutputError
from videomae_cli.visible import FALLBACK, exact_json, visible


def prepare() -> None:
    """Make the standard streams of this process fit to be written to, before anything else is opened or said."""
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
    """Write a line of data to standard output. Raises OutputError where it can't be written, BrokenPipeError where the
    reader is gone."""
    with written():
        _print(visible(text))


def put_json(value: object, *, indent: int | None = None) -> None:
    """Write a JSON document to standard output, in UTF-8 whatever the terminal's encoding. Raises as `put` does."""
    with written():
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        sys.stdout.flush()
        sys.stdout.buffer.write((exact_json(value, indent=indent) + "\n").encode())
        sys.stdout.buffer.flush()


def text_encoding(sink: object) -> str:
    """The encoding of text for people in `sink`: the terminal's on a terminal; UTF-8 in a file or a pipe, so that no
    label is lost there, whatever the locale, unless PYTHONIOENCODING asks for another one."""
    asked = bool(os.environ.get("PYTHONIOENCODING")) and sink is getattr(sys.stdout, "buffer", None)
    return (sys.stdout.encoding or "utf-8") if asked or is_shown(sink) else "utf-8"


def is_shown(sink: object) -> bool:
    """Whether `sink` is standard output, and that a terminal: then people look at it, and no program reads it."""
    return sink is getattr(sys.stdout, "buffer", None) and is_terminal(sys.stdout)


@contextmanager
def dispensable() -> Iterator[None]:
    """What the block says on standard output is dropped where it can't be said: the result itself is in a file."""
    try:
        yield
    except (OSError, OutputError):
        drop_stdout()


def remark(text: str) -> None:
    """Say on standard output what became of an output that is a file."""
    with dispensable():
        _print(visible(text))


def is_closed() -> bool:
    """Whether standard output is closed: to be known before hours of work whose result would go there."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return sys.stdout is None or sys.stdout.closed or isinstance(raw, _Closed)


def drop_stdout() -> None:
    """Let what is left in the buffers of standard output, and whatever follows, go nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.close()  # with what is left in it, which its end would complain about from Python 3.13 on
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as the process


@contextmanager
def written(where: object = "to standard output") -> Iterator[None]:
    """Turn a failure to write into an OutputError that names `where`. A reader that is gone stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"can't write {where}: {error.strerror or error}") from None


def _print(text: str) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _occupy(number: int) -> None:
    """Open a closed standard descriptor, lest the next file opened gets its number and a C library's messages in it."""
    try:
        os.fstat(number)
    except OSError:
        with contextlib.suppress(OSError):
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


class _Closed(io.RawIOBase):
    """Stands in for standard output that is closed, so that writing is the error it would be on a full disk."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise OSError(errno.EBADF, "it is closed")


class _Forgiving(io.RawIOBase):
    """Writes what can be written, and takes the rest as if it had been."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__()
        self._stream = stream  # kept: it closes what is beneath it when it goes
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

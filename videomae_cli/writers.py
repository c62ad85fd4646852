"""Results -> text in a stable format. The base class owns the stream and the file, subclasses own the format.

A file is written under a temporary name in the same folder, synced and renamed when complete, so the final name never
holds half a result. A link stays a link, and what is no regular file (/dev/null, a named pipe) is written as it is.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import ClassVar, TextIO

from videomae_cli.errors import OptionError, OutputError
from videomae_cli.results import Classification, printable


class Writer:
    """Writes results to `output`, or to stdout where that is None. Use as a context manager.

    Raises OutputError when the file can't be made or the disk is full.
    """

    format: ClassVar[str]

    def __init__(self, output: Path | None) -> None:
        self._output = output
        self._temporary: Path | None = None
        self.stream: TextIO = self._open(output) if output else _utf8_stdout()

    def write(self, result: Classification) -> None:
        """Add one result."""
        raise AssertionError("a subclass writes")

    def finish(self) -> None:
        """Called once after the last result, before the file gets its name."""

    def _open(self, output: Path) -> TextIO:
        if output.is_dir():
            raise OutputError(f"{output} is a folder: give a file name to write to")
        try:
            if output.exists() and not output.is_file():
                return output.open("w", encoding="utf-8", newline="\n")  # a rename would replace the device by a file
            descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", suffix=".part", dir=_linked(output).parent)
        except OSError as error:
            raise OutputError(f"can't write {output}: {error.strerror}") from None
        self._temporary = Path(name)
        return open(descriptor, "w", encoding="utf-8", newline="\n")  # noqa: PTH123 - a descriptor, not a path

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
                self.stream.flush()
            if self._temporary and self._output:
                self._publish(self._temporary, _linked(self._output), complete=kind is None)
            elif self._output:
                self.stream.close()
        except OSError as problem:
            if isinstance(problem, BrokenPipeError):
                raise
            self._discard()
            raise OutputError(f"can't write {self._output or 'to standard output'}: {problem.strerror}") from None

    def _publish(self, temporary: Path, output: Path, *, complete: bool) -> None:
        if not complete:
            self._discard()
            return
        os.fsync(self.stream.fileno())
        self.stream.close()
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's 0600 is not what a user's other files have
        temporary.replace(output)

    def _discard(self) -> None:
        if self._temporary:
            with contextlib.suppress(OSError):
                self.stream.close()
            self._temporary.unlink(missing_ok=True)


class JsonLinesWriter(Writer):
    """One JSON object a line, written as it comes."""

    format = "jsonl"

    def write(self, result: Classification) -> None:
        self.stream.write(json.dumps(result.as_dict(), ensure_ascii=False) + "\n")
        self.stream.flush()


class JsonWriter(Writer):
    """One JSON document: an array of the same objects, one a line."""

    format = "json"
    _count = 0

    def write(self, result: Classification) -> None:
        self.stream.write(("[\n" if self._count == 0 else ",\n") + json.dumps(result.as_dict(), ensure_ascii=False))
        self._count += 1

    def finish(self) -> None:
        self.stream.write("\n]\n" if self._count else "[]\n")


class TextWriter(Writer):
    """A table in plain text: for a pipe, or a file that people read."""

    format = "table"

    def write(self, result: Classification) -> None:
        if result.error:
            return  # the line on stderr says it; a table of labels has no place for it
        width = max((len(p.label) for p in result.predictions), default=0)
        lines = [_one_line(result.path)]
        for rank, p in enumerate(result.predictions, 1):
            lines.append(f"{rank:>4}  {p.label:<{width}}  {p.score:.4f}")
        lines.append(f"      {describe(result)}")
        self.stream.write("\n".join(lines) + "\n")
        self.stream.flush()


WRITERS: dict[str, type[Writer]] = {w.format: w for w in (TextWriter, JsonWriter, JsonLinesWriter)}
_SUFFIXES = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "table"}


def pick_format(asked: str | None, output: Path | None) -> str:
    """The format asked for, else the one that the output's name ends in, else a table. Raises OptionError."""
    if asked is not None:
        if asked not in WRITERS:
            raise OptionError(f"unknown format {asked!r}: choose {', '.join(WRITERS)}")
        return asked
    if output is None:
        return "table"
    suffix = output.suffix.lower()
    if suffix not in _SUFFIXES:
        raise OptionError(
            f"can't tell the format of {output.name!r}: end it in .json, .jsonl or .txt, or give --format"
        )
    return _SUFFIXES[suffix]


def describe(result: Classification) -> str:
    """The line under a table: model, what was sampled, by whom decoded, how long it took."""
    source = result.source
    if source is None:
        return result.model
    return f"{result.model}, {source.sampling}, {source.width}x{source.height} {source.decoder}, {result.seconds:.1f} s"


def _linked(output: Path) -> Path:
    """What a link ends at: a rename over the link itself would leave the linked file as it was."""
    return Path(os.path.realpath(output))


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in printable(text))


def _utf8_stdout() -> TextIO:
    """Standard output that can take any label whatever the locale says."""
    if sys.stdout is None:
        raise OutputError("standard output is closed: give a file with --output")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    return sys.stdout

"""Messages on stderr: errors in one line, warnings, and the effects of `--debug` and `--quiet`."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import typer

from videomae_cli import filesystem, system
from videomae_cli.errors import ModelOfflineError, VideoMAEError
from videomae_cli.visible import brief, byte_size, columns, visible
from videomae_cli.visible import counted as counted
from videomae_cli.visible import duration as duration


@dataclass
class Loudness:
    """How much to report, and the running command; set once by the command."""

    debug: bool = False
    quiet: bool = False
    print_line: Callable[[str], None] | None = None
    command: str = ""
    options: frozenset[str] = frozenset()


# Commands whose typical model has no labels.
_ON_ENCODERS = {"reconstruct", "finetune", "pretrain"}
# The sizes of at most this many files in a folder are added up: more would take seconds on a network drive.
_MOST_SIZED = 10_000

loudness = Loudness()


def configure(*, debug: bool, quiet: bool) -> None:
    """Set the verbosity, and send the library's log to stderr: warnings, or everything with `--debug`."""
    loudness.debug, loudness.quiet = debug, quiet
    log = logging.getLogger("videomae_cli")
    handler = _Lines()
    handler.setFormatter(
        logging.Formatter("videomae: %(levelname)s: %(message)s" if debug else "videomae: %(message)s")
    )
    log.handlers[:] = [handler]
    log.propagate = False
    if not debug:
        warnings.simplefilter("ignore")  # torch's warnings are for developers
        # Silence torch's message about a CUDA toolkit without a GPU, which its CUDA builds log when compiling.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    log.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.WARNING)


def set_options(command: str, taken: Iterable[str]) -> None:
    """Store the running command and its options, so that messages only name options that it has."""
    loudness.command, loudness.options = command, frozenset(taken)


def failure(problem: VideoMAEError) -> None:
    """Print a line about an error, with the next step if the running command has one; the traceback with `--debug`."""
    trace()
    notes = "".join(getattr(problem, "__notes__", []))  # callers add a note that says where the results so far are kept
    error(f"{problem}{notes}{_way_on(problem) if isinstance(problem, ModelOfflineError) else ''}")


def _way_on(problem: ModelOfflineError) -> str:
    """Say what to do on a machine that can't reach the hub, with the options of the running command."""
    fetch = f"; where there is a network, `videomae download {problem.hub_id} --to DIR` makes a folder"
    if loudness.command == "download":
        return f"{fetch} to import here: `videomae download --from-dir DIR`"
    if problem.revisions and "--revision" in loudness.options:
        return f"; on this disk: {', '.join(f'--revision {revision}' for revision in problem.revisions)}"
    option = next((name for name in ("--model", "--init") if name in loudness.options), "")
    place = f"{option} " if option else f"videomae {loudness.command} "
    bundled = "camera-motion-mae" if loudness.command in _ON_ENCODERS else "camera-motion"
    return f"{fetch} to use here ({place}DIR); {place}{bundled} needs no download"


class _Lines(logging.Handler):
    """Prints log records as lines like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        for line in text.splitlines() if record.exc_info else [text]:
            say(line)


def say(text: str) -> None:
    """Print a line on stderr with special characters escaped; on a terminal it is wrapped between words."""
    for line in wrapped(text):
        if loudness.print_line:
            loudness.print_line(line)
        else:
            _put(line)


def _put(line: str) -> None:
    """Write a line to stderr in one piece: between a text and its end, as `print` writes them, Ctrl-C could come."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


# Quoted names and commands are never broken, even if too long for a line, so that they can be copied; a number stays with
# its unit.
_WORDS = re.compile(r"`[^`]*`\S*|'[^']*'\S*|\(?\d[\d.,]* [^\W\d_]\S*|\S+")


def wrapped(text: str, *, margin: int = 0) -> list[str]:
    """Escape text (see `visible`) and wrap it to the width of the terminal on stderr; one line without a terminal.

    margin: columns of the first line that are taken by something else.
    """
    line = brief(visible(text))
    width = system.terminal_width(sys.stderr) if is_terminal(sys.stderr) else None
    return [line] if width is None else folded(line, width, margin=margin)


def folded(line: str, width: int, *, margin: int = 0) -> list[str]:
    """Break a line between words into lines of at most `width` columns; margin: columns of the first that are taken."""
    if margin + columns(line) <= width:
        return [line]
    lines: list[str] = []
    left = -1
    for word in _WORDS.findall(line):
        needed = columns(word)
        if needed < left:
            lines[-1] += f" {word}"
            left -= needed + 1
        else:
            lines.append(word)
            left = width - needed - (0 if len(lines) > 1 else margin)
    return lines


@contextmanager
def lines_through(print_line: Callable[[str], None]) -> Iterator[None]:
    """Print lines with `print_line` inside the block, so that a bar being drawn doesn't overwrite them."""
    loudness.print_line = print_line
    try:
        yield
    finally:
        loudness.print_line = None


def error(text: str) -> None:
    """Print an error: one line that says what is wrong and what to do."""
    say(f"videomae: {text}")


def fail_of(failures: Sequence[str]) -> None:
    """Print a line for each thing that failed while the rest was done. Raises typer.Exit(1) if there is one."""
    for line in failures:
        error(line)
    if failures:
        raise typer.Exit(1)


def note(text: str) -> None:
    """Print a line that `--quiet` leaves out."""
    if not loudness.quiet:
        say(f"videomae: {text}")


def wrote(output: Path | str, *facts: str, beside: Sequence[Path] = (), piped: bool = True) -> None:
    """Say what was written: "wrote map.html: 12 points, 56 kB". `--quiet` leaves it out.

    facts: what is in it, to which the size is added; empty ones are left out. beside: other files that belong to it. piped: say
    it without a terminal too.
    """
    if piped or is_terminal(sys.stderr):
        known = [fact for fact in (*facts, _size([Path(output), *beside])) if fact]
        note(f"wrote {output}" + (f": {', '.join(known)}" if known else ""))


def _size(places: Sequence[Path]) -> str:
    """Format the size of files, or of all files in folders; empty if they are gone again, or too many to add up."""
    inside = (Path(folder, name) for place in places for folder, _, names in os.walk(place) for name in names)
    files = list(islice(chain(filter(filesystem.is_file, places), inside), _MOST_SIZED + 1))
    try:
        size = sum(file.stat().st_size for file in files if filesystem.is_file(file))
    except OSError:
        return ""
    return byte_size(size) if size and len(files) <= _MOST_SIZED else ""


def suggest(*commands: Sequence[str | Path]) -> None:
    """Say what can be done next, one command to a line, to a person: where standard output and error are terminals.

    commands: the words of each. A Path is an operand, which no command takes for an option. Lines are not wrapped, so that
    they can be copied.
    """
    if loudness.quiet or not commands or not (is_terminal(sys.stdout) and is_terminal(sys.stderr)):
        return
    sys.stdout.flush()
    for number, words in enumerate(commands):
        line = ("      " if number else "next: ") + " ".join(map(shell_word, words))
        _put(line)


def shell_word(word: str | Path) -> str:
    """Quote a word for a POSIX shell, in characters that the terminal can show; a Path that begins with - gets ./ before it."""
    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    if visible(text).encode(encoding, "ignore").decode(encoding) == text:
        return shlex.quote(text)
    return "$'" + "".join(map(_in_dollar_quotes, text)) + "'"


def _in_dollar_quotes(character: str) -> str:
    if character.isascii() and character.isprintable() and character not in "\\'":
        return character
    undecodable = "\udc80" <= character <= "\udcff"  # a byte that is not UTF-8 (PEP 383)
    return "".join(
        f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape" if undecodable else "surrogatepass")
    )


def each(names: Iterable[str], work: Callable[[str], object]) -> None:
    """Process every name; a failure is reported and sets the exit code, but doesn't stop the others. Raises typer.Exit(1)."""
    failed = False
    for name in names:
        try:
            work(name)
        except VideoMAEError as problem:
            failure(problem)
            failed = True
    if failed:
        raise typer.Exit(1)


def trace() -> None:
    """Print the traceback of the exception being handled, with `--debug` only."""
    if loudness.debug:
        for line in traceback.format_exc().splitlines():
            _put(visible(line))


def is_terminal(stream: object) -> bool:
    """Return whether a stream is a terminal, where a person reads lines of its width."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())


def redraws(stream: object) -> bool:
    """Return whether a stream is a terminal that can draw over what it shows, as bars and spinners do."""
    return is_terminal(stream) and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")

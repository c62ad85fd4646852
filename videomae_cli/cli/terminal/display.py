"""Draws results on a terminal: tables with bars, lists and timelines."""

from __future__ import annotations

import io
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from videomae_cli.cli.terminal.console import is_terminal, loudness
from videomae_cli.cli.terminal.streams import written
from videomae_cli.results import Record, path_of
from videomae_cli.visible import FALLBACK, columns, visible
from videomae_cli.writers import TextWriter, describe
from videomae_cli.writers.timelines import TimelineTextWriter, best_of, marked, percent, span

BAR_WIDTH = 24


class TerminalWriter(TextWriter):
    """Draws a table per file: rank, label, bar, score, and a line on how it was made."""

    def __init__(self, console: Console) -> None:
        super().__init__(io.BytesIO())  # no sink: this draws on the console instead
        self.console = console

    def write(self, record: Record, seconds: float | None = None) -> None:
        if record["error"]:
            return  # reported on stderr
        self.console.print(plain(path_of(record), "bold"), soft_wrap=True)
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(justify="right", style="dim")
        table.add_column(overflow="fold")
        table.add_column(width=BAR_WIDTH)
        table.add_column(justify="right")
        for rank, p in enumerate(record["predictions"], 1):
            # As Text, so that rich doesn't interpret [brackets] in labels as markup.
            bar = score_bar(p["score"])
            table.add_row(str(rank), plain(p["label"], "bold" if rank == 1 else ""), bar, f"{p['score']:.1%}")
        for name, value in (record.get("values") or {}).items():
            table.add_row("", plain(name, "bold"), "", f"{value:.6g}")
        self.console.print(table)
        self.console.print(plain(describe(record, seconds), "dim"))
        self.console.print()


class TerminalListWriter(TextWriter):
    """Draws a line per file: name, best label with score, and labels close to it; how it was made comes once at the end.

    names: those of all files, by which the first column is sized.
    """

    _WIDEST_NAME = 0.5  # fraction of the terminal's width
    _CLOSE = 0.5  # fraction of the best score from which a label is listed too
    _MOST_OTHERS = 2

    def __init__(self, console: Console, names: Iterable[str]) -> None:
        super().__init__(io.BytesIO())  # no sink: this draws on the console instead
        self.console = console
        self._widest = max((columns(visible(name)) for name in names), default=0)
        self._made: dict[str, None] = {}

    def write(self, record: Record, seconds: float | None = None) -> None:
        if record["error"]:
            return  # reported on stderr
        width = min(self._widest, int(self.console.width * self._WIDEST_NAME))
        name = shortened(visible(path_of(record)), width)
        line = Text.assemble(plain(name, ""), " " * (width - columns(name)))
        best, *others = record["predictions"] or [None]
        if best is not None:
            line.append_text(Text.assemble(f"  {best['score']:6.1%}  ", plain(best["label"], "bold")))
            close = [other for other in others if other["score"] >= best["score"] * self._CLOSE][: self._MOST_OTHERS]
            line.append_text(plain("".join(f"  {other['label']} {other['score']:.1%}" for other in close), "dim"))
        for name, value in (record.get("values") or {}).items():
            line.append_text(Text.assemble("  ", plain(name, ""), " ", plain(f"{value:.6g}", "bold")))
        line.truncate(self.console.width, overflow="ellipsis")
        self.console.print(line)
        self._made[_settings_of(record)] = None

    def finish(self) -> None:
        """Print how the results were made, if that is the same for all files."""
        if len(self._made) == 1:
            self.console.print(plain("".join(self._made), "dim"))
        elif self._made:
            self.console.print(plain("clips differ from file to file: --detail shows how each was sampled", "dim"))


def _settings_of(record: Record) -> str:
    """Describe the model and the sampling of a record without what depends on the file's length."""
    own = ("from ", "over ", "stride reduced")
    return ", ".join([record["model"], *(w for w in record["sampling"].split(", ") if not w.startswith(own))])


class TerminalTimelineWriter(TimelineTextWriter):
    """Draws timelines as tables: from, to, label, bar, score."""

    def __init__(self, console: Console) -> None:
        super().__init__(io.BytesIO())  # no sink: this draws on the console instead
        self.console = console

    def write(self, record: Record, seconds: float | None = None) -> None:
        if record["segments"]:
            self.console.print(plain(path_of(record), "bold"), soft_wrap=True)
            self.console.print(self._table(record))
        if record["windows"]:
            self.console.print(plain("windows", "bold"))
            for window in record["windows"]:
                self.console.print(plain(f"{span(window)}  {best_of(window)}", ""))
        if record["sampling"]:
            self.console.print(plain(describe(record, seconds), "dim"))
            self.console.print()

    def _table(self, record: Record) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(justify="right", style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(width=BAR_WIDTH)
        table.add_column(justify="right")
        for segment in record["segments"]:
            score = segment["score"]
            bar = "" if score is None else score_bar(score)
            style = "dim" if segment["unsure"] else "bold"
            table.add_row(
                span(segment),
                plain(marked(segment), style),
                bar,
                plain(percent(segment).strip(), "dim" if segment["unsure"] else ""),
            )
        return table


def ranked(lines: Sequence[tuple[str, float, str]]) -> Table:
    """Return a table of (rank, cosine, name) with a bar from 0 to 1 for each."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", style="dim")
    table.add_column(width=BAR_WIDTH)
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for rank, score, name in lines:
        bar = score_bar(score)
        table.add_row(rank, bar, f"{score:.4f}", plain(name, "bold" if rank == "1" else ""))
    return table


def shortened(text: str, width: int) -> str:
    """Shorten text to `width` columns by cutting out its middle: beginning and end distinguish files."""
    if columns(text) <= width:
        return text
    start, end = "", ""
    for front, back in zip(text, reversed(text), strict=True):
        if columns(start + end + back) >= width:
            break
        end = back + end
        if columns(start + end + front) >= width:
            break
        start += front
    return f"{start}\u2026{end}" if _can_show("\u2026") else f"{start}~{end}"


def score_bar(score: float) -> Text:
    """Draw a bar, BAR_WIDTH characters for a score of 1, with a resolution of half a character.

    The rest stays empty, since any background colour would dominate on either light or dark terminals.
    """
    halves = round(max(0.0, min(1.0, score)) * 2 * BAR_WIDTH) or (score > 0)
    whole, half = ("\u2501", "\u2578") if _can_show("\u2501\u2578") else ("-", "")
    return Text(whole * (halves // 2) + half * (halves % 2), style="color(197)")


def _can_show(text: str) -> bool:
    """Whether standard output can encode these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def print_rows(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table on standard output, or, where that would break words, each as its name and a paragraph.

    Raises OutputError if it can't be written.
    """
    heads = [name.replace("_", " ") for name in names]
    cells = [[plain("-" if row[name] in (None, "") else str(row[name]), "") for name in names] for row in rows]
    with written():
        # A pipe has no width, so cells are not folded.
        out = Console(file=sys.stdout, highlight=False, width=None if is_terminal(sys.stdout) else 200)
        gap, widths = _widths([heads, *([cell.plain for cell in row] for row in cells)], out.width)
        if widths:
            table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
            for head, width in zip(heads, widths, strict=True):
                table.add_column(head, overflow="fold", width=width)
            for row in cells:
                table.add_row(*row)
            out.print(table)
        else:
            for first, *others in cells:
                out.print(Text(first.plain, style="bold"), soft_wrap=True)
                out.print(Text(_paragraph(heads[1:], others, out.width)), soft_wrap=True)
        out.file.flush()


def _widths(rows: Sequence[Sequence[str]], width: int) -> tuple[int, list[int]]:
    """Return the gap between columns, and their widths; none if they don't fit without breaking words or names.

    The first column holds names, which are never broken.
    """
    whole = [max(map(columns, cells)) for cells in zip(*rows, strict=True)]
    longest = [max(columns(word) for cell in cells for word in cell.split()) for cells in zip(*rows, strict=True)]
    widths = [whole[0], *longest[1:]]
    room = width - sum(widths)
    gaps = len(widths) - 1
    if room < gaps:
        return 0, []
    gap = 2 if room >= 2 * gaps else 1
    room -= gap * gaps
    for place, needed in enumerate(whole):
        more = min(room, needed - widths[place])
        widths[place] += more
        room -= more
    return gap, widths


def _paragraph(heads: Sequence[str], cells: Sequence[Text], width: int) -> str:
    """Format the cells that aren't empty as "data Kinetics-400, labels 400", wrapped between words and indented."""
    told = ", ".join(f"{head} {cell.plain}" for head, cell in zip(heads, cells, strict=True) if cell.plain != "-")
    return textwrap.fill(
        told, width, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def plain(text: str, style: str) -> Text:
    """Make untrusted text safe for rich and the terminal: no markup, and control characters escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    # Escape before tables are measured, since escapes are wider than the characters they replace.
    return Text(visible(text).encode(encoding, FALLBACK).decode(encoding), style=style)


def print_lines(console: Console) -> Callable[[str], None]:
    """Return a function that prints lines above what `console` draws, without wrapping them."""
    return lambda line: console.print(plain(line, ""), soft_wrap=True)


def spinner_name(console: Console) -> str:
    """Return the name of a spinner of rich's that the terminal can show."""
    try:
        "".join(Spinner("dots").frames).encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return "line"
    return "dots"


def consoles() -> tuple[Console, Console]:
    """Return the consoles for data and for progress; on a terminal they are the same, so that the bar doesn't overlap tables."""
    data = Console(file=sys.stdout, highlight=False, soft_wrap=False)
    if is_terminal(sys.stdout):
        return data, data
    return data, Console(file=sys.stderr, highlight=False)


def _wanted() -> bool:
    return is_terminal(sys.stderr) and not loudness.quiet and not loudness.debug


@contextmanager
def waiting(text: str, console: Console) -> Iterator[None]:
    """Show a spinner during the block, for work of unknown progress."""
    if not _wanted():
        yield
        return
    with console.status(plain(text, ""), spinner=spinner_name(console)):
        yield

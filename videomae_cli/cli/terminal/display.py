"""Draws results on a terminal: tables with bars, lists and timelines."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from videomae_cli import system
from videomae_cli import visible as visible_names
from videomae_cli.cli.terminal.console import folded, is_terminal, loudness, redraws
from videomae_cli.cli.terminal.streams import written
from videomae_cli.results import Record, path_of
from videomae_cli.visible import FALLBACK, columns, visible
from videomae_cli.writers import TextWriter, describe
from videomae_cli.writers.clock import clock
from videomae_cli.writers.timelines import TimelineTextWriter, best_of, marked, percent, span

BAR_WIDTH = 24
# A narrow terminal has shorter bars, or none: the fewest columns of one, and those between two columns of a table.
_LEAST_BAR, _GAP = 4, 2


class TerminalWriter(TextWriter):
    """Draws a table per file: rank, label, bar and score, and below it a line about model and sampling."""

    def __init__(self, console: Console) -> None:
        super().__init__(io.BytesIO())  # no sink: this draws on the console instead
        self.console = console

    def write(self, record: Record, seconds: float | None = None) -> None:
        if record["error"]:
            return  # reported on stderr
        self.console.print(plain(path_of(record), "bold"), soft_wrap=True)
        rows = [(str(rank), p["label"], f"{p['score']:.1%}") for rank, p in enumerate(record["predictions"], 1)]
        width = _bar_room(self.console, rows)
        table = _scores(width)
        for rank, p in enumerate(record["predictions"], 1):
            # As Text, so that rich doesn't interpret [brackets] in labels as markup.
            bar = [score_bar(p["score"], width)] if width else []
            table.add_row(str(rank), plain(p["label"], "bold" if rank == 1 else ""), *bar, f"{p['score']:.1%}")
        for name, value in (record.get("values") or {}).items():
            table.add_row("", plain(name, "bold"), *([""] if width else []), f"{value:.6g}")
        self.console.print(table)
        print_folded(self.console, describe(record, seconds))
        self.console.print()


class TerminalListWriter(TextWriter):
    """Draws a line per file: name, best label with score, and labels close to it; model and sampling come once at the end.

    names: the names of all files, which determine the width of the first column.
    """

    _WIDEST_NAME, _LEAST_NAME = 0.5, 1 / 3  # fractions of the terminal's width
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
        best, *others = record["predictions"] or [None]
        if best is not None:  # names give way to labels, which lose their sense with their end
            room = self.console.width - len("  100.0%  ") - columns(visible(best["label"]))
            width = max(min(width, room), min(width, int(self.console.width * self._LEAST_NAME)))
        name = shortened(visible(path_of(record)), width)
        line = Text.assemble(plain(name, ""), " " * (width - columns(name)))
        if best is not None:
            line.append_text(Text.assemble(f"  {best['score']:6.1%}  ", plain(best["label"], "bold")))
            close = [other for other in others if other["score"] >= best["score"] * self._CLOSE][: self._MOST_OTHERS]
            line.append_text(self._runners_up(close, self.console.width - line.cell_len))
        for name, value in (record.get("values") or {}).items():
            line.append_text(Text.assemble("  ", plain(name, ""), " ", plain(f"{value:.6g}", "bold")))
        line.truncate(self.console.width, overflow="ellipsis")
        self.console.print(line)
        self._made[_settings_of(record)] = None

    def _runners_up(self, close: Sequence[Record], room: int) -> Text:
        """Format the labels that come close to the best one: " (next: zoom in 34.9%, static 20.1%)"; only those that fit."""
        for count in range(len(close), 0, -1):
            listed = ", ".join(f"{other['label']} {other['score']:.1%}" for other in close[:count])
            text = plain(f"  (next: {listed})", "dim")
            if text.cell_len <= room:
                return text
        return Text()

    def finish(self) -> None:
        """Print model and sampling, if they are the same for all files."""
        if len(self._made) == 1:
            print_folded(self.console, "".join(self._made))
        elif self._made:
            print_folded(self.console, "clips differ from file to file: --detail shows how each was sampled")


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
            print_folded(self.console, describe(record, seconds))
            self.console.print()

    def _table(self, record: Record) -> Table:
        rows = [(span(one), marked(one), percent(one).strip()) for one in record["segments"]]
        if sum(_widest(rows)) + 2 * _GAP > self.console.width:
            rows = [
                (_short_span(one), label, score)
                for one, (_, label, score) in zip(record["segments"], rows, strict=True)
            ]
        width = _bar_room(self.console, rows)
        table = _scores(width)
        for segment, (when, *_) in zip(record["segments"], rows, strict=True):
            score = segment["score"]
            bar = [Text() if score is None else score_bar(score, width)] if width else []
            style = "dim" if segment["unsure"] else "bold"
            table.add_row(
                when,
                plain(marked(segment), style),
                *bar,
                plain(percent(segment).strip(), "dim" if segment["unsure"] else ""),
            )
        return table


def _scores(width: int) -> Table:
    """Return a table for ranks or times, labels, bars of this width (0: none) and scores."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if width:
        table.add_column(width=width)
    table.add_column(justify="right")
    return table


def _bar_room(console: Console, rows: Sequence[tuple[str, ...]]) -> int:
    """Return the width of the bars beside columns of text: what these leave of the terminal, so that no word is broken."""
    widths = _widest(rows)
    room = console.width - sum(widths) - _GAP * len(widths)
    return min(BAR_WIDTH, room) if room >= _LEAST_BAR else 0


def _widest(rows: Sequence[tuple[str, ...]]) -> list[int]:
    """Return the width of each column of text."""
    return [max(columns(visible(cell)) for cell in cells) for cells in zip(*rows, strict=True)]


def _short_span(segment: Record) -> str:
    """Format when a segment is for a narrow terminal, to tenths of a second and without hours that are 0."""
    start, end = (clock(segment[edge], digits=1, hours=1).removeprefix("0:") for edge in ("start", "end"))
    return f"{start} - {end}"


def lines_of(text: str, taken: int) -> list[str]:
    """Break text into lines that leave `taken` columns free on standard output; one line if that is not a terminal."""
    if not is_terminal(sys.stdout):
        return [text]
    return folded(text, max(1, system.terminal_width(sys.stdout) - taken))


def print_folded(console: Console, text: str) -> None:
    """Print a dim line, broken between words so that numbers stay with their units."""
    for line in folded(plain(text, "").plain, console.width):
        console.print(Text(line, style="dim"), soft_wrap=True)


def ranked(lines: Sequence[tuple[str, float, str]], console: Console) -> Table:
    """Return a table of (rank, cosine, name) with a bar from 0 to 1 for each.

    Names come first: bars are shortened for their sake, and only then are names, in the middle.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    left = console.width - max((len(rank) for rank, _, _ in lines), default=0) - len("0.0000") - 3 * _GAP
    names = max((columns(visible(name)) for _, _, name in lines), default=0)
    width = max(min(BAR_WIDTH, console.width // 4, left - names), _LEAST_BAR)
    table.add_column(justify="right", style="dim")
    table.add_column(width=width)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for rank, score, name in lines:
        bar, name = score_bar(score, width), shortened(visible(name), left - width)
        table.add_row(rank, bar, f"{score:.4f}", plain(name, "bold" if rank == "1" else ""))
    return table


def shortened(text: str, width: int) -> str:
    """Shorten text to `width` columns by cutting out its middle, marked by a character that standard output can show."""
    return visible_names.shortened(text, width, gap="\u2026" if _can_show("\u2026") else "~")


def score_bar(score: float, width: int = BAR_WIDTH) -> Text:
    """Draw a bar, `width` characters for a score of 1, with a resolution of half a character.

    The rest stays empty, since any background colour would dominate on either light or dark terminals.
    """
    halves = round(max(0.0, min(1.0, score)) * 2 * width) or (score > 0 and width > 0)
    whole, half = ("\u2501", "\u2578") if _can_show("\u2501\u2578") else ("-", "")
    return Text(whole * (halves // 2) + half * (halves % 2), style="color(197)")


def _can_show(text: str) -> bool:
    """Return whether standard output can encode these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def print_table(console: Console, table: Table) -> None:
    """Print a table; not to a terminal, its lines end with their text, without the blanks that fill the last column."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    for line in drawn.get().splitlines():
        console.print(Text(line.rstrip()), soft_wrap=True)


def print_rows(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table on standard output, or, where that would break words, each as its name and a paragraph.

    Raises OutputError if it can't be written.
    """
    heads = [name.replace("_", " ") for name in names]
    cells = [[plain("-" if row[name] in (None, "") else str(row[name]), "") for name in names] for row in rows]
    with written():
        # A pipe has no width, so cells are not folded.
        out = console_on(sys.stdout, width=None if is_terminal(sys.stdout) else 200)
        gap, widths = _widths([heads, *([cell.plain for cell in row] for row in cells)], out.width)
        if widths:
            table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
            for head, width in zip(heads, widths, strict=True):
                table.add_column(head, overflow="fold", width=width)
            for row in cells:
                table.add_row(*row)
            print_table(out, table)
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
    told = [f"{head} {cell.plain}" for head, cell in zip(heads, cells, strict=True) if cell.plain != "-"]
    widest = max((columns(word) for one in told for word in one.split()), default=0)
    # A name that leaves no room for the indent or a comma has a line of its own, whole if the terminal is as wide.
    lines = (
        folded(", ".join(told), width - 2) if widest < width - 2 else [x for one in told for x in folded(one, width)]
    )
    return "\n".join(line if columns(line) > width - 2 else f"  {line}" for line in lines)


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
    data = console_on(sys.stdout)
    if is_terminal(sys.stdout):
        return data, data
    return data, console_on(sys.stderr)


def console_on(stream: TextIO, *, width: int | None = None) -> Console:
    """Return rich's console on a stream; width: that of its lines, by default the terminal's."""
    if width is None and is_terminal(stream) and not redraws(stream):
        # Rich takes a dumb terminal for one of 80 columns unless it is given both width and height.
        return Console(file=stream, highlight=False, width=system.terminal_width(stream), height=25)
    return Console(file=stream, highlight=False, width=width)


def _wanted() -> bool:
    return redraws(sys.stderr) and not loudness.quiet and not loudness.debug


@contextmanager
def waiting(text: str, console: Console) -> Iterator[None]:
    """Show a spinner during the block, for work of unknown progress."""
    if not _wanted():
        yield
        return
    with console.status(plain(text, ""), spinner=spinner_name(console)):
        yield

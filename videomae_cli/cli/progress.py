"""How far a batch is: a bar on a terminal, lines for a log, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from videomae_cli.cli.console import duration, is_terminal, lines_through, loudness, say
from videomae_cli.cli.display import plain
from videomae_cli.writers.clock import clock

PLAIN_SECONDS = 10.0
NAME_WIDTH = 20


class BatchProgress:
    """Counts files and clips of this run, and says so now and then. done: files an earlier run has behind it."""

    def __init__(self, total: int, *, done: int = 0, failed: int = 0) -> None:
        self.total, self.done, self.failed, self.views = total, done, failed, 0
        self._first, self._began = done, monotonic()
        self._said = self._began
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._lines = False
        self._share = 0.0
        self._place = ""

    @contextmanager
    def shown(self, mode: str, console: Console | None, *, single: bool = False) -> Iterator[BatchProgress]:
        """Show it while the block runs. console: where a bar may be drawn, None where it would get into data; single:
        of one file too."""
        self._lines = mode == "plain"
        wanted = mode == "auto" and is_terminal(sys.stderr) and not loudness.quiet and not loudness.debug
        if not wanted or console is None or (self.total < 2 and not single):
            yield self
            return
        columns = (SpinnerColumn(), BarColumn(bar_width=16), TextColumn("{task.description}", markup=False))
        bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        with bar, lines_through(lambda line: console.print(plain(line, ""))):
            self._bar, self._task = bar, bar.add_task(self._text(""), total=self.total, completed=self.done)
            yield self

    def advance(self, path: str, *, views: int, failed: bool) -> None:
        """One more file is through."""
        self.done += 1
        self.views += views
        self.failed += failed
        self._share, self._place = 0.0, ""
        self._show(path, self.done)

    def advance_many(self, files: int, *, views: int, failed: int) -> None:
        """Some more files are through, of which nobody knows which was the last."""
        self.done += files
        self.views += views
        self.failed += failed
        self._show("", self.done)

    def within(self, path: str, at: float, total: float) -> None:
        """So many seconds of so many of the file that is being done are through."""
        self._share = min(at / total, 1.0) if total > 0 else 0.0
        behind, whole = (clock(seconds, digits=0, hours=1) for seconds in (at, total))
        self._place = f"{behind} of {whole}" if total > 0 else behind
        self._show(path, self.done + self._share)

    def _show(self, path: str, completed: float) -> None:
        name = path.replace("\\", "/").rsplit("/", 1)[-1]
        if self._bar is not None:
            self._bar.update(self._task, completed=completed, description=self._text(name))
        elif self._lines and monotonic() - self._said >= PLAIN_SECONDS:
            self._said = monotonic()
            say(f"videomae: {self._text(name)}")

    @property
    def seconds_left(self) -> float | None:
        """How long the rest may take; None while nothing tells."""
        return self._left_after(monotonic() - self._began)

    def _left_after(self, seconds: float) -> float | None:
        done = self.done + self._share
        if not (self.views or self._share) or not seconds:  # files that fail at once say nothing about the others
            return None
        return seconds / (done - self._first) * (self.total - done)

    def _text(self, name: str) -> str:
        words = [f"{self.done}/{self.total} files"] if self.total > 1 else []
        seconds = monotonic() - self._began
        if self._place:
            words.append(self._place)
        left = self._left_after(seconds)
        if left is not None:
            words += [f"{self.views / seconds:.1f} clips/s"] if self.views else []
            words.append(f"{duration(left)} left")
        if self.failed:
            words.append(f"{self.failed} failed")
        if name:
            words.append(plain(name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…", "").plain)
        return ", ".join(words)

"""Shows the progress of a batch: a bar on a terminal, lines for a log, or nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.text import Text

from videomae_cli.cli.terminal.console import duration, lines_through, loudness, redraws, say
from videomae_cli.cli.terminal.display import plain, print_lines, shortened, spinner_name
from videomae_cli.cli.terminal.estimator import Estimator, speed
from videomae_cli.system import every
from videomae_cli.writers.clock import clock

PLAIN_SECONDS = 10.0
NAME_WIDTH = 20
# The part of a bar that is still to come: faint on light and dark backgrounds alike, which no one colour is.
TRACK = "dim"
# If the model has waited this long for its next batch, "decoding" is shown.
WAITING_SECONDS = 5.0


class BatchProgress:
    """Counts files and clips of this run, and shows the progress from time to time.

    done: files finished by an earlier run; watched: whether `batch_begun` and `batch_ended` are called for every batch
    of the model, from which come the rate and whether the model or the decoder is being waited for; then: what is done after
    the last file, such as "fitting", shown in place of its name; now: a clock, in seconds.
    """

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        failed: int = 0,
        watched: bool = False,
        then: str = "",
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.total, self.done, self.failed, self.views = total, done, failed, 0
        self._then = then
        self._first, self._now = done, now
        self._clips, self._films = Estimator(now), Estimator(now)
        self._clips_done = 0  # clips that the model has processed, including those of unfinished files
        self._model = _ModelState(now()) if watched else None
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._lines = False
        self._said, self._saying = now(), threading.Lock()
        self._name = ""
        self._share = 0.0
        self._place = ""

    def resume(self, done: int, failed: int) -> None:
        """Count the files that an earlier run has finished, and those of them that failed."""
        self.done = self._first = done
        self.failed = failed

    @contextmanager
    def shown(self, mode: str, console: Console | None, *, single: bool = False) -> Iterator[BatchProgress]:
        """Show the progress during the block.

        console: where a bar may be drawn, None if that would mix with data; single: also show it for a single file.
        """
        if mode == "plain":
            self._lines = True
            with every(PLAIN_SECONDS, self._say_if_due):
                yield self
            return
        wanted = mode == "auto" and redraws(sys.stderr) and not loudness.quiet and not loudness.debug
        if not wanted or console is None or (self.total < 2 and not single):
            yield self
            return
        drawn = drawn_bar(console, self.text, width=16, total=self.total, completed=self.done)
        with drawn as (self._bar, self._task):
            yield self

    def advance(self, path: str, *, views: int, failed: bool) -> None:
        """Count one more file as done."""
        self._name = path.replace("\\", "/").rsplit("/", 1)[-1]
        self._share, self._place = 0.0, ""
        self._count(1, views, int(failed))

    def advance_many(self, files: int, *, views: int, failed: int) -> None:
        """Count several more files as done, when it is not known which came last."""
        self._name = ""
        self._count(files, views, failed)

    def within(self, path: str, at: float, total: float) -> None:
        """Note how many seconds of the current file have been processed, and of how many."""
        self._name = path.replace("\\", "/").rsplit("/", 1)[-1]
        self._share = min(at / total, 1.0) if total > 0 else 0.0
        behind, whole = (clock(seconds, digits=0, hours=1) for seconds in (at, total))
        self._place = f"{behind} of {whole}" if total > 0 else behind
        if self._share:
            self._films.moved(self.done + self._share)
        self._show()

    @property
    def seconds_left(self) -> float | None:
        """The estimated seconds for the remaining files; None while there is too little data."""
        if (left := self._films.left(self.total - self.done - self._share)) is not None:
            return left
        if not self.views:  # files that fail immediately say nothing about the others
            return None
        each = self.views / (self.done - self._first)
        return self._clips.left(max(0.0, each * (self.total - self.done) - (self._clips_done - self.views)))

    def text(self) -> str:
        """Format the progress: "12/61 files, 3.1 clips/s, 4 min left, 1 failed, clip.mp4"."""
        words = [f"{self.done}/{self.total} files"] if self.total > 1 else []
        words += [self._place] if self._place else []
        words += self._pace_words()
        if self.failed:
            words.append(f"{self.failed} failed")
        if self._then and self.done == self.total:
            words.append(self._then)
        elif self._name:
            words.append(shortened(plain(self._name, "").plain, NAME_WIDTH))
        return ", ".join(words)

    def _pace_words(self) -> list[str]:
        words = []
        if self._model is not None and self.done < self.total:
            words += self._model.words(self._now())
        if (rate := self._clips.rate) is not None:
            words.append(speed(rate, "clip"))
        if (left := self.seconds_left) is not None:
            words.append(f"{duration(left)} left")
        return words

    def _count(self, files: int, views: int, failed: int) -> None:
        self.done += files
        self.views += views
        self.failed += failed
        if self._model is None:
            self._clips_done = self.views
            if views:
                self._clips.moved(self._clips_done)
        self._show()

    def batch_begun(self) -> None:
        """Note that the model has been given a batch."""
        assert self._model is not None, "it is watched"
        self._model.running, self._model.since = True, self._now()

    def batch_ended(self, clips: int) -> None:
        """Note that the model has finished a batch of this many clips."""
        assert self._model is not None, "it is watched"
        self._clips_done += clips
        self._clips.moved(self._clips_done)
        self._model.running, self._model.since = False, self._now()
        self._model.batches += 1
        self._show()

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done + self._share)
        self._say_if_due()

    def _say_if_due(self) -> None:
        with self._saying:
            if self._lines and self._now() - self._said >= PLAIN_SECONDS:
                self._said = self._now()
                say(f"videomae: {self.text()}")


class _ModelState:
    """The model's current state: busy or waiting. since: when it began."""

    def __init__(self, since: float) -> None:
        self.since, self.running, self.batches = since, False, 0

    def words(self, now: float) -> list[str]:
        """Say what is being waited for, if the wait is long enough to mention."""
        if self.running:
            return [] if self.batches else ["first batch"]
        return ["decoding"] if not self.batches or now - self.since >= WAITING_SECONDS else []


class Words(ProgressColumn):
    """A progress column whose text is computed at every refresh, so that times stay true while nothing happens."""

    def __init__(self, text: Callable[[Task], str]) -> None:
        self._words = text
        super().__init__()

    def render(self, task: Task) -> Text:
        return Text(self._words(task))


@contextmanager
def drawn_bar(
    console: Console, text: Callable[[], str], *, width: int, total: int, completed: int = 0
) -> Iterator[tuple[Progress, TaskID]]:
    """Draw a spinner, a bar and a text during the block, with all lines above them."""
    columns = (SpinnerColumn(spinner_name(console)), BarColumn(bar_width=width, style=TRACK), Words(lambda _: text()))
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    with bar, lines_through(print_lines(console)):
        yield bar, bar.add_task("", total=total, completed=completed)

"""Shows downloads: a line that says what is downloaded, and on a terminal a bar with rate and time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from videomae_cli.assembly import find_model
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.estimator import Estimator
from videomae_cli.hub import DownloadListener, PlannedDownload, ResolvedSource, licence_text
from videomae_cli.visible import byte_size, visible

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, Task, TaskID

# Columns for "999.9/999.9 bytes" and a space before it; of the shortest name; of a terminal on which bars and rates are shown.
_BYTES_WIDTH, _LEAST_NAME, _ROOM_FOR_BARS = 18, 8, 70


@contextmanager
def shown(check: Callable[[], object] = lambda: None) -> Iterator[DownloadListener]:
    """Yield a listener that shows downloads on stderr, except with `--quiet`.

    check: called before anything is downloaded.
    """
    with ExitStack() as stack:
        yield _Shown(stack, check)


def bring(name: str, revision: str | None, *, check: Callable[[], object] = lambda: None) -> ResolvedSource:
    """Find a model, downloading it if necessary, and show name, size, licence and progress.

    check: called after the hub has answered, before anything is downloaded. It raises errors that a user shouldn't have
    to wait for the download to see. Since it may take long itself, it is not called before the hub has answered:
    without a network, nobody should wait for it. Commands call this before they load the model and before they draw
    anything else. Raises ModelNotFoundError or DownloadError.
    """
    with shown(check) as listener:
        return find_model(name, revision, listener)


class _Shown(DownloadListener):
    def __init__(self, stack: ExitStack, check: Callable[[], object]) -> None:
        self._stack, self._check = stack, check
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._estimators: dict[TaskID, Estimator] = {}

    def asking(self, hub_id: str) -> None:
        if console.is_terminal(sys.stderr):
            console.note(f"asking the hub about {hub_id} ...")

    def fetching(self, download: PlannedDownload) -> None:
        self._check()
        console.note(f"fetching {download.hub_id}: {_amount(download)}, licence {licence_text(download.licence)}")

    def note(self, text: str) -> None:
        console.note(text)

    def progress(self, file: str, done: int, total: int | None) -> None:
        if console.loudness.quiet or not console.redraws(sys.stderr):
            return
        if self._progress is None:
            self._progress = self._start()
        if file not in self._tasks:
            # Bytes from an earlier run count as done, but not towards the speed.
            self._tasks[file] = self._progress.add_task(visible(file), total=total, completed=done)
            self._estimators[self._tasks[file]] = Estimator()
        self._estimators[self._tasks[file]].moved(done)
        self._progress.update(self._tasks[file], completed=done)

    def _left(self, task: Task) -> str:
        """Format the estimated time left for a file; empty while there is too little data."""
        estimator = self._estimators.get(task.id)
        left = estimator.left(task.remaining) if estimator is not None and task.remaining is not None else None
        return "" if left is None or task.finished else f"{console.duration(left)} left"

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import Progress

        from videomae_cli.cli.terminal.display import print_lines

        terminal = Console(stderr=True, highlight=False)
        self._stack.enter_context(console.lines_through(print_lines(terminal)))
        return self._stack.enter_context(Progress(*self._columns(terminal.width), console=terminal))

    def _columns(self, width: int) -> list[ProgressColumn]:
        """Return what is shown of a file on a terminal of `width` columns: where there is little room, its name and its bytes."""
        from rich.progress import BarColumn, DownloadColumn
        from rich.table import Column

        from videomae_cli.cli.terminal.display import shortened
        from videomae_cli.cli.terminal.progress import TRACK, Words

        names = max(width - _BYTES_WIDTH, _LEAST_NAME)
        name = Words(lambda task: shortened(task.description, names))
        size = DownloadColumn(table_column=Column(no_wrap=True))
        if width < _ROOM_FOR_BARS:
            return [name, size]
        return [name, BarColumn(bar_width=None, style=TRACK), size, Words(_speed), Words(self._left)]


def _speed(task: Task) -> str:
    """Format the rate of a file's download; empty while it is not known, as of a file that came at once."""
    speed = task.finished_speed or task.speed
    return f"{byte_size(round(speed))}/s" if speed else ""


def _amount(download: PlannedDownload) -> str:
    whole = "size unknown" if download.size is None else byte_size(download.size)
    return f"{whole} ({byte_size(download.here)} of it here already)" if download.here else whole

"""Shows downloads: a line that says what is downloaded, and on a terminal a bar with rate and time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from videomae_cli.api.loaded import find_model
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.estimator import Estimator
from videomae_cli.hub import DownloadListener, PlannedDownload, ResolvedSource, licence_text
from videomae_cli.visible import byte_size, visible

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID


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
        if console.loudness.quiet or not console.is_terminal(sys.stderr):
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
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TransferSpeedColumn,
        )

        from videomae_cli.cli.terminal.display import print_lines
        from videomae_cli.cli.terminal.progress import Words

        terminal = Console(stderr=True, highlight=False)
        self._stack.enter_context(console.lines_through(print_lines(terminal)))
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            Words(self._left),
        )
        return self._stack.enter_context(Progress(*columns, console=terminal))


def _amount(download: PlannedDownload) -> str:
    whole = "size unknown" if download.size is None else byte_size(download.size)
    return f"{whole} ({byte_size(download.here)} of it here already)" if download.here else whole

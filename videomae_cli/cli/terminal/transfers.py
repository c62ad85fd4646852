"""Downloads as the user sees them: a bar with rate and time left on a terminal, a line a file elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from videomae_cli import filesystem
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.estimator import Estimator
from videomae_cli.errors import ModelNotFoundError
from videomae_cli.hub import DownloadListener, ResolvedSource, resolve
from videomae_cli.video.content import HEAD_BYTES, Content, content_of
from videomae_cli.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID


# A number of bytes at the beginning of a file of weights may look like the beginning of a video.
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def look_into(file: Path) -> Content | None:
    """What kind of video or sound a file is; None for anything else."""
    try:
        with file.open("rb") as stream:
            content = content_of(stream.read(HEAD_BYTES))
    except OSError:
        return None  # whoever loads it says what is wrong
    return content if content is not None and content.family in ("video", "sound") else None


@contextmanager
def shown() -> Iterator[DownloadListener]:
    """A listener that draws on stderr; nothing is drawn before something is fetched, and nothing with `--quiet`."""
    with ExitStack() as stack:
        yield _Shown(stack)


def bring(name: str, revision: str | None) -> ResolvedSource:
    """Find a model, downloading it if it is not on this disk, as the user should see it: licence first, then how it goes.

    For commands to call before they load it, and before they draw anything of their own.
    Raises ModelNotFoundError or DownloadError.
    """
    with shown() as listener:
        source = resolve(name, revision=revision, listener=listener)
    if filesystem.is_file(source.path) and source.path.suffix not in WEIGHTS and (content := look_into(source.path)):
        raise ModelNotFoundError(
            f"{name!r} is {content.words}, not a model: give a checkpoint or a model's name, and videos without an option"
        )
    return source


class _Shown(DownloadListener):
    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._estimators: dict[TaskID, Estimator] = {}
        self._told: set[str] = set()

    def asking(self, hub_id: str) -> None:
        if console.is_terminal(sys.stderr):
            console.note(f"asking the hub about {hub_id} ...")

    def note(self, text: str) -> None:
        console.note(text)

    def progress(self, file: str, done: int, total: int | None) -> None:
        if console.loudness.quiet:
            return
        if not console.is_terminal(sys.stderr):
            if file not in self._told:
                self._told.add(file)
                console.note(f"fetching {file}{_amount(done, total)}")
            return
        if self._progress is None:
            self._progress = self._start()
        if file not in self._tasks:
            # What an earlier run left counts as done, not as speed.
            self._tasks[file] = self._progress.add_task(visible(file), total=total, completed=done)
            self._estimators[self._tasks[file]] = Estimator()
        self._estimators[self._tasks[file]].moved(done)
        self._progress.update(self._tasks[file], completed=done)

    def _left(self, task: Task) -> str:
        """How long a file may still take, in words; nothing while nothing tells."""
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


def _amount(done: int, total: int | None) -> str:
    if total is None:
        return ""
    return f" ({total / 1e6:.1f} MB{f', {done / 1e6:.1f} MB of it here already' if done else ''})"

"""Reports the progress of training to a listener, whose methods a command or a notebook overrides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from videomae_cli.assembly import find_model
from videomae_cli.errors import VideoMAEError
from videomae_cli.hub import ResolvedSource

if TYPE_CHECKING:
    from videomae_cli.training.task import Task

# Called with (path, error or None) after each file.
OnFile = Callable[[str, VideoMAEError | None], None]
# Called with an event of the trainer ("tick", "step" or "epoch") and its numbers.
OnEvent = Callable[[Mapping[str, Any]], None]


class TrainingListener:
    """Receives the progress of a training run, and may stop it. Every method does nothing: override as needed.

    Methods that are context managers enclose a stage of the work, and yield the function that is called during it.
    """

    def find_model(self, name: str, revision: str | None) -> ResolvedSource:
        """Find the checkpoint that training starts from, downloading it if necessary."""
        return find_model(name, revision)

    def note(self, line: str) -> None:
        """Receive one line about what will be done."""

    def clip_failed(self, path: str, error: VideoMAEError, *, replaced: bool) -> None:
        """Called if a clip could not be read. replaced: another clip is used instead."""

    def stopping(self) -> bool:
        """Return whether to stop after the current step, saving all that is needed to resume."""
        return False

    @contextmanager
    def process(self, *, leads: bool) -> Iterator[None]:
        """Enclose the whole training. leads: whether this process is the one that prints."""
        yield

    @contextmanager
    def files(self, count: int) -> Iterator[OnFile]:
        """Enclose the check of `count` files before anything is trained."""
        yield lambda path, error: None

    @contextmanager
    def features(self, count: int) -> Iterator[OnFile]:
        """Enclose computing the features of `count` files, if only the last layer is trained."""
        yield lambda path, error: None

    @contextmanager
    def steps(self, task: Task) -> Iterator[OnEvent]:
        """Enclose the steps of a task."""
        yield lambda event: None

"""How a training tells its caller what it does: a listener, whose methods a command or a notebook overrides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from videomae_cli.errors import VideoMAEError
from videomae_cli.hub import ResolvedSource, resolve

if TYPE_CHECKING:
    from videomae_cli.training.task import Task

# (path, error or None): one more file is through.
OnFile = Callable[[str, VideoMAEError | None], None]
# An event of the trainer: "tick", "step" or "epoch", with its figures.
OnEvent = Callable[[Mapping[str, Any]], None]


class TrainingListener:
    """Hears how a training goes, and may stop it. Every method does nothing: override what is of interest.

    Methods that are context managers stand around a stage of the work, and yield what is told of it meanwhile.
    """

    def find_model(self, name: str, revision: str | None) -> ResolvedSource:
        """Find the checkpoint that training starts from, downloading it where it is not on this disk."""
        return resolve(name, revision=revision)

    def note(self, line: str) -> None:
        """One line about what will be done."""

    def clip_failed(self, path: str, error: VideoMAEError, *, replaced: bool) -> None:
        """A clip could not be read. replaced: another stands in for it."""

    def stopping(self) -> bool:
        """Whether to stop after the step at hand, with all that is needed to resume."""
        return False

    @contextmanager
    def process(self, *, leads: bool) -> Iterator[None]:
        """Around all of it. leads: whether this is the process of several that talks."""
        yield

    @contextmanager
    def files(self, count: int) -> Iterator[OnFile]:
        """Around trying `count` files before anything is trained."""
        yield lambda path, error: None

    @contextmanager
    def features(self, count: int) -> Iterator[OnFile]:
        """Around computing the features of `count` files, where only the last layer is trained."""
        yield lambda path, error: None

    @contextmanager
    def steps(self, task: Task) -> Iterator[OnEvent]:
        """Around the steps of a task."""
        yield lambda event: None

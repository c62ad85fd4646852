"""Shows the progress of `finetune` and `pretrain` on the terminal, and ends them on signals."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from videomae_cli import filesystem, system
from videomae_cli.cli.run.interrupts import handling, terminable
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.display import consoles
from videomae_cli.cli.terminal.estimator import Estimator, speed
from videomae_cli.cli.terminal.progress import BatchProgress, drawn_bar
from videomae_cli.cli.terminal.transfers import bring
from videomae_cli.errors import VideoMAEError
from videomae_cli.hub import ResolvedSource
from videomae_cli.training import Trained, TrainingListener, launched
from videomae_cli.training.listener import OnEvent, OnFile
from videomae_cli.training.run_folder import CARD, CURVES

if TYPE_CHECKING:
    from rich.progress import Progress

    from videomae_cli.training import Task

PLAIN_SECONDS = 10.0
# The figures of an epoch event that are shown, and their names here: an epoch may be too short for a "step" event.
_OF_AN_EPOCH = {"train_loss": "loss", "val_loss": "val_loss", "top1": "top1", "mAP": "mAP", "r2": "r2"}


@dataclass
class Stop:
    """Stops a training run on Ctrl-C or SIGTERM: after saving the current step, or at once on a second signal."""

    asked: bool = False

    def listening(self) -> AbstractContextManager[None]:
        """Listen for signals while the block runs."""

        def take(number: int, frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            console.note("stopping after this step (once more to stop at once)")

        return handling((signal.SIGINT, *system.terminating_signals()), take)


@dataclass
class TrainingProgress:
    """Shows the progress of training: a bar on a terminal, else a line for each epoch; lines for a log; or nothing.

    If epochs are short, only one every 10 s gets a line, besides the first and the last.
    """

    task: Task
    mode: str
    _bar: Progress | None = None
    _row: Any = None
    now: Callable[[], float] = time.monotonic
    _figures: dict[str, float] = field(default_factory=dict)
    _step: int = 0
    _apart: float = 0.0
    _evaluation: float = 0.0
    _line: str = ""
    _told: bool = False

    def __post_init__(self) -> None:
        self._said = self.now()
        # Its clock excludes the time spent scoring held-out clips.
        self._steps = Estimator(lambda: self.now() - self._apart)

    @contextmanager
    def shown(self) -> Iterator[TrainingProgress]:
        loud = console.loudness
        if self.mode != "auto" or not console.redraws(sys.stderr) or loud.quiet or loud.debug:
            yield self
            self._say()
            return
        with drawn_bar(consoles()[1], self.text, width=10, total=self.task.steps) as (self._bar, self._row):
            yield self

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show an event of the trainer."""
        if event["event"] == "tick":
            self._step = event["step"]
            self._steps.moved(self._step)
        elif event["event"] == "step":
            self._figures["loss"] = event["loss"]
        elif event["event"] == "epoch":
            self._evaluation = event["seconds"]
            self._apart += self._evaluation
            for name, shown in _OF_AN_EPOCH.items():
                if event.get(name) is not None:
                    self._figures[shown] = event[name]
        if self._bar is not None:
            self._bar.update(self._row, completed=self._step)
            return
        ends_epoch, due = event["event"] == "epoch", self.now() - self._said >= PLAIN_SECONDS
        if ends_epoch and self.mode != "none":
            self._line = self.text(ends_epoch=True)
            if due or self.mode == "plain" or not self._told:
                self._say()
        elif due and self.mode == "plain":
            self._line = self.text()
            self._say()

    def _say(self) -> None:
        """Print the pending line, if there is one."""
        if self._line and (self.mode == "plain" or not console.loudness.quiet):
            console.say(f"videomae: {self._line}")
        self._said, self._line, self._told = self.now(), "", True

    def text(self, *, ends_epoch: bool = False) -> str:
        """Format the progress: "epoch 3/100, loss 0.532, top-1 81.0%, 35 clips/s, 4 min left".

        ends_epoch: the epoch is the one that has just ended, not the next.
        """
        if not self._step:
            return "first batch"
        epochs = -(-self.task.steps // self.task.epoch)
        epoch = -(-self._step // self.task.epoch) if ends_epoch else self._step // self.task.epoch + 1
        words = [f"epoch {min(epoch, epochs)}/{epochs}"]
        shown = {
            "loss": "loss {:.3f}",
            "val_loss": "held out {:.3f}",
            "top1": "top-1 {:.1%}",
            "mAP": "mAP {:.3f}",
            "r2": "R² {:.3f}",
        }
        words += [form.format(self._figures[name]) for name, form in shown.items() if name in self._figures]
        if (rate := self._steps.rate) is not None:
            words.append(speed(rate * self.task.clips, "clip"))
        remaining = self.task.steps - self._step
        if remaining and (left := self._steps.left(remaining)) is not None:
            evaluations = epochs - self._step // self.task.epoch
            words.append(f"{console.duration(left + evaluations * self._evaluation)} left")
        return ", ".join(words)


class TerminalListener(TrainingListener):
    """Shows a training run on the terminal; Ctrl-C and SIGTERM stop it after the current step. mode: `--progress`."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._stop = Stop()

    def find_model(self, name: str, revision: str | None) -> ResolvedSource:
        return bring(name, revision)

    def note(self, line: str) -> None:
        console.note(line)

    def clip_failed(self, path: str, error: VideoMAEError, *, replaced: bool) -> None:
        console.error(f"{path}: {error}{' (another clip stands in)' if replaced else ''}")

    def stopping(self) -> bool:
        return self._stop.asked

    @contextmanager
    def process(self, *, leads: bool) -> Iterator[None]:
        self._mode = self._mode if leads else "none"
        with quiet_unless(leads):
            yield

    @contextmanager
    def files(self, count: int) -> Iterator[OnFile]:
        shown = BatchProgress(count, then="fitting")
        with shown.shown(self._mode, consoles()[1]):
            yield lambda path, error: shown.advance(path, views=error is None, failed=error is not None)

    @contextmanager
    def features(self, count: int) -> Iterator[OnFile]:
        shown = BatchProgress(count, then="fitting")
        piped = self._mode == "auto" and not (console.redraws(sys.stderr) or console.loudness.quiet)
        with terminable(), shown.shown("plain" if piped else self._mode, consoles()[1]):
            yield lambda path, error: shown.advance(path, views=1, failed=error is not None)

    @contextmanager
    def steps(self, task: Task) -> Iterator[OnEvent]:
        shown = TrainingProgress(task, self._mode)
        with self._stop.listening(), shown.shown():
            yield shown


def stopped(trained: Trained) -> bool:
    """Return whether there is no result to report here: a dry run, or not the leading process. Raises KeyboardInterrupt
    after Ctrl-C."""
    if trained.ended == "interrupted":
        raise KeyboardInterrupt(
            f"interrupted: step {trained.step} of {trained.steps} is kept in {trained.folder}; --resume continues from there"
        )
    return trained.ended == "dry run" or not launched().leads


def say_written(folder: Path) -> None:
    """Say on a terminal what a run has left in its folder."""
    described = [name for name in (CURVES, "confusion.png", "scatter.png", CARD) if filesystem.is_file(folder / name)]
    console.wrote(folder, "checkpoint", *described, piped=False)


@contextmanager
def quiet_unless(leads: bool) -> Iterator[None]:
    """Silence all but the leading process of a distributed run; the others still show errors."""
    before = console.loudness.quiet
    console.loudness.quiet = before or not leads
    try:
        yield
    finally:
        console.loudness.quiet = before

"""What `finetune` and `pretrain` share: processes, the folder of a run, the loop as a person sees it, and how it ends."""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from videomae_cli import __version__, system
from videomae_cli.cli import console, streams
from videomae_cli.cli.estimator import Estimator, speed
from videomae_cli.errors import OptionError, TrainingError, VideoMAEError
from videomae_cli.jobs import Settings
from videomae_cli.video import Decoder, SamplingSpec, auto_workers

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from videomae_cli.training import Loop, Run, Share, Task, TaskOptions

PLAIN_SECONDS = 10.0
# More files than there will ever be cores: as many decoders as the machine has.
MANY = 1 << 20


@dataclass
class Stop:
    """Ctrl-C or SIGTERM: the step is finished and kept first; the second time it ends at once."""

    asked: bool = False

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Signals, while the block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return

        def take(number: int, frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            console.note("stopping after this step (once more to stop at once)")

        before = {number: signal.signal(number, take) for number in (signal.SIGINT, *system.terminating_signals())}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass
class TrainingProgress:
    """How far training is: a bar on a terminal, lines for a log, or nothing."""

    task: Task
    mode: str
    _bar: Progress | None = None
    _row: Any = None
    now: Callable[[], float] = time.monotonic
    _figures: dict[str, float] = field(default_factory=dict)
    _step: int = 0
    _apart: float = 0.0
    _evaluation: float = 0.0

    def __post_init__(self) -> None:
        self._said = self.now()
        # Its clock stands still while held-out clips are scored.
        self._steps = Estimator(lambda: self.now() - self._apart)

    @contextmanager
    def shown(self) -> Iterator[TrainingProgress]:
        from videomae_cli.cli.display import consoles, print_lines, spinner_name

        loud = console.loudness
        if self.mode != "auto" or not console.is_terminal(sys.stderr) or loud.quiet or loud.debug:
            yield self
            return
        from rich.progress import BarColumn, Progress, SpinnerColumn

        from videomae_cli.cli.progress import Words

        target = consoles()[1]
        columns = (SpinnerColumn(spinner_name(target)), BarColumn(bar_width=10), Words(lambda _: self.text()))
        bar = Progress(*columns, console=target, transient=True, redirect_stdout=False, redirect_stderr=False)
        with bar, console.lines_through(print_lines(target)):
            self._bar, self._row = bar, bar.add_task("", total=self.task.steps)
            yield self

    def __call__(self, event: Mapping[str, Any]) -> None:
        """An event of the trainer."""
        if event["event"] == "tick":
            self._step = event["step"]
            self._steps.moved(self._step)
        elif event["event"] == "step":
            self._figures["loss"] = event["loss"]
        elif event["event"] == "epoch":
            self._evaluation = event["seconds"]
            self._apart += self._evaluation
            for name in ("top1", "mAP", "r2", "val_loss"):
                if event.get(name) is not None:
                    self._figures[name] = event[name]
        if self._bar is not None:
            self._bar.update(self._row, completed=self._step)
        elif self.mode == "plain" and (event["event"] == "epoch" or self.now() - self._said >= PLAIN_SECONDS):
            self._said = self.now()
            console.say(f"videomae: {self.text()}")

    def text(self) -> str:
        """epoch 3/100, loss 0.532, top-1 81.0%, 35 clips/s, 4 min left"""
        if not self._step:
            return "first batch"
        epochs = -(-self.task.steps // self.task.epoch)
        words = [f"epoch {min(self._step // self.task.epoch + 1, epochs)}/{epochs}"]
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
        if (left := self._steps.left(self.task.steps - self._step)) is not None:
            evaluations = epochs - self._step // self.task.epoch
            words.append(f"{console.duration(left + evaluations * self._evaluation)} left")
        return ", ".join(words)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What `finetune` and `pretrain` are told alike: the options of a command, as given."""

    data: str
    output: Path
    labels: Path | None
    targets: tuple[str, ...]
    val: float
    check: bool
    recipe: str
    patience: int | None
    seed: int
    sampling: SamplingSpec
    device: str
    dtype: str
    compiled: bool
    gradient_checkpointing: bool
    heads: int | None
    timeout: float
    memory: int | None
    workers: int | None
    epochs: int | None
    batch: int | None
    set_values: tuple[str, ...]
    resume: bool
    overwrite: bool
    dry_run: bool
    progress: str
    debug: bool

    @property
    def decoders(self) -> int:
        """Decoding processes of this training process."""
        return self.workers or auto_workers(MANY)

    def decoder(self) -> Decoder:
        """What decodes for this training process, to be entered."""
        return Decoder(timeout=self.timeout or None, memory=self.memory, workers=self.decoders, debug=self.debug)

    def loop(self, device: torch.device, dtype: str) -> Loop:
        """How the trainer is to run. dtype: as `pick_dtype` has it."""
        from videomae_cli.training import Loop

        return Loop(
            device=device,
            dtype=dtype,
            seed=self.seed,
            patience=self.patience,
            compiled=self.compiled,
        )

    def run_own_task(self, command: str, share: Share, device: torch.device, dtype: str) -> None:
        """Train the task in the Python file that stands in the place of the data."""
        from videomae_cli.training import Run, TaskOptions

        options = TaskOptions(
            values=parse_settings(self.set_values),
            seed=self.seed,
            epochs=self.epochs,
            batch=self.batch,
            share=share,
            workers=self.decoders,
        )
        task = own_task(self.data, options)
        console.note(f"{self.data}: {console.counted(task.steps, 'step')}, evaluated every {task.epoch}")
        if self.dry_run:
            return
        run = Run(self.output, resume=self.resume, overwrite=self.overwrite, writes=share.leads)
        with run:
            try:
                train(task, run, self.loop(device, dtype), share=share, command=command, progress=self.progress)
                if share.leads:
                    task.finish(run.folder)
            finally:
                task.close()
        if share.leads:
            streams.remark(f"{self.output}: {console.counted(task.steps, 'step')} done")


def train(task: Task, run: Run, loop: Loop, *, share: Share, command: str, progress: str) -> str:
    """Train, from where an earlier run was, to the end. Returns how it ended; "interrupted" has been told already.

    Raises TrainingError, OutputError.
    """
    from videomae_cli.training import Trainer

    settings = settings_of(command, task.settings, loop)
    state = run.begin(settings)
    if state is not None and share.leads:
        console.note(f"going on at step {state['done']} of {task.steps}")
    shown = TrainingProgress(task, progress if share.leads else "none")
    with Stop().listening() as stop, shown.shown():
        trainer = Trainer(task, run, loop, share=share, stop=lambda: stop.asked, told=shown)
        ended = trainer(state)
    if share.leads:
        run.record(
            settings, {"ended": ended, "step": trainer.done, "best": trainer.best, **_best(trainer.best_figures)}
        )
    if ended == "interrupted":
        raise KeyboardInterrupt(
            f"interrupted: step {trainer.done} of {task.steps} is kept in {run.folder}; --resume goes on from it"
        )
    return ended


def settings_of(command: str, values: Mapping[str, Any], loop: Loop | None = None) -> Settings:
    """All that decides what comes out."""
    how = {"dtype": loop.dtype, "device": loop.device.type, "patience": loop.patience} if loop is not None else {}
    return Settings(command, __version__, {**values, **how})


def _best(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {"figures": {name: value for name, value in figures.items() if name != "score"}} if figures else {}


def pick_dtype(dtype: str, device: torch.device) -> str:
    """float32, or bfloat16 where CUDA has it. Says so where this machine is slow at it. Raises OptionError."""
    from videomae_cli.engines import pick_engine

    if dtype not in ("auto", "float32", "bfloat16"):
        raise OptionError(f"unknown dtype {dtype!r} for training: choose auto, float32 or bfloat16")
    engine = pick_engine("torch", dtype, device)
    if engine.slow:
        console.note(engine.slow)
    return engine.dtype if engine.dtype == "bfloat16" else "float32"


def own_task(file: str, options: TaskOptions) -> Task:
    """What `task(options)` in a Python file makes. Raises TrainingError where it can't be run, or makes none."""
    from videomae_cli.training import Task

    path = Path(file)
    if not path.is_file():
        raise TrainingError(f"{file} is not there: a task of your own is a Python file with a function task(options)")
    where = str(Path.cwd())
    if where not in sys.path:
        sys.path.insert(0, where)  # so that it can import what is beside it, as `python -m` would
    spec = importlib.util.spec_from_file_location(f"videomae_task_{path.stem}", path)
    assert spec is not None, "it ends in .py"
    assert spec.loader is not None, "it is a file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        made = module.task(options)
    except VideoMAEError:
        raise
    except Exception as error:
        console.trace()
        raise TrainingError(f"{file}: {type(error).__name__}: {error} (--debug shows where)") from None
    if not isinstance(made, Task):
        raise TrainingError(
            f"{file}: task(options) must return a videomae_cli.training.Task, not {type(made).__name__}"
        )
    return made


def parse_settings(pairs: Sequence[str] | None) -> dict[str, str]:
    """NAME=VALUE pairs. Raises OptionError."""
    values = {}
    for pair in pairs or ():
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise OptionError(f"--set needs NAME=VALUE, not {pair!r}")
        values[name] = value
    return values


@contextmanager
def quiet_unless(leads: bool) -> Iterator[None]:
    """Of several processes only the first talks; errors of the others are told all the same."""
    before = console.loudness.quiet
    console.loudness.quiet = before or not leads
    try:
        yield
    finally:
        console.loudness.quiet = before

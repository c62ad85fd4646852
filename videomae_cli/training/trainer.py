"""Runs the training loop (steps, epochs, saved states) for any task."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from videomae_cli.errors import TrainingError, Wording
from videomae_cli.pipeline.devices import memory_reported
from videomae_cli.training.curves import drawing
from videomae_cli.training.distributed import Share
from videomae_cli.training.listener import TrainingListener
from videomae_cli.training.run_folder import ANEW, Run
from videomae_cli.training.task import Task
from videomae_cli.training.terms import Loop, Trained, settings_of

Event = Mapping[str, Any]
_SMOOTHING = 0.98
_LESS_MEMORY = Wording("lower {@batch_size} and raise {@accumulate} by as much, or add {@gradient_checkpointing:True}")


class _Loss(nn.Module):
    """Wraps a task's loss as a module, as DistributedDataParallel requires."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.module = task.module
        self._task = task

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self._task.loss(batch, step)


@dataclass
class Trainer:
    """Trains `task` into the folder `run`. stop: called after each step; True interrupts the run, which can be resumed.

    on_event: called with every event: {"event": "step"}, {"event": "epoch"} and {"event": "saved"}, the first two as
    metrics.jsonl has them, and at every single step {"event": "tick"}.
    """

    task: Task
    run: Run
    loop: Loop
    share: Share = field(default_factory=Share)
    stop: Callable[[], bool] = lambda: False
    on_event: Callable[[Event], None] = lambda event: None

    def __post_init__(self) -> None:
        self.done = 0
        self.best: float | None = None
        self.best_figures: Mapping[str, Any] = {}
        self.stale = 0
        self.stopped = False
        self.task.module.to(self.loop.device)
        self.average = deepcopy(self.task.module) if self.task.average_decay(1) is not None else None
        self.optimizers = self.task.optimizers()
        self._peaks = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        self._means: dict[str, float] = {}
        self._bad = torch.zeros((), dtype=torch.bool, device=self.loop.device)
        self._saved_at = time.monotonic()

    def __call__(self, state: dict[str, Any] | None) -> str:
        """Train to the end and return "finished", "stopped early" or "interrupted".

        state: an earlier run's, to resume from. Raises TrainingError; everything saved before that is kept.
        """
        if state is not None:
            self._restore(state)
        else:
            self.task.begin()
            if self.average is not None:
                self.average.load_state_dict(self.task.module.state_dict())
        loss = self._wrapped()
        count = self.task.accumulate
        batches = self.task.batches(self.done * count)
        while self.done < self.task.steps and not self.stopped:
            began = time.monotonic()
            taken = list(itertools.islice(batches, count))
            if len(taken) < count:
                raise TrainingError.about(
                    "data", "the data ended at step {done} of {steps}", done=self.done, steps=self.task.steps
                )
            waited = time.monotonic() - began
            self._step(loss, taken)
            self.on_event({"event": "tick", "step": self.done, "waited": waited, "seconds": time.monotonic() - began})
            self._after_step()
            if self._asked_to_stop():
                self._save()
                return "interrupted"
        return "stopped early" if self.stopped else "finished"

    @property
    def evaluated(self) -> nn.Module:
        """Return the module to evaluate: with averaged weights if there are any."""
        return self.average or self.task.module

    def _wrapped(self) -> Callable[[Any, int], tuple[Tensor, dict[str, Tensor]]]:
        loss: nn.Module = _Loss(self.task)
        if self.share.world > 1:
            devices = [self.loop.device.index] if self.loop.device.type == "cuda" else None
            loss = DistributedDataParallel(loss, device_ids=devices, broadcast_buffers=False)
        return torch.compile(loss) if self.loop.compiled else loss

    def _step(self, loss: Callable[[Any, int], tuple[Tensor, dict[str, Tensor]]], batches: list[Any]) -> None:
        """Take one step of the optimizers."""
        # All random draws in a step depend on its number alone, so that a resumed run draws the same.
        torch.manual_seed(_mixed(self.loop.seed, self.done, self.share.rank))
        rate = self.task.rate(self.done)
        for optimizer, peaks in zip(self.optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
            optimizer.zero_grad(set_to_none=True)
        self.task.module.train()
        last = len(batches) - 1
        with memory_reported(self.loop.device, TrainingError, "{subject} has too little memory", _LESS_MEMORY):
            for number, batch in enumerate(batches):
                # Processes exchange gradients only with the last batch of a step.
                with loss.no_sync() if isinstance(loss, DistributedDataParallel) and number < last else nullcontext():
                    with torch.autocast(self.loop.device.type, torch.bfloat16, enabled=self.loop.dtype == "bfloat16"):
                        value, figures = loss(batch, self.done)
                    (value / len(batches) if len(batches) > 1 else value).backward()  # type: ignore[no-untyped-call]
                self._note(value.detach(), figures, len(batches))
            # The gradient norm is computed over all processes, so all of them notice a non-finite value. An infinite
            # bound only measures the norm and clips nothing.
            bound = math.inf if self.task.clip_norm is None else self.task.clip_norm
            norm = torch.nn.utils.clip_grad_norm_(self.task.clipped(), bound)
            self._bad |= ~torch.isfinite(norm)
            for optimizer in self.optimizers:
                optimizer.step()
        self.done += 1
        self._follow()

    def _note(self, value: Tensor, figures: Mapping[str, Tensor], parts: int) -> None:
        self._bad |= ~torch.isfinite(value)
        now = {"loss": value, **{name: figure.detach() for name, figure in figures.items()}}
        if self.done % self.loop.log_steps and self.loop.device.type != "cpu":
            return  # reading a number from a GPU makes the program wait for it
        weight = (1 - _SMOOTHING) / parts
        for name, figure in now.items():
            number = float(figure)
            before = self._means.get(name, number)
            self._means[name] = before + weight * (number - before) if math.isfinite(number) else before

    def _follow(self) -> None:
        """Move the averaged weights towards the trained ones."""
        if self.average is None:
            return
        decay = self.task.average_decay(self.done)
        assert decay is not None, "there is an average"
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.task.module.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)

    def _asked_to_stop(self) -> bool:
        """Return whether to stop, the same in all processes.

        They don't agree on it at every step, since that would take longer than the step itself.
        """
        if self.share.world > 1 and self.done % self.loop.log_steps:
            return False
        return self.share.agree(self.stop())

    def _after_step(self) -> None:
        ends = self.done == self.task.steps
        if self.done % self.loop.log_steps == 0 or ends:
            self._check()
            rate = float(max(group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups))
            event = {"event": "step", "step": self.done, "epoch": self.done / self.task.epoch, "lr": rate}
            self._tell({**event, **{name: float(f"{mean:.6g}") for name, mean in self._means.items()}})
        if self.done % self.task.epoch == 0 or ends:
            self._check()
            self._end_epoch()
            self._save()
        elif time.monotonic() - self._saved_at > self.loop.save_seconds and not bool(self._bad):
            self._save()

    def _end_epoch(self) -> None:
        """Evaluate, save the best checkpoint, and check whether the score still improves."""
        began = time.monotonic()
        self.evaluated.eval()
        figures = self.task.evaluate(self.evaluated)
        epoch = math.ceil(self.done / self.task.epoch)
        event = {"event": "epoch", "step": self.done, "epoch": epoch, "train_loss": self._means.get("loss")}
        better = figures is None or self.best is None or figures["score"] > self.best
        if figures is not None:
            self.stale = 0 if better else self.stale + 1
            if better:
                self.best, self.best_figures = float(figures["score"]), dict(figures)
        if self.share.leads:
            if better:
                self.task.export(self.evaluated, self.run.folder)
            self.task.export(self.evaluated, self.run.last)
        self._tell({**event, **(figures or {}), "best": self.best, "seconds": round(time.monotonic() - began, 3)})
        self.stopped = self.loop.patience is not None and self.stale >= self.loop.patience

    def _tell(self, event: Event) -> None:
        self.run.note(event)
        self.on_event(event)

    def _check(self) -> None:
        """Raise TrainingError if the loss is no longer finite, before any of these weights are saved."""
        if self.share.agree(bool(self._bad)):
            kept = "the best checkpoint so far is kept" if self.best is not None else "nothing is kept"
            raise TrainingError.about(
                "loss",
                "the loss is no longer a number at step {done}",
                done=self.done,
                remedy=Wording("try a lower {@lr}, or {@dtype:float32} ({kept})", kept=kept),
            )

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if not self.share.leads:
            return
        self.run.save(
            {
                "done": self.done,
                "module": self.task.module.state_dict(),
                "average": self.average.state_dict() if self.average is not None else None,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "means": self._means,
                "best": self.best,
                "best_figures": dict(self.best_figures),
                "stale": self.stale,
                "stopped": self.stopped,
            }
        )
        self.on_event({"event": "saved", "step": self.done})

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.task.module.load_state_dict(state["module"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.done, self._means = int(state["done"]), dict(state["means"])
            self.best, self.best_figures = state["best"], state["best_figures"]
            self.stale, self.stopped = int(state["stale"]), bool(state["stopped"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            reason, problem = "{subject} doesn't fit this run ({problem})", str(error).splitlines()[0][:100]
            raise TrainingError.about(self.run.state_file, reason, problem=problem, remedy=ANEW) from None


def _mixed(*numbers: int) -> int:
    """Mix several numbers into a seed of 63 bits, so that similar numbers give very different seeds."""
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:
        mixed = (mixed ^ (number + 0x9E3779B97F4A7C15 + (mixed << 6) + (mixed >> 2))) * 0xBF58476D1CE4E5B9 % 2**64
    return mixed >> 1


def train(task: Task, run: Run, loop: Loop, *, share: Share, command: str, listener: TrainingListener) -> Trained:
    """Train to the end, resuming an earlier run if there is one, or until the listener stops it ("interrupted").

    Raises TrainingError, OutputError.
    """
    settings = settings_of(command, task.settings, loop)
    state = run.begin(settings)
    if state is not None:
        listener.note(f"going on at step {state['done']} of {task.steps}")
    with listener.steps(task) as on_event, drawing(run, on_event) if share.leads else nullcontext(on_event) as told:
        trainer = Trainer(task, run, loop, share=share, stop=listener.stopping, on_event=told)
        ended = trainer(state)
    if share.leads:
        best = {name: value for name, value in trainer.best_figures.items() if name != "score"}
        about = {"figures": best} if trainer.best_figures else {}
        run.record(settings, {"ended": ended, "step": trainer.done, "best": trainer.best, **about})
    return Trained(run.folder, ended, trainer.done, task.steps)

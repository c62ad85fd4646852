"""Defines what is trained: a `Task` has the modules, the batches and the loss; the `Trainer` has the loop.

Users can write a task of their own, which gets everything that the loop offers (resuming, several processes,
accumulation, bfloat16, averaged weights, metrics): a Python file with `def task(options) -> Task`, given to `videomae
finetune` or `pretrain` in place of the data. `recipes/camera_motion/` has two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn, optim

from videomae_cli.training.distributed import Share


@dataclass(frozen=True)
class TaskOptions:
    """The command line's options for a user's own task.

    values: from `--set NAME=VALUE`; seed, epochs and batch: if given; share: which process this is; workers: processes
    that may be used for data.
    """

    values: Mapping[str, str]
    seed: int = 0
    epochs: int | None = None
    batch: int | None = None
    share: Share = field(default_factory=Share)
    workers: int = 1


class Task(ABC):
    """Defines what is trained: modules, batches and a loss.

    Equal arguments must make equal tasks, since a resumed run makes its task again, and the trainer then loads the
    saved state into it.

    module: everything with weights to train, including heads that are used only in training; steps: optimizer steps of
    the whole run; epoch: steps from one evaluation to the next; clips: per step, of all processes together; accumulate:
    batches per step; clip_norm: upper bound of the gradient's norm, None for no bound.
    """

    module: nn.Module
    steps: int
    epoch: int
    clips: int = 1
    accumulate: int = 1
    clip_norm: float | None = 1.0
    score_name: str = "loss"

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Return everything that affects the result, as plain JSON values.

        They are saved beside the weights, and compared when resuming.
        """

    def begin(self) -> None:
        """Prepare a new run before its first step, by loading other weights for example; not called when resuming."""
        return None

    @abstractmethod
    def optimizers(self) -> list[optim.Optimizer]:
        """Make the optimizers, once, before a saved state is loaded into them. Each group's `lr` is its peak."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """Return the fraction of its peak that the learning rate has at step number `step`, from 0."""

    @abstractmethod
    def batches(self, first: int) -> Iterator[Any]:
        """Yield this process's batches from number `first` on, endlessly or to the end of the run.

        Batch i must be the same wherever a run is resumed. `accumulate` of them make a step.
        """

    @abstractmethod
    def loss(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar loss to minimise, and further scalars worth logging."""

    def clipped(self) -> Iterator[nn.Parameter]:
        """Return the parameters whose gradient norm `clip_norm` bounds."""
        return self.module.parameters()

    def average_decay(self, done: int) -> float | None:
        """Return the decay of the averaged weights at step number `done`, from 1; None for no average."""
        return None

    def evaluate(self, module: nn.Module) -> Mapping[str, Any] | None:
        """Return the metrics of `module` (with averaged weights, if any) at the end of an epoch, or None.

        The best checkpoint is the one with the highest `score` among them.
        """
        return None

    @abstractmethod
    def export(self, module: nn.Module, folder: Path) -> None:
        """Write a checkpoint directory, each file atomically. Raises OutputError."""

    def finish(self, folder: Path) -> None:
        """Add charts or a model card at the end. folder: the run's, which contains the best checkpoint."""
        return None

    def close(self) -> None:
        """Release the resources of batches and evaluation, such as decoders."""
        return None

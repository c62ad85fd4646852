"""What is trained, apart from how: a `Task` has the modules, the batches and the loss; the `Trainer` has the loop.

A task of your own gets all that the loop has (resume, several processes, accumulation, bfloat16, an average of the weights, metrics):
a Python file with `def task(options) -> Task`, given to `videomae finetune` or `pretrain` in the place of the data.
`recipes/camera_motion/` has two.
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
    """What the command line says to a task of one's own.

    values: `--set NAME=VALUE`; seed, epochs and batch: where given; share: which process this is; workers: processes that
    may be used for data.
    """

    values: Mapping[str, str]
    seed: int = 0
    epochs: int | None = None
    batch: int | None = None
    share: Share = field(default_factory=Share)
    workers: int = 1


class Task(ABC):
    """Made new for every start: equal arguments make an equal task, and the trainer puts a saved state into it.

    module: everything with weights that are trained, heads that only training has among them; steps: optimizer steps of the
    whole run; epoch: steps from one evaluation to the next; clips: in a step, of all processes together; accumulate: batches
    to a step; clip_norm: the most that the norm of the gradient may be, None for no bound.
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
        """What decides the result, as plain JSON values: kept beside the weights, and compared when a run goes on."""

    def begin(self) -> None:
        """Before the first step of a new run, and not where one goes on: other weights to start from."""
        return None

    @abstractmethod
    def optimizers(self) -> list[optim.Optimizer]:
        """Made once, before a saved state is put into them. Each group's `lr` is its peak."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """The part of its peak that the learning rate has in step number `step`, from 0."""

    @abstractmethod
    def batches(self, first: int) -> Iterator[Any]:
        """This process's batches from number `first` on, without an end or to the end of the run; batch i is the same
        wherever a run is taken up. `accumulate` of them make a step."""

    @abstractmethod
    def loss(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to go down on, a scalar, and what else is worth a line in the metrics (scalars)."""

    def clipped(self) -> Iterator[nn.Parameter]:
        """The weights whose gradient `clip_norm` is for."""
        return self.module.parameters()

    def average_decay(self, done: int) -> float | None:
        """How much of the averaged weights stays after step number `done`, from 1; None for no average at all."""
        return None

    def evaluate(self, module: nn.Module) -> Mapping[str, Any] | None:
        """Figures of `module` (the averaged weights where there are some) at the end of an epoch; None if there are none.
        `score` among them is what the best checkpoint has the most of."""
        return None

    @abstractmethod
    def export(self, module: nn.Module, folder: Path) -> None:
        """A checkpoint directory, each of its files whole or not there. Raises OutputError."""

    def finish(self, folder: Path) -> None:
        """When all is done: pictures, a card. folder: of the run, with the best checkpoint in it."""
        return None

    def close(self) -> None:
        """Give back what batches and evaluation hold."""
        return None

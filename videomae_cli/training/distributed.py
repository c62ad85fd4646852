"""One process or several that train together: who this one is, and what they tell each other. `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed

from videomae_cli.errors import TrainingError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """This process is number `rank` of `world`."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and talks."""
        return self.rank == 0

    def gather(self, item: Item) -> list[Item]:
        """What every process has, in the order of their numbers."""
        if self.world == 1:
            return [item]
        items: list[Item | None] = [None] * self.world
        distributed.all_gather_object(items, item)
        return [item for item in items if item is not None]

    def agree(self, wish: bool) -> bool:
        """Whether any process wishes it: all get the same answer at the same step."""
        return any(self.gather(wish)) if self.world > 1 else wish


def launched() -> Share:
    """Who this process is by what `torchrun` put into its environment. Raises TrainingError for what makes no sense."""
    try:
        share = Share(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    except ValueError:
        raise TrainingError("RANK and WORLD_SIZE must be numbers: start several processes with torchrun") from None
    if not 0 <= share.rank < share.world:
        raise TrainingError(f"RANK is {share.rank} of WORLD_SIZE {share.world}: start several processes with torchrun")
    return share


def local_device(device: torch.device) -> torch.device:
    """The device of this process: with several CUDA devices, the one of its number on this machine."""
    if device.type == "cuda" and launched().world > 1:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


@contextmanager
def together(device: torch.device) -> Iterator[Share]:
    """Joins the processes that `torchrun` started; one alone joins nothing. Raises TrainingError."""
    share = launched()
    if share.world == 1:
        yield share
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if not (distributed.is_available() and distributed.is_backend_available(backend)):
        raise TrainingError(
            f"this PyTorch can't connect processes (it has no {backend}, as on Windows with CUDA): train in one, without torchrun"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"the {share.world} processes can't find each other: {str(error).splitlines()[0]}"
        ) from None
    try:
        yield share
    finally:
        distributed.destroy_process_group()

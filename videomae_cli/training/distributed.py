"""Connects the processes that train together: which one this is, and how they exchange data. `torchrun` starts them."""

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
    """Identifies this process: number `rank` of `world` processes that train together."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Return whether this is the process that writes files and prints."""
        return self.rank == 0

    def gather(self, item: Item) -> list[Item]:
        """Collect the item of every process, in the order of their ranks."""
        if self.world == 1:
            return [item]
        items: list[Item | None] = [None] * self.world
        distributed.all_gather_object(items, item)
        return [item for item in items if item is not None]

    def agree(self, wish: bool) -> bool:
        """Return whether `wish` is true in any process; every process gets the same answer at the same step."""
        return any(self.gather(wish)) if self.world > 1 else wish


def launched() -> Share:
    """Return the rank and world size that `torchrun` put into the environment. Raises TrainingError for wrong ones."""
    try:
        share = Share(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    except ValueError:
        raise TrainingError.about(
            "WORLD_SIZE", "RANK and WORLD_SIZE must be numbers: start several processes with torchrun"
        ) from None
    if not 0 <= share.rank < share.world:
        reason = "RANK is {rank} of WORLD_SIZE {world}: start several processes with torchrun"
        raise TrainingError.about("RANK", reason, rank=share.rank, world=share.world)
    return share


def local_device(device: torch.device) -> torch.device:
    """Return the device of this process: with several CUDA devices, the one of its local rank."""
    if device.type == "cuda" and launched().world > 1:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


@contextmanager
def together(device: torch.device) -> Iterator[Share]:
    """Connect the processes that `torchrun` started for the duration of the block.

    Does nothing for a single process. Raises TrainingError.
    """
    share = launched()
    if share.world == 1:
        yield share
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if not (distributed.is_available() and distributed.is_backend_available(backend)):
        raise TrainingError.about(
            backend,
            "this PyTorch can't connect processes (it has no {subject}, as on Windows with CUDA): train in "
            "one, without torchrun",
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        reason = "the {world} processes can't find each other: {error}"
        raise TrainingError.about("WORLD_SIZE", reason, world=share.world, error=str(error).splitlines()[0]) from None
    try:
        yield share
    finally:
        distributed.destroy_process_group()

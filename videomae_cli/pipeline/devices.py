"""Where a model runs, and how many views it takes at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from videomae_cli.errors import ModelMemoryError, OptionError, Wording
from videomae_cli.model import VideoMAEConfig, clip_gflops

# Work (thousand million operations) that keeps a device busy long enough for what a call costs beside them not to count.
_BATCH_GFLOPS = {"cpu": 50, "cuda": 12000, "mps": 2000}
_MAX_BATCH = {"cpu": 32, "cuda": 256, "mps": 64}
# Of a CUDA device's memory, what a batch may take by the estimate below; where that is wrong, batches are halved.
_SHARE = 0.4


def pick_device(name: str) -> torch.device:
    """The device for "auto" (CUDA, then Apple's MPS, then the CPU) or a named one. Raises OptionError if it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    if not there.get(name, False):
        raise OptionError(
            f"device {name!r} is not available here", remedy=Wording("use {@device:cpu} or {@device:auto}")
        )
    return torch.device(name)


def auto_batch_size(config: VideoMAEConfig, device: torch.device) -> int:
    """Views at once where nobody says: one of a large model on a CPU, many of a small one."""
    fitting = int(_BATCH_GFLOPS[device.type] / clip_gflops(config))
    if device.type == "cuda":
        # Of the whole memory, not of what is free just now: the same job has the same batches, and so the same last bits.
        memory = torch.cuda.get_device_properties(device).total_memory
        fitting = min(fitting, int(_SHARE * memory / clip_bytes(config)))
    return max(1, min(_MAX_BATCH[device.type], fitting))


def clip_bytes(config: VideoMAEConfig) -> int:
    """About what a clip needs on its way through the model, in float32: its pixels twice, and what is alive in a block."""
    tokens = config.num_patches * (6 * config.hidden_size + 2 * config.intermediate_size)
    return 4 * (2 * config.num_patches * config.patch_dim + tokens)


@contextmanager
def memory_reported(device: torch.device) -> Iterator[None]:
    """Running out of memory as a ModelMemoryError; all other errors of torch as they are."""
    try:
        yield
    except RuntimeError as error:
        # On the CPU torch raises a plain RuntimeError, told only by its words.
        if not isinstance(error, torch.cuda.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise ModelMemoryError(
            f"{device} has too little memory for even one clip", remedy=Wording("try a smaller model, or {@device:cpu}")
        ) from None

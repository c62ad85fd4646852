"""Chooses where a model runs, and how many views it takes at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from videomae_cli.errors import ModelMemoryError, OptionError, VideoMAEError, Wording, check_choice
from videomae_cli.model import VideoMAEConfig, clip_gflops

if TYPE_CHECKING:
    import torch

    from videomae_cli.engines import Device

# GFLOP per batch that keep a device busy long enough to make the overhead of a call negligible.
_BATCH_GFLOPS = {"cpu": 50, "cuda": 12000, "mps": 2000}
_MAX_BATCH = {"cpu": 32, "cuda": 256, "mps": 64}
# Largest fraction of a CUDA device's memory that a batch may take, as estimated by `clip_bytes`. If the estimate is too
# low, batches are halved.
_SHARE = 0.4
_SMALLER = Wording("try a smaller model, or {@device:cpu}")


def pick_device(name: str) -> torch.device:
    """Return the device for "auto" (CUDA, then Apple's MPS, then the CPU) or a name. Raises OptionError if missing."""
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    check_choice("device", name, ("auto", "cpu", "cuda", "mps"))
    if name == "auto":
        return torch.device(next(kind for kind, available in present.items() if available))
    if not present[name]:
        raise OptionError.about(
            "device",
            "device {name!r} is not available here",
            name=name,
            remedy=Wording("use {@device:cpu} or {@device:auto}"),
        )
    return torch.device(name)


def auto_batch_size(config: VideoMAEConfig, device: Device) -> int:
    """Choose the views per batch if the user gives none: one for a large model on a CPU, many for a small one."""
    fitting = int(_BATCH_GFLOPS[device.type] / clip_gflops(config))
    if device.type == "cuda":
        import torch

        # Use the total memory, not what is free at the moment, so that the same job always has the same batches and
        # gives the same results, bit for bit.
        memory = torch.cuda.get_device_properties(str(device)).total_memory
        fitting = min(fitting, int(_SHARE * memory / clip_bytes(config)))
    return max(1, min(_MAX_BATCH[device.type], fitting))


def clip_bytes(config: VideoMAEConfig) -> int:
    """Estimate the bytes a clip needs inside the model in float32: its pixels twice, and one block's activations."""
    tokens = config.num_patches * (6 * config.hidden_size + 2 * config.intermediate_size)
    return 4 * (2 * config.num_patches * config.patch_dim + tokens)


@contextmanager
def memory_reported(
    device: Device,
    kind: type[VideoMAEError] = ModelMemoryError,
    reason: str = "{subject} has too little memory for even one clip",
    remedy: Wording = _SMALLER,
) -> Iterator[None]:
    """Turn an out-of-memory error into one of our own; let all other errors through."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # on the CPU torch raises a plain RuntimeError, and numpy a MemoryError
        told = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not told and "allocate memory" not in str(error):
            raise
        raise kind.about(device, reason, remedy=remedy) from None

"""Groups parameters for the optimizer, and computes the learning-rate schedule: pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from torch import nn

_LAYER = re.compile(r"^(?:videomae\.)?encoder\.layer\.(\d+)\.")
_EMBEDDINGS = re.compile(r"^(?:videomae\.)?embeddings\.")

Named = Iterable[tuple[str, nn.Parameter]]


def layer_of(name: str, layers: int) -> int:
    """Return 0 for the patch embedding, 1 to `layers` for blocks, `layers` + 1 for what follows (BEiT, section 3.2)."""
    if _EMBEDDINGS.match(name):
        return 0
    found = _LAYER.match(name)
    return int(found.group(1)) + 1 if found else layers + 1


def parameter_groups(
    named: Named, *, lr: float, weight_decay: float, layer_decay: float = 1.0, layers: int = 0
) -> list[dict[str, object]]:
    """Group parameters for an optimizer: a layer's rate is `layer_decay` times that of the layer above it.

    Biases, norms and single-vector tokens get no weight decay.
    """
    groups: dict[tuple[int, bool], dict[str, object]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        depth = layer_of(name, layers)
        decays = parameter.ndim > 1 and not name.endswith("mask_token")
        scale = layer_decay ** (layers + 1 - depth)
        group = groups.setdefault(
            (depth, decays), {"params": [], "lr": lr * scale, "weight_decay": weight_decay if decays else 0.0}
        )
        members = group["params"]
        assert isinstance(members, list)
        members.append(parameter)
    return list(groups.values())


def adamw(groups: list[dict[str, object]], *, betas: tuple[float, float]) -> torch.optim.AdamW:
    """Make a fused AdamW optimizer over groups from `parameter_groups`."""
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)


def cosine_rate(step: int, *, steps: int, warmup: int, floor: float) -> float:
    """Return the fraction of its peak that a rate has at step number `step`.

    It rises linearly from 0 to the peak at the last of `warmup` steps, then falls along half a cosine towards `floor`
    (`cosine_scheduler` in the official utils.py).
    """
    if step < warmup:
        return step / max(1, warmup - 1)
    at = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, at)))

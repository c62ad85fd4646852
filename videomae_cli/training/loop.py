"""How a task is trained, whatever it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, kw_only=True)
class Loop:
    """How a task is trained. dtype: "float32" or "bfloat16", of the products; patience: epochs without a better score
    after which to stop; log_steps: steps to a line of metrics; save_seconds: the most that a kill costs."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: str = "float32"
    seed: int = 0
    patience: int | None = None
    log_steps: int = 10
    save_seconds: float = 120.0
    compiled: bool = False

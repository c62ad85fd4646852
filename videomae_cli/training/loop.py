"""Holds the settings of the training loop, which are the same for every task."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Settings of the training loop.

    dtype: "float32" or "bfloat16", of matrix products; patience: epochs without a better score after which to stop;
    log_steps: steps between two lines of metrics; save_seconds: at most this much work is lost if the run is killed.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: str = "float32"
    seed: int = 0
    patience: int | None = None
    log_steps: int = 10
    save_seconds: float = 120.0
    compiled: bool = False

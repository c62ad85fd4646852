"""Activation functions by the names that configurations use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from videomae_cli.errors import ConfigError


def _gelu_new(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def _laplace(x: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.erf((x - 0.707107) / (0.282095 * 2.0**0.5)))


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _gelu_10(x: Tensor) -> Tensor:
    return functional.gelu(x).clip(-10, 10)


def _relu2(x: Tensor) -> Tensor:
    return functional.relu(x).square()


def _sqrtsoftplus(x: Tensor) -> Tensor:
    return functional.softplus(x).sqrt()


def _identity(x: Tensor) -> Tensor:
    return x


# Named functions throughout, so that a model can be pickled and sent to another process.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_python": functional.gelu,
    "gelu_10": _gelu_10,
    "gelu_new": _gelu_new,
    "gelu_fast": _gelu_new,
    "gelu_accurate": _gelu_new,
    "gelu_pytorch_tanh": _gelu_new,
    "gelu_python_tanh": _gelu_new,
    "quick_gelu": _quick_gelu,
    "relu": functional.relu,
    "relu2": _relu2,
    "relu6": functional.relu6,
    "laplace": _laplace,
    "leaky_relu": functional.leaky_relu,
    "silu": functional.silu,
    "swish": functional.silu,
    "mish": functional.mish,
    "hardswish": functional.hardswish,
    "sigmoid": torch.sigmoid,
    "sqrtsoftplus": _sqrtsoftplus,
    "tanh": torch.tanh,
    "linear": _identity,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function a config's `hidden_act` names. Raises ConfigError for one without an implementation here."""
    if name not in ACTIVATIONS:
        raise ConfigError(f"hidden_act {name!r} is not known; known are {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]

"""Activation functions by their names in configurations; covers all that `transformers` supports."""

from __future__ import annotations

import reprlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
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


class XIELU(nn.Module):
    """Integrated exponential linear unit with two learned slopes (Huang and Schlag 2024, arXiv 2411.13010).

    x > 0 gives a x^2 + b x, x <= 0 gives c (e^x - 1 - x) + b x, where a = softplus(alpha_p), c = b + softplus(alpha_n).
    b and eps are buffers, since checkpoints contain them; all initial values are rounded to bfloat16.
    """

    beta: Tensor
    eps: Tensor

    def __init__(self, slope: float = 0.8, beta: float = 0.5, eps: float = -1e-6) -> None:
        super().__init__()
        start = [torch.tensor([value]).to(torch.bfloat16) for value in (slope, slope - beta)]
        # the inverse of softplus
        self.alpha_p, self.alpha_n = (nn.Parameter(value.expm1().log()) for value in start)
        self.register_buffer("beta", torch.tensor(beta, dtype=torch.bfloat16))
        self.register_buffer("eps", torch.tensor(eps, dtype=torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        """Apply xIELU to every element; shape and dtype of `x` are kept."""
        right = functional.softplus(self.alpha_p).to(x.dtype)
        left = (self.beta + functional.softplus(self.alpha_n)).to(x.dtype)
        beta, eps = self.beta.to(x.dtype), self.eps.to(x.dtype)
        # The unselected branch must not overflow, or its gradient would be NaN.
        below = left * (torch.expm1(torch.minimum(x, eps)) - x)
        return torch.where(x > 0, right * x * x, below) + beta * x


# Named functions, not lambdas, so that a model can be pickled and sent to another process.
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


# Activations with parameters: each block creates its own.
LEARNED: dict[str, Callable[[], nn.Module]] = {"prelu": nn.PReLU, "xielu": XIELU}

Activation = Callable[[Tensor], Tensor]


def activation(act: str | Activation) -> Activation:
    """Return the activation for a configuration's `hidden_act`, a name or a function. Raises ConfigError if unknown."""
    if not isinstance(act, str):
        if not callable(act):
            raise ConfigError.about(
                "hidden_act",
                "hidden_act is {given}; it must be a name or a function of one tensor",
                given=reprlib.repr(act),
            )
        return act
    if act in LEARNED:
        return LEARNED[act]()
    if act not in ACTIVATIONS:
        known = ", ".join(sorted([*ACTIVATIONS, *LEARNED]))
        raise ConfigError.about(
            "hidden_act", "hidden_act {act!r} is not known; known are {known}", act=act, known=known
        )
    return ACTIVATIONS[act]

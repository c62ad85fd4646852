"""What the models return. Shapes: B clips, N tokens, D channels, H heads, L layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class EncoderOutput:
    """Tokens (B, N, D); `hidden_states` the L + 1 token tensors before and after each block, before any final norm;
    `attentions` L tensors (B, H, N, N) of attention probabilities. The last two only where asked for."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class ClassifierOutput:
    """Logits (B, labels), the (B, D) vector they were computed from, and what the encoder returned."""

    logits: Tensor
    pooled: Tensor
    last_hidden_state: Tensor
    loss: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class PreTrainingOutput:
    """Predicted pixels (B, masked tokens, patch_dim), their loss, and what the encoder returned."""

    loss: Tensor
    logits: Tensor
    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

"""The outputs of the models. Shapes: B clips, N tokens, D channels, H heads, L layers.

The parts are attributes. For code ported from `transformers` they can also be read by position (`output[0]`), by name
(`output["logits"]`) or as a tuple (`to_tuple()`, unpacking), which skip parts that are None and use the order of
`transformers`. Parts that only this package has are attributes alone, so that positions don't shift.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, overload

from torch import Tensor

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class ModelOutput:
    """Named tensors that can also be read by position; subclasses name their parts in `ORDER`."""

    ORDER: ClassVar[tuple[str, ...]] = ()

    def keys(self) -> tuple[str, ...]:
        """Return the names of the parts that are not None, in order."""
        return tuple(name for name in self.ORDER if getattr(self, name) is not None)

    def values(self) -> tuple[Any, ...]:
        """Return the parts that are not None, in order."""
        return tuple(getattr(self, name) for name in self.keys())

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Return (name, part) pairs, in order."""
        return tuple(zip(self.keys(), self.values(), strict=True))

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the parts that are not None, in order, as a model does with `return_dict=False`."""
        return self.values()

    def get(self, name: str, default: Any = None) -> Any:
        """Return the part of that name, or `default` if it is None."""
        return getattr(self, name) if name in self else default

    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, key: int | str) -> Any: ...
    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, str):
            if key not in self:
                raise KeyError(key)
            return getattr(self, key)
        return self.to_tuple()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_tuple())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()


@dataclass(frozen=True)
class EncoderOutput(ModelOutput):
    """Tokens (B, N, D), and if requested `hidden_states`, the L + 1 token tensors before, between and after the blocks
    (without the final norm), and `attentions`, L tensors (B, H, N, N) of attention probabilities."""

    ORDER: ClassVar[tuple[str, ...]] = ("last_hidden_state", "hidden_states", "attentions")

    last_hidden_state: Tensor
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass(frozen=True)
class ClassifierOutput(ModelOutput):
    """Logits (B, labels), the pooled vectors (B, D) they were computed from, and the encoder's outputs."""

    ORDER: ClassVar[tuple[str, ...]] = ("loss", "logits", "hidden_states", "attentions")

    logits: Tensor
    pooled: Tensor
    last_hidden_state: Tensor
    loss: Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass(frozen=True)
class DecoderOutput(ModelOutput):
    """Predicted pixels (B, predicted tokens, patch_dim), and the hidden states and attentions of the decoder's blocks over all
    N tokens: first the visible ones, then the masked ones."""

    ORDER: ClassVar[tuple[str, ...]] = ("logits", "hidden_states", "attentions")

    logits: Tensor
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass(frozen=True)
class PreTrainingOutput(ModelOutput):
    """Predicted pixels (B, masked tokens, patch_dim), their loss, and the encoder's outputs; `decoder_hidden_states` and
    `decoder_attentions` are those of `DecoderOutput`."""

    ORDER: ClassVar[tuple[str, ...]] = ("loss", "logits", "hidden_states", "attentions")

    loss: Tensor
    logits: Tensor
    last_hidden_state: Tensor
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None

"""What the models return. Shapes: B clips, N tokens, D channels, H heads, L layers.

Every output has its parts as attributes, and can be read as ported code expects: by position (`output[0]`), by name
(`output["logits"]`), as a tuple (`to_tuple()`, unpacking). These see only the parts that are there, in the order that
`transformers` has; what this package adds is an attribute alone, so that no position shifts.
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
        """Names of the parts that are there, in order."""
        return tuple(name for name in self.ORDER if getattr(self, name) is not None)

    def values(self) -> tuple[Any, ...]:
        """The parts that are there, in order."""
        return tuple(getattr(self, name) for name in self.keys())

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Pairs of a name and its part, in order."""
        return tuple(zip(self.keys(), self.values(), strict=True))

    def to_tuple(self) -> tuple[Any, ...]:
        """The parts that are there, in order: what a model returns with `return_dict=False`."""
        return self.values()

    def get(self, name: str, default: Any = None) -> Any:
        """The part of that name, or `default` where it is not there."""
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
    """Tokens (B, N, D); `hidden_states` the L + 1 token tensors before and after each block, before any final norm;
    `attentions` L tensors (B, H, N, N) of attention probabilities. The last two only where asked for."""

    ORDER: ClassVar[tuple[str, ...]] = ("last_hidden_state", "hidden_states", "attentions")

    last_hidden_state: Tensor
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass(frozen=True)
class ClassifierOutput(ModelOutput):
    """Logits (B, labels), the (B, D) vector they were computed from, and what the encoder returned."""

    ORDER: ClassVar[tuple[str, ...]] = ("loss", "logits", "hidden_states", "attentions")

    logits: Tensor
    pooled: Tensor
    last_hidden_state: Tensor
    loss: Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass(frozen=True)
class DecoderOutput(ModelOutput):
    """Predicted pixels (B, predicted tokens, patch_dim); hidden states and attentions of the decoder's blocks, as those of
    the encoder, over all N tokens: the visible ones first, then the masked ones."""

    ORDER: ClassVar[tuple[str, ...]] = ("logits", "hidden_states", "attentions")

    logits: Tensor
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass(frozen=True)
class PreTrainingOutput(ModelOutput):
    """Predicted pixels (B, masked tokens, patch_dim), their loss, and what the encoder returned; `decoder_hidden_states`
    and `decoder_attentions` are those of `DecoderOutput`."""

    ORDER: ClassVar[tuple[str, ...]] = ("loss", "logits", "hidden_states", "attentions")

    loss: Tensor
    logits: Tensor
    last_hidden_state: Tensor
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None

"""What all models share: loading from a checkpoint, strictly; saving; initial weights; gradient checkpointing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from videomae_cli.errors import CheckpointError
from videomae_cli.hub import resolve
from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.inference import Overrides
from videomae_cli.model.loading import Checkpoint, check_numbers, load_checkpoint
from videomae_cli.model.saving import write_model

Model = TypeVar("Model", bound="PretrainedModel")

_NAMED_IN_ERRORS = 3


class PretrainedModel(nn.Module):
    """A model with a configuration, read from and written to checkpoints."""

    base_prefix: ClassVar[str] = ""
    # Tensors of other models on the same encoder, which this one may leave unread.
    foreign: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False

    def init_weights(self) -> None:
        """As published for training from labels: linear weights from a normal of standard deviation
        `initializer_range`, biases zero, norms one; the patch embedding as PyTorch makes convolutions."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=self.config.initializer_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def gradient_checkpointing_enable(self, enabled: bool = True) -> None:
        """Recompute activations in the backward pass of training instead of keeping them: slower, much less memory."""
        for module in self.modules():
            if isinstance(module, PretrainedModel):
                module.gradient_checkpointing = enabled

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @classmethod
    def from_pretrained(
        cls: type[Model],
        source: str | Path,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        num_attention_heads: int | None = None,
        decoder_num_attention_heads: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        num_frames: int | None = None,
        labels: Sequence[str] | None = None,
        dtype: torch.dtype | Literal["auto"] | None = None,
        device: str | torch.device = "cpu",
    ) -> Model:
        """A model in evaluation mode from a bundled name, a directory, a weights file, or a hub id.

        The sizes and `labels` override what the checkpoint says, or say what it can't. Weights become float32
        unless `dtype` names a type or is "auto" (as stored). Raises ModelNotFoundError, DownloadError,
        CheckpointError or ConfigError.
        """
        resolved = resolve(str(source), revision=revision, local_files_only=local_files_only)
        overrides = Overrides(
            num_attention_heads=num_attention_heads,
            decoder_num_attention_heads=decoder_num_attention_heads,
            image_size=image_size,
            num_frames=num_frames,
            labels=labels,
        )
        checkpoint = load_checkpoint(resolved.path, overrides=overrides)
        return cls.from_checkpoint(checkpoint, dtype=dtype, device=device)

    @classmethod
    def from_checkpoint(
        cls: type[Model],
        checkpoint: Checkpoint,
        *,
        dtype: torch.dtype | Literal["auto"] | None = None,
        device: str | torch.device = "cpu",
    ) -> Model:
        """A model in evaluation mode from a checkpoint already read. Raises CheckpointError."""
        # On the meta device nothing is allocated or initialised: the checkpoint's tensors are put in instead.
        with torch.device("meta"):
            model = cls(checkpoint.config)
        tensors = _fit(model, checkpoint)
        wanted = torch.float32 if dtype is None else _stored_dtype(tensors) if dtype == "auto" else dtype
        # Where nothing has to be converted or moved, the weights stay in the mapped file: processes share them. The
        # mapping is private, so training writes to memory of its own.
        placed = {name: tensor.to(device=device, dtype=wanted) for name, tensor in tensors.items()}
        model.load_state_dict({name: tensor.contiguous() for name, tensor in placed.items()}, assign=True)
        return model.to(device).eval()

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `config.json` and `model.safetensors`, in the Hugging Face layout and the weights' own type, each
        complete or not at all. Raises OutputError."""
        write_model(
            Path(directory),
            config=self.config.to_dict(),
            architecture=type(self).__name__,
            tensors=self.state_dict(),
        )


def _stored_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The floating type of most of the weights."""
    types = [tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()]
    return max(set(types), key=types.count) if types else torch.float32


def _fit(model: PretrainedModel, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The checkpoint's tensors under the model's names. Raises CheckpointError naming what doesn't fit."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors: dict[str, Tensor] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith(model.foreign):
            continue
        tensors[name.removeprefix("videomae.") if not model.base_prefix else name] = tensor
    where = checkpoint.path
    missing = [name for name in expected if name not in tensors]
    if missing:
        hint = f" (it is a {checkpoint.kind} checkpoint, not one for {type(model).__name__})"
        wrong_kind = all(not name.startswith("videomae.") for name in missing) and model.base_prefix
        raise CheckpointError(f"{where} lacks {_named(missing)}{hint if wrong_kind else ''}")
    surplus = [name for name in tensors if name not in expected]
    if surplus:
        raise CheckpointError(f"{where} holds {_named(surplus)}, for which its configuration has no place")
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            found = tuple(tensors[name].shape)
            raise CheckpointError(f"{where}: the tensor {name!r} has shape {found}; its configuration needs {shape}")
    check_numbers(tensors, where)
    return tensors


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED_IN_ERRORS])
    more = f" and {len(names) - _NAMED_IN_ERRORS} more" if len(names) > _NAMED_IN_ERRORS else ""
    return f"the tensor{'s' if len(names) > 1 else ''} {shown}{more}"

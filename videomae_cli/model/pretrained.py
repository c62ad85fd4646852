"""The base class of all models: strict loading from checkpoints, saving, initial weights, gradient checkpointing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor, nn

from videomae_cli.errors import CheckpointError, ConfigError
from videomae_cli.hub import resolve
from videomae_cli.model.checkpoint_loading import Checkpoint, check_numbers, load_checkpoint
from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.inferred_config import Overrides
from videomae_cli.model.layers import Implementation, SelfAttention
from videomae_cli.model.outputs import ModelOutput
from videomae_cli.model.saving import write_model

Model = TypeVar("Model", bound="PretrainedModel")
Out = TypeVar("Out", bound=ModelOutput)
Returned: TypeAlias = Out | tuple[Any, ...]

_NAMED_IN_ERRORS = 3


class Requested(NamedTuple):
    """Which extra outputs a call requests, and whether by name or as a tuple."""

    hidden_states: bool
    attentions: bool
    named: bool


def returned(output: Out, asked: Requested) -> Returned[Out]:
    """Return the output, converted to a tuple if the call requests that."""
    return output if asked.named else output.to_tuple()


class PretrainedModel(nn.Module):
    """Base class of models that have a configuration and can be loaded from and saved to checkpoints."""

    config_class: ClassVar[type[VideoMAEConfig]] = VideoMAEConfig
    base_model_prefix: ClassVar[str] = "videomae"
    main_input_name: ClassVar[str] = "pixel_values"
    supports_gradient_checkpointing: ClassVar[bool] = True
    # Prefix of the encoder's tensor names; empty if the model is the encoder.
    base_prefix: ClassVar[str] = ""
    # Prefixes of tensors that this model ignores, since they belong to other models with the same encoder.
    foreign: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False

    def init_weights(self, style: Literal["official", "transformers"] = "official") -> None:
        """Reinitialise the weights as the papers' code does (the default of new models), or as `transformers` does.

        official: linear weights from a normal distribution with standard deviation `initializer_range`, truncated at
        +-2 (Xavier uniform for pre-training), biases 0, norms 1, the patch embedding by PyTorch's default for
        convolutions. transformers: weights of linear layers and the patch embedding from an untruncated normal
        distribution, biases and mask token 0, norms 1. Raises ConfigError for another style.
        """
        if style not in ("official", "transformers"):
            raise ConfigError.about("style", "style is {style!r}; it must be 'official' or 'transformers'", style=style)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm | nn.Conv3d):
                module.reset_parameters()
        if style == "official":
            self._official_weights()
        else:
            self._transformers_weights()

    def _official_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=self.config.initializer_range)
        self._zero_biases()

    def _transformers_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Conv3d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self._zero_biases()

    def _zero_biases(self) -> None:
        """Set the biases of linear layers, queries and values to 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if isinstance(module, SelfAttention) and module.q_bias is not None and module.v_bias is not None:
                nn.init.zeros_(module.q_bias)
                nn.init.zeros_(module.v_bias)

    def _requested(self, hidden_states: bool | None, attentions: bool | None, return_dict: bool | None) -> Requested:
        """Combine a call's arguments with the configuration's defaults for those that are None."""
        config = self.config
        return Requested(
            config.output_hidden_states if hidden_states is None else hidden_states,
            config.output_attentions if attentions is None else attentions,
            config.return_dict if return_dict is None else return_dict,
        )

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, object] | None = None) -> None:
        """Recompute activations in the backward pass instead of storing them, which is slower but saves much memory.

        Always uses PyTorch's non-reentrant variant. `gradient_checkpointing_kwargs` exists for ported code and may only
        contain `use_reentrant`. Raises ConfigError for anything else in it.
        """
        given = {} if gradient_checkpointing_kwargs is None else gradient_checkpointing_kwargs
        if not isinstance(given, Mapping):
            raise ConfigError.about(
                "gradient_checkpointing_kwargs",
                "gradient_checkpointing_kwargs is {given!r}; it must be a dictionary or left out",
                given=given,
            )
        strangers = sorted(set(given) - {"use_reentrant"})
        if strangers:
            raise ConfigError.about(
                "gradient_checkpointing_kwargs",
                "gradient_checkpointing_kwargs has {name!r}; only 'use_reentrant' is known",
                name=strangers[0],
            )
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Store activations for the backward pass again."""
        self._set_gradient_checkpointing(False)

    def _set_gradient_checkpointing(self, enabled: bool) -> None:
        for module in self.modules():
            if isinstance(module, PretrainedModel):
                module.gradient_checkpointing = enabled

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are recomputed in the backward pass."""
        return self.gradient_checkpointing

    def set_attn_implementation(self, implementation: str) -> None:
        """Compute attention with PyTorch's fused kernel ("sdpa", the default) or step by step ("eager").

        Results are equal up to rounding. Raises ConfigError for another name.
        """
        _check_implementation(implementation)
        for module in self.modules():
            if isinstance(module, SelfAttention):
                module.implementation = "eager" if implementation == "eager" else "sdpa"

    @property
    def base_model(self) -> PretrainedModel:
        """The encoder; the model itself if it has no head."""
        encoder = getattr(self, self.base_model_prefix, self)
        assert isinstance(encoder, PretrainedModel)
        return encoder

    def get_input_embeddings(self) -> nn.Module:
        """Return the layer that embeds pixels as tokens."""
        return self.base_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the layer that embeds clips (B, T, C, H, W) as tokens (B, N, D)."""
        self.base_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> None:
        """Return None: the output shares no weights with the input."""
        return None

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Count the parameters, optionally without frozen ones or without the patch embedding's."""
        left_out = set(map(id, self.get_input_embeddings().parameters())) if exclude_embeddings else set()
        kept = (p for p in self.parameters() if id(p) not in left_out and (p.requires_grad or not only_trainable))
        return sum(p.numel() for p in kept)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
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
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        attn_implementation: str = "sdpa",
        device: str | torch.device = "cpu",
    ) -> Model:
        """Load a model in evaluation mode from a bundled name, a directory, a weights file, or a hub id.

        The sizes and `labels` override or complete the checkpoint's configuration. Weights become float32 unless
        `dtype` (old name `torch_dtype`) is another floating-point type, as object or name, or "auto" for the stored
        one. `attn_implementation`: see `set_attn_implementation`. Raises ModelNotFoundError, DownloadError,
        CheckpointError or ConfigError.
        """
        wanted = _dtype(dtype if torch_dtype is None else torch_dtype)
        _check_implementation(attn_implementation)
        resolved = resolve(str(source), revision=revision, local_files_only=local_files_only)
        overrides = Overrides(
            num_attention_heads=num_attention_heads,
            decoder_num_attention_heads=decoder_num_attention_heads,
            image_size=image_size,
            num_frames=num_frames,
            labels=labels,
        )
        with resolved.named():
            checkpoint = load_checkpoint(resolved.path, overrides=overrides)
            model = cls.from_checkpoint(checkpoint, dtype=wanted, device=device)
        model.set_attn_implementation(attn_implementation)
        return model

    @classmethod
    def from_checkpoint(
        cls: type[Model],
        checkpoint: Checkpoint,
        *,
        dtype: torch.dtype | Literal["auto"] | None = None,
        device: str | torch.device = "cpu",
    ) -> Model:
        """Build a model in evaluation mode from a loaded checkpoint. Raises CheckpointError."""
        # On the meta device nothing is allocated or initialised; the checkpoint's tensors are assigned below.
        with torch.device("meta"):
            model = cls(checkpoint.config)
        tensors = fit(model, checkpoint)
        check_numbers(tensors, checkpoint.path)
        wanted = torch.float32 if dtype is None else _stored_dtype(tensors) if dtype == "auto" else dtype
        # Unless they are converted or moved, weights stay memory-mapped, so that processes share them. The mapping is
        # private (copy on write), so training doesn't change the file.
        placed = {name: tensor.to(device=device, dtype=wanted) for name, tensor in tensors.items()}
        model.load_state_dict({name: tensor.contiguous() for name, tensor in placed.items()}, assign=True)
        return model.to(device).eval()

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `config.json` and `model.safetensors` atomically, in the Hugging Face layout and the weights' dtype.

        Raises OutputError.
        """
        write_model(
            Path(directory),
            config=self.config.to_dict(),
            architecture=type(self).__name__,
            tensors=self.state_dict(),
        )


def _check_implementation(name: str) -> None:
    if name not in get_args(Implementation):
        known = " or ".join(repr(known) for known in get_args(Implementation))
        raise ConfigError.about(
            "attn_implementation", "attn_implementation is {name!r}; it must be {known}", name=name, known=known
        )


def _dtype(wanted: torch.dtype | str | None) -> torch.dtype | Literal["auto"] | None:
    """Parse a floating-point dtype given as object or name. Raises ConfigError for anything else."""
    if wanted is None or wanted == "auto":
        return None if wanted is None else "auto"
    found = getattr(torch, wanted.removeprefix("torch."), None) if isinstance(wanted, str) else wanted
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError.about(
            "dtype", "dtype is {wanted!r}; it must be a floating type such as torch.bfloat16, or 'auto'", wanted=wanted
        )
    return found


def _stored_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """Return the floating-point dtype of most of the weights."""
    types = [tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()]
    return max(set(types), key=types.count) if types else torch.float32


def fit(model: PretrainedModel, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the checkpoint's tensors under the model's names, after checking that names and shapes match exactly.

    Raises CheckpointError, which names what doesn't fit.
    """
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
        parts = {name.partition(".")[0] for name in missing}
        wrong_kind = model.base_prefix and not parts & {name.partition(".")[0] for name in tensors}
        raise CheckpointError.about(
            where, "{subject} lacks {names}{hint}", names=_named(missing), hint=hint if wrong_kind else ""
        )
    surplus = [name for name in tensors if name not in expected]
    # A pre-training checkpoint was given to another model: say so. A decoder beside a classifier is some other fault.
    in_model, in_file = ({name.partition(".")[0] for name in names} for names in (expected, tensors))
    if "decoder" in in_file - in_model and not in_file & {"classifier", "fc_norm"}:
        raise CheckpointError.about(
            where,
            "{subject} is a pre-training checkpoint: it reconstructs what is hidden and knows no labels",
            remedy="choose a fine-tuned checkpoint, such as camera-motion, or finetune this one",
        )
    if surplus:
        raise CheckpointError.about(
            where, "{subject} holds {names}, for which its configuration has no place", names=_named(surplus)
        )
    check_shapes(expected, tensors, where)
    return tensors


def check_shapes(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], where: Path) -> None:
    """Raise CheckpointError for the first tensor that has another shape than the model. where: the file."""
    for name, shape in expected.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            raise CheckpointError.about(
                where,
                "{subject}: the tensor {name!r} has shape {found}; its configuration needs {shape}",
                name=name,
                found=tuple(tensors[name].shape),
                shape=shape,
            )


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED_IN_ERRORS])
    more = f" and {len(names) - _NAMED_IN_ERRORS} more" if len(names) > _NAMED_IN_ERRORS else ""
    return f"the tensor{'s' if len(names) > 1 else ''} {shown}{more}"

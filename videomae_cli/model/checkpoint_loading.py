"""Loads any checkpoint as a configuration and tensors with Hugging Face names.

The result says what kind of model it is; building the model and checking tensors strictly is left to `pretrained`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from videomae_cli import filesystem
from videomae_cli.errors import CheckpointError, ConfigError, Wording
from videomae_cli.model.adapters import base_of, is_adapter, merge
from videomae_cli.model.checkpoints import RawTensors, read_json, read_weights
from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.inferred_config import Overrides, infer_config
from videomae_cli.model.messages import shown
from videomae_cli.model.official import is_official, to_hugging_face
from videomae_cli.model.prefixes import HUGGING_FACE_ANCHOR, has_anchor, renamed, without_prefixes
from videomae_cli.visible import counted

Kind = Literal["encoder", "classification", "pretraining"]

logger = logging.getLogger(__name__)

_BIASES = (
    (".attention.attention.query.bias", ".attention.attention.q_bias"),
    (".attention.attention.value.bias", ".attention.attention.v_bias"),
)


@dataclass(frozen=True)
class Checkpoint:
    """A configuration and its tensors, the encoder's named `videomae.*`; `note`: which weights were chosen if the file has
    several sets."""

    path: Path
    kind: Kind
    config: VideoMAEConfig
    tensors: dict[str, Tensor]
    note: str | None = None


def load_checkpoint(path: Path, *, overrides: Overrides) -> Checkpoint:
    """Load a model directory or a single weights file in any known layout. Raises CheckpointError or ConfigError."""
    if not filesystem.is_there(path):
        raise CheckpointError.about(path, "{subject} doesn't exist")
    adapter = is_adapter(path)
    weights = base_of(path) if adapter else path
    # For a single weights file, look for its configuration in the same folder.
    folder = weights if filesystem.is_folder(weights) else weights.parent
    config_file = folder / "config.json"
    content = read_json(config_file) if filesystem.is_folder(weights) or filesystem.is_file(config_file) else None
    raw = read_weights(weights)
    if adapter:
        raw = merge(raw, path)
    try:
        config, tensors = _interpret(raw, content, overrides, path)
    except (CheckpointError, ConfigError) as error:
        raise type(error).about(path, "{subject}: {error}", error=error) from None
    _check_layers(config, tensors, path)
    if content is not None:
        _warn_small(config, overrides, path)
    return Checkpoint(path, kind_of(tensors), config, tensors, raw.note)


def _interpret(
    raw: RawTensors, content: Mapping[str, Any] | None, overrides: Overrides, path: Path
) -> tuple[VideoMAEConfig, dict[str, Tensor]]:
    """Return the configuration, stored or inferred, and the tensors with Hugging Face names."""
    if is_official(raw.tensors):
        tensors = to_hugging_face(raw.tensors)
        nested = (content or {}).get("model_config")
        model_config = nested if isinstance(nested, dict) else {}
        return infer_config(tensors, overrides=overrides, arguments=raw.arguments, model_config=model_config), tensors
    tensors = _hugging_face_names(raw.tensors)
    if content is None:
        return infer_config(tensors, overrides=overrides, eps=VideoMAEConfig().layer_norm_eps), tensors
    head = tensors.get("classifier.weight")
    outputs = head.shape[0] if head is not None and head.ndim else None
    config = VideoMAEConfig.from_dict(
        content, outputs=outputs, where=path, named=overrides.labels is not None or outputs is None
    )
    return overrides.apply(config), tensors


def _check_layers(config: VideoMAEConfig, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a configuration with more layers than the weights have, before any layer is allocated."""
    for stem, wanted in (
        ("videomae.encoder.layer.", config.num_hidden_layers),
        ("decoder.decoder_layers.", config.decoder_num_hidden_layers),
    ):
        layers = {name[len(stem) :].partition(".")[0] for name in tensors if name.startswith(stem)}
        if layers and len(layers) < wanted:
            raise CheckpointError.about(
                path,
                "{subject} lacks the tensors of {number}: its configuration says {wanted}, its weights have {count}",
                number=counted(wanted - len(layers), "layer"),
                wanted=wanted,
                count=len(layers),
            )


def kind_of(names: Mapping[str, object]) -> Kind:
    """Determine the kind of a checkpoint from the names of its tensors."""
    if any(name.startswith("decoder.") for name in names):
        return "pretraining"
    return "classification" if "classifier.weight" in names or "fc_norm.weight" in names else "encoder"


def _hugging_face_names(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Unify the names: no wrapper prefixes, biases spelled as on the hub, the encoder under `videomae.`."""
    adapted = next((name for name in raw if ".lora_A." in name or ".base_layer." in name), None)
    if adapted is not None:
        raise CheckpointError.about(
            adapted,
            "the tensor {tensor} is an adapter's that wasn't merged into the weights; save what peft's "
            "merge_and_unload() returns",
            tensor=shown(adapted),
        )
    whole = f"videomae.{HUGGING_FACE_ANCHOR}"
    plain = without_prefixes(raw, whole if has_anchor(raw, whole) else HUGGING_FACE_ANCHOR)
    # Dropping the keys' bias is exact: it adds the same number to all scores of a query, which softmax cancels.
    kept = (name for name in plain if not name.endswith(".attention.attention.key.bias"))
    return renamed((name, _hub_name(name), plain[name]) for name in kept)


def _hub_name(name: str) -> str:
    for spelling, ours in _BIASES:
        if name.endswith(spelling):
            name = name.removesuffix(spelling) + ours
    return f"videomae.{name}" if name.startswith(("embeddings.", "encoder.layer.", "layernorm.")) else name


def _warn_small(config: VideoMAEConfig, overrides: Overrides, path: Path) -> None:
    if config.hidden_size == 384 and config.num_attention_heads == 16 and overrides.num_attention_heads is None:
        logger.warning(
            "%s says 16 attention heads; the official ViT-S was trained with 6, and no shape tells them apart. "
            "Following its config.json; %s settles it otherwise (`videomae models` says how to find out).",
            path,
            Wording("{@num_attention_heads:6}"),
        )


def check_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError if any tensor contains NaN or infinity."""
    for name, tensor in tensors.items():
        # NaN or infinity makes the sum non-finite. Finite numbers may overflow it too, so then each number is checked.
        if not math.isfinite(float(tensor.sum(dtype=torch.float32))) and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError.about(path, "{subject}: the tensor {name!r} holds NaN or infinite numbers", name=name)

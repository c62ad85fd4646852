"""Merges low-rank adapters (LoRA) saved by PEFT into the weights of their base model.

A folder with `adapter_config.json` and `adapter_model.safetensors` holds small matrices, the layers that were trained
in full (usually the classifier), and the name of the base model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from videomae_cli import filesystem
from videomae_cli.errors import CheckpointError, DownloadError, ModelNotFoundError
from videomae_cli.hub import resolve
from videomae_cli.model.checkpoints import WEIGHT_FILES, RawTensors, read_json, read_weights
from videomae_cli.model.messages import shown

_CONFIG = "adapter_config.json"
_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_OF_DECODER = ("decoder.", "encoder_to_decoder.", "mask_token")
_LOW_RANK = re.compile(r"(.+)\.lora_(A|B)(?:\.\w+)?\.weight")
_TRAINED_WHOLE = re.compile(r"(.+?)(?:\.modules_to_save(?:\.default)?|\.base_layer)?\.(weight|bias)")


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter rather than a whole model."""
    return filesystem.is_file(folder / _CONFIG) and not any(filesystem.is_file(folder / name) for name in WEIGHT_FILES)


def base_of(folder: Path) -> Path:
    """Find the base model of an adapter: a path, possibly relative to the adapter, or a model on this disk.

    Raises CheckpointError, which says how to merge it, if the base isn't on this disk.
    """
    name = read_json(folder / _CONFIG).get("base_model_name_or_path")
    if isinstance(name, str) and name and "\0" not in name:
        try:
            path = folder / name
            found = path if filesystem.is_there(path) else resolve(name, local_files_only=True).path
            if not filesystem.same(found, folder) and not is_adapter(found):
                return found
        except (ModelNotFoundError, DownloadError):
            pass
    if not isinstance(name, str) or not name:
        raise CheckpointError.about(
            folder,
            "{subject} is an adapter whose {config} names no base model; save what peft's merge_and_unload() returns",
            config=_CONFIG,
        )
    raise CheckpointError.about(
        folder,
        "{subject} is an adapter for {name}, which isn't on this disk: `videomae download` it, or save "
        "what peft's merge_and_unload() returns",
        name=shown(name),
    )


def merge(base: RawTensors, folder: Path) -> RawTensors:
    """Add the adapter's low-rank updates to the base's weights, and replace the layers that it trained in full.

    Raises CheckpointError for other kinds of adapters, or one that doesn't fit its base.
    """
    config = read_json(folder / _CONFIG)
    file = next((folder / name for name in _FILES if filesystem.is_file(folder / name)), None)
    if file is None:
        raise CheckpointError.about(
            folder, "{subject} is an adapter without weights; expected {names}", names=" or ".join(_FILES)
        )
    odd = next((key for key in ("use_dora", "fan_in_fan_out", "alora_invocation_tokens") if config.get(key)), None)
    if config.get("peft_type") != "LORA" or odd:
        kind = odd or shown(config.get("peft_type"))
        raise CheckpointError.about(
            folder, "{subject} is an adapter of the kind {kind}; save what peft's merge_and_unload() returns", kind=kind
        )
    merged, halves = dict(base.tensors), dict[str, dict[str, Tensor]]()
    for name, tensor in read_weights(file).tensors.items():
        short = name.removeprefix("base_model.model.")
        low_rank, whole = _LOW_RANK.fullmatch(short), _TRAINED_WHOLE.fullmatch(short)
        if low_rank:
            halves.setdefault(low_rank[1], {})[low_rank[2]] = tensor
        elif whole:
            merged[_name_in(merged, f"{whole[1]}.{whole[2]}") or f"{whole[1]}.{whole[2]}"] = tensor
        else:
            raise CheckpointError.about(
                file, "{subject}: the tensor {name} belongs to no adapter that can be merged", name=shown(name)
            )
    for layer, pair in halves.items():
        target = _name_in(merged, f"{layer}.weight")
        if target is None or pair.keys() != {"A", "B"}:
            raise CheckpointError.about(
                file,
                "{subject}: the layer {layer} is not in the adapter's base, or half of it is missing",
                layer=shown(layer),
            )
        merged[target] = _added(merged[target], pair, _scale(config, layer, pair), file, layer)
    if "classifier.weight" in merged:  # drop the decoder of a base that is a pre-training checkpoint
        merged = {name: tensor for name, tensor in merged.items() if not name.startswith(_OF_DECODER)}
    return RawTensors(merged, base.arguments, base.note)


def _name_in(tensors: Mapping[str, Tensor], name: str) -> str | None:
    """Find a tensor's name in the base: encoders saved alone lack the prefix `videomae.`, biases have two spellings."""
    hub = name.replace(".query.bias", ".q_bias").replace(".value.bias", ".v_bias")
    names = (name, name.removeprefix("videomae."), f"videomae.{name}", hub, hub.removeprefix("videomae."))
    return next((found for found in names if found in tensors), None)


def _added(weight: Tensor, pair: Mapping[str, Tensor], scale: float, file: Path, layer: str) -> Tensor:
    a, b = pair["A"], pair["B"]  # (rank, in) and (out, rank)
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or weight.shape != (b.shape[0], a.shape[1]):
        raise CheckpointError.about(
            file,
            "{subject}: the layer {layer} doesn't fit its base: {b} x {a} on {weight}",
            layer=shown(layer),
            b=tuple(b.shape),
            a=tuple(a.shape),
            weight=tuple(weight.shape),
        )
    return (weight.float() + scale * (b.float() @ a.float())).to(weight.dtype)


def _scale(config: Mapping[str, Any], layer: str, pair: Mapping[str, Tensor]) -> float:
    """Return the factor of a layer's update: alpha / rank, or alpha / sqrt(rank) for rsLoRA, with per-layer alphas."""
    rank = pair["A"].shape[0]
    alpha = config.get("lora_alpha", 8)
    patterns = config.get("alpha_pattern")
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        if layer == pattern or layer.endswith(f".{pattern}"):
            alpha = value
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e6:
        raise CheckpointError.about(
            "lora_alpha", "the adapter's lora_alpha is {alpha}; it must be a number", alpha=shown(alpha)
        )
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))

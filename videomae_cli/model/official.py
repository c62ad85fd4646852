"""Translates tensors from the layout of the official code (MCG-NJU/VideoMAE, OpenGVLab/VideoMAEv2) to Hugging Face's.

Features of the official code that the Hugging Face layout can't represent (learned positions, cosine attention) are an
error; layer scale is folded into the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from videomae_cli.errors import CheckpointError
from videomae_cli.model.layers import sincos_table
from videomae_cli.model.messages import shown
from videomae_cli.model.prefixes import OFFICIAL_ANCHOR, has_anchor, renamed, without_prefixes

_BLOCK = re.compile(r"^(decoder\.)?blocks\.(\d{1,6})\.(.+)$")

_SINGLE = {
    "patch_embed.proj.weight": "videomae.embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "videomae.embeddings.patch_embeddings.projection.bias",
    "norm.weight": "videomae.layernorm.weight",
    "norm.bias": "videomae.layernorm.bias",
    "head.weight": "classifier.weight",
    "head.bias": "classifier.bias",
    **{
        name: name
        for name in (
            "fc_norm.weight",
            "fc_norm.bias",
            "encoder_to_decoder.weight",
            "mask_token",
            "decoder.norm.weight",
            "decoder.norm.bias",
            "decoder.head.weight",
            "decoder.head.bias",
        )
    },
}

_IN_BLOCK = {
    "attn.q_bias": "attention.attention.q_bias",
    "attn.v_bias": "attention.attention.v_bias",
    "attn.proj.weight": "attention.output.dense.weight",
    "attn.proj.bias": "attention.output.dense.bias",
    "norm1.weight": "layernorm_before.weight",
    "norm1.bias": "layernorm_before.bias",
    "norm2.weight": "layernorm_after.weight",
    "norm2.bias": "layernorm_after.bias",
    "mlp.fc1.weight": "intermediate.dense.weight",
    "mlp.fc1.bias": "intermediate.dense.bias",
    "mlp.fc2.weight": "output.dense.weight",
    "mlp.fc2.bias": "output.dense.bias",
}

# Layer scale multiplies the output of these layers, so it can be folded into their weights.
_LAYER_SCALE = {"gamma_1": "attn.proj", "gamma_2": "mlp.fc2"}


# mmaction2 names the patch embedding, the MLP and the head differently.
_MMACTION = (
    (re.compile(r"(^|\.)patch_embed\.projection\."), r"\1patch_embed.proj."),
    (re.compile(r"\.mlp\.layers\.0\.0\."), ".mlp.fc1."),
    (re.compile(r"\.mlp\.layers\.1\."), ".mlp.fc2."),
    (re.compile(r"^cls_head\.fc_cls\."), "head."),
)


def from_mmaction(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of mmaction2 to the official code's names; others are unchanged."""
    if not has_anchor(tensors, "blocks.0.attn.qkv.weight"):
        return dict(tensors)
    return renamed((name, _from_mmaction(name), tensor) for name, tensor in tensors.items())


def _from_mmaction(name: str) -> str:
    for pattern, spelling in _MMACTION:
        name = pattern.sub(spelling, name)
    return name


def is_official(names: Mapping[str, object]) -> bool:
    """Return whether tensor names are the official code's, with any prefix."""
    return has_anchor(names, OFFICIAL_ANCHOR) or has_anchor(names, "blocks.0.attn.qkv.weight")


def to_hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate tensors of the official layout to Hugging Face names.

    Raises CheckpointError for a tensor that has no counterpart there.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in _fold_layer_scale(without_prefixes(from_mmaction(tensors), OFFICIAL_ANCHOR)).items():
        result.update(_translate(name, tensor))
    return result


def _fold_layer_scale(plain: dict[str, Tensor]) -> dict[str, Tensor]:
    folded = dict(plain)
    for name, gamma in plain.items():
        stem, _, last = name.rpartition(".")
        if last not in _LAYER_SCALE:
            continue
        del folded[name]
        for kind in ("weight", "bias"):
            target = f"{stem}.{_LAYER_SCALE[last]}.{kind}"
            if target not in plain:
                raise CheckpointError.about(
                    target, "the checkpoint scales {subject!r} by {name!r} but doesn't hold it", name=name
                )
            if gamma.ndim != 1 or plain[target].shape[:1] != gamma.shape:
                raise CheckpointError.about(
                    name,
                    "{subject!r} has shape {shape}, which doesn't scale {target!r}",
                    shape=tuple(gamma.shape),
                    target=target,
                )
            # rows of the weight and entries of the bias are output channels
            scale = gamma.unsqueeze(1) if kind == "weight" else gamma
            folded[target] = plain[target] * scale
    return folded


def _translate(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name in _SINGLE:
        return {_SINGLE[name]: tensor}
    if name in ("pos_embed", "decoder.pos_embed"):
        _check_fixed_positions(name, tensor)
        return {}
    match = _BLOCK.match(name)
    decoder, number, inner = match.groups() if match else ("", "", "")
    stem = f"decoder.decoder_layers.{number}" if decoder else f"videomae.encoder.layer.{number}"
    if inner in _IN_BLOCK:
        return {f"{stem}.{_IN_BLOCK[inner]}": tensor}
    if inner == "attn.qkv.weight":
        return {f"{stem}.attention.attention.{part}.weight": t for part, t in _split(name, tensor).items()}
    if inner == "attn.qkv.bias":
        # Dropping the keys' bias is exact: it adds the same number to all scores of a query, which softmax cancels.
        parts = _split(name, tensor)
        return {f"{stem}.attention.attention.{p}_bias": parts[full] for p, full in (("q", "query"), ("v", "value"))}
    if inner == "attn.scale":
        raise CheckpointError.about(
            name, "the tensor {subject!r} belongs to cosine attention, which VideoMAE checkpoints don't use"
        )
    raise CheckpointError.about(
        name, "the tensor {tensor} is unknown in a checkpoint of the official layout", tensor=shown(name)
    )


def _split(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Split a tensor that stacks queries, keys and values."""
    if tensor.ndim == 0 or tensor.shape[0] % 3:
        rows = tensor.shape[0] if tensor.ndim else 0
        raise CheckpointError.about(
            name, "the tensor {subject!r} has {rows} rows, which don't split into three", rows=rows
        )
    return dict(zip(("query", "key", "value"), tensor.chunk(3, dim=0), strict=True))


def _check_fixed_positions(name: str, tensor: Tensor) -> None:
    """Raise CheckpointError unless stored positions equal the fixed ones."""
    if tensor.ndim == 3:
        expected = sincos_table(tensor.shape[1], tensor.shape[2])
        if torch.allclose(tensor.float(), expected, atol=1e-2 if tensor.dtype == torch.bfloat16 else 1e-3):
            return
    raise CheckpointError.about(
        name, "the tensor {subject!r} holds learned positions; VideoMAE's are fixed sines and cosines"
    )

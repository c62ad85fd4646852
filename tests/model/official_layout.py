"""Checkpoints in the layout of the official code, made from our models by renaming, the other way round than loading."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

_RENAMES = (
    ("videomae.embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("videomae.encoder.layer", "blocks"),
    ("decoder.decoder_layers", "decoder.blocks"),
    ("videomae.layernorm", "norm"),
    ("attention.attention.", "attn."),
    ("attention.output.dense", "attn.proj"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("intermediate.dense", "mlp.fc1"),
    ("classifier", "head"),
)


def official_tensors(model: nn.Module, *, encoder_prefix: str = "") -> dict[str, Tensor]:
    """The model's weights under the official names; pre-training files put `encoder.` before the encoder's."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        encoder = name.startswith("videomae.")
        for ours, theirs in _RENAMES:
            name = name.replace(ours, theirs)
        name = re.sub(r"(blocks\.\d+)\.output\.dense", r"\1.mlp.fc2", name)
        renamed[(encoder_prefix if encoder else "") + name] = tensor
    stacked: dict[str, Tensor] = {}
    for name, tensor in renamed.items():
        if name.endswith("attn.query.weight"):
            stem = name.removesuffix("query.weight")
            stacked[f"{stem}qkv.weight"] = torch.cat(
                [renamed[f"{stem}{part}.weight"] for part in ("query", "key", "value")]
            )
        elif not name.endswith(("attn.key.weight", "attn.value.weight")):
            stacked[name] = tensor
    return stacked

"""Counts the arithmetic of a model from its configuration alone."""

from __future__ import annotations

from videomae_cli.model.config import VideoMAEConfig


def clip_gflops(config: VideoMAEConfig) -> float:
    """Count the encoder's multiply-adds for one clip and crop without masking, in billions.

    A multiply-add counts as one operation, as in the papers (ViT-B on 16x224x224: 180); norms, softmax, activations and
    the classifier are ignored.
    """
    tokens, width = config.num_patches, config.hidden_size
    total = tokens * config.patch_dim * width
    for layer in range(config.num_hidden_layers):
        heads = config.num_attention_heads - len(config.pruned_heads.get(layer, ()))
        attention = heads * config.head_dim
        # per layer: projections to queries, keys, values and output; attention scores and weighted sums; the MLP
        total += tokens * (4 * width * attention + 2 * tokens * attention + 2 * width * config.intermediate_size)
    return total / 1e9

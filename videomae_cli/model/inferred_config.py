"""Infers the configuration of a checkpoint that has none from the shapes of its tensors.

What shapes don't determine (heads, image size, frames, label names) comes from the caller, else from arguments stored
beside the weights, else from the model sizes of the papers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videomae_cli.errors import CheckpointError, ConfigError, Wording
from videomae_cli.model.config import VideoMAEConfig

# Width -> heads, for encoders of the sizes small, base, large, huge, giant, and for their decoders.
ENCODER_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
DECODER_HEADS = {192: 3, 384: 6, 512: 8, 640: 8}

# The epsilon of all layer norms in the blocks of the official code.
OFFICIAL_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """A caller's values that override the checkpoint's; None keeps the checkpoint's. `labels` are the names of the classifier's
    outputs, in order."""

    num_attention_heads: int | None = None
    decoder_num_attention_heads: int | None = None
    image_size: int | tuple[int, int] | None = None
    num_frames: int | None = None
    labels: Sequence[str] | None = None

    def apply(self, config: VideoMAEConfig) -> VideoMAEConfig:
        """Return the configuration with the overrides applied. Raises ConfigError if the result is invalid."""
        changes: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("num_attention_heads", "decoder_num_attention_heads", "image_size", "num_frames")
            if getattr(self, name) is not None
        }
        if self.labels is not None:
            config = config.with_labels(self.labels)
        return config.replace(**changes) if changes else config


def infer_config(
    tensors: Mapping[str, Tensor],
    *,
    overrides: Overrides,
    arguments: Mapping[str, Any] | None = None,
    model_config: Mapping[str, Any] | None = None,
    eps: float = OFFICIAL_EPS,
) -> VideoMAEConfig:
    """Infer the configuration from tensors with Hugging Face names.

    arguments: the command-line arguments that the official training script saved; model_config: the section of that
    name in a VideoMAE V2 `config.json`; eps: the epsilon of the blocks' norms, unless that section states it. Raises
    CheckpointError or ConfigError, which name what is missing.
    """
    _check_model_config(model_config or {})
    projection = "videomae.embeddings.patch_embeddings.projection.weight"
    width, channels, tubelet, *patch = _shape(tensors, projection, 5)
    mean_pooling = "videomae.layernorm.weight" not in tensors
    labels = _rows(tensors, "classifier.weight") if "classifier.weight" in tensors else 0
    fields: dict[str, Any] = {
        "patch_size": patch[0] if patch[0] == patch[1] else tuple(patch),
        "num_channels": channels,
        "tubelet_size": tubelet,
        "hidden_size": width,
        "num_hidden_layers": _layers(tensors, r"^videomae\.encoder\.layer\.(\d{1,6})\."),
        "intermediate_size": _rows(tensors, "videomae.encoder.layer.0.intermediate.dense.weight"),
        "qkv_bias": "videomae.encoder.layer.0.attention.attention.q_bias" in tensors,
        "use_mean_pooling": mean_pooling,
        "layer_norm_eps": (model_config or {}).get("layer_norm_eps", eps),
        "id2label": {index: f"LABEL_{index}" for index in range(labels)},
    }
    fields.update(_stored(arguments or {}, model_config or {}))
    fields["num_attention_heads"] = (
        overrides.num_attention_heads
        or fields.get("num_attention_heads")
        or _heads(ENCODER_HEADS, width, "{@num_attention_heads:N}")
    )
    if "decoder.head.weight" in tensors:
        decoder_width = _shape(tensors, "decoder.head.weight", 2)[1]
        layers = _layers(tensors, r"^decoder\.decoder_layers\.(\d{1,6})\.")
        fields["decoder_hidden_size"] = decoder_width
        fields["decoder_num_hidden_layers"] = layers
        if layers:
            inner = _rows(tensors, "decoder.decoder_layers.0.intermediate.dense.weight")
            fields["decoder_intermediate_size"] = inner
        fields["decoder_num_attention_heads"] = overrides.decoder_num_attention_heads or _heads(
            DECODER_HEADS, decoder_width, "{@decoder_num_attention_heads:N}"
        )
    return overrides.apply(VideoMAEConfig(**fields))


def _stored(arguments: Mapping[str, Any], model_config: Mapping[str, Any]) -> dict[str, Any]:
    """Extract image size, frames and heads from what was saved beside the weights."""
    found: dict[str, Any] = {}
    for target, source, name in (
        ("image_size", arguments, "input_size"),
        ("num_frames", arguments, "num_frames"),
        ("image_size", model_config, "img_size"),
        ("num_frames", model_config, "num_frames"),
        ("num_attention_heads", model_config, "num_heads"),
    ):
        value = source.get(name)
        if isinstance(value, list | tuple) and target == "image_size":
            found[target] = tuple(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            found[target] = value
    # the official fine-tuning concatenates this many segments of frames into one input
    segments = arguments.get("num_segments")
    if isinstance(segments, int) and segments > 1 and arguments.get("num_frames") == found.get("num_frames"):
        found["num_frames"] = found.get("num_frames", VideoMAEConfig().num_frames) * segments
    return found


def _check_model_config(model_config: Mapping[str, Any]) -> None:
    for name, meaning in (("cos_attn", "cosine attention"), ("use_learnable_pos_emb", "learned positions")):
        if model_config.get(name):
            raise ConfigError.about(
                name,
                "model_config sets {subject}: {meaning} is not part of VideoMAE and not supported",
                meaning=meaning,
            )


def _heads(known: Mapping[int, int], width: int, option: str) -> int:
    if width not in known:
        raise ConfigError.about(
            "num_attention_heads",
            "the checkpoint doesn't say how many attention heads a width of {width} has",
            width=width,
            remedy=Wording(f"{option} settles it"),
            joined="; ",
        )
    return known[width]


def _shape(tensors: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError.about(name, "the checkpoint lacks the tensor {subject!r}; it is no VideoMAE")
    shape = tuple(tensors[name].shape)
    if len(shape) != dimensions:
        raise CheckpointError.about(
            name,
            "the tensor {subject!r} has shape {shape}; a VideoMAE's has {dimensions} dimensions",
            shape=shape,
            dimensions=dimensions,
        )
    return shape


def _rows(tensors: Mapping[str, Tensor], name: str) -> int:
    return _shape(tensors, name, 2)[0]


def _layers(tensors: Mapping[str, Tensor], pattern: str) -> int:
    numbers = [int(match.group(1)) for name in tensors if (match := re.match(pattern, name))]
    return max(numbers) + 1 if numbers else 0

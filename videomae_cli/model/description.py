"""Describes a checkpoint without running it: architecture, size, cost, labels, sampling, licence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videomae_cli import filesystem
from videomae_cli.hub import ResolvedSource, find_entry, resolve
from videomae_cli.model.adapters import base_of, is_adapter
from videomae_cli.model.checkpoint_loading import Checkpoint, Kind, load_checkpoint
from videomae_cli.model.checkpoints import find_weights
from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.cost import clip_gflops
from videomae_cli.model.inferred_config import Overrides
from videomae_cli.model.pretrained import PretrainedModel, fit
from videomae_cli.model.pretraining import VideoMAEForPreTraining
from videomae_cli.model.videomae import VideoMAEForVideoClassification, VideoMAEModel

MODEL_CLASSES: dict[Kind, type[PretrainedModel]] = {
    "encoder": VideoMAEModel,
    "classification": VideoMAEForVideoClassification,
    "pretraining": VideoMAEForPreTraining,
}

# Advice on the published ViT-S checkpoints: their converter wrote 16 heads, but the official ViT-S has 6.
SMALL_HEADS = (
    "config.json says 16 heads, the official ViT-S was trained with 6, and the shapes are the same for both. To measure it: "
    "videomae evaluate DATA --model MODEL on labelled clips, once as it is and once with --heads 6; the true number comes "
    "near the published accuracy (Kinetics-400: 79.0%, Something-Something V2: 66.8%), the other stays far below"
)
_SIZES = {(384, 12): "ViT-S", (768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H", (1408, 40): "ViT-g"}
_LICENCE_LINE = re.compile(r"^license:\s*['\"]?([^'\"\n#]+)", re.MULTILINE)


@dataclass(frozen=True)
class ModelDescription:
    """Facts about a checkpoint. `gflops`: see `clip_gflops`; `sampling`, `licence`: None if unknown; `note`: what a user
    should know before relying on it."""

    name: str
    path: Path
    origin: str
    revision: str | None
    kind: Kind
    config: VideoMAEConfig
    weights: str
    parameters: int
    gflops: float
    labels: tuple[str, ...]
    sampling: Mapping[str, Any] | None
    licence: str | None
    note: str | None = None

    @property
    def architecture(self) -> str:
        """A summary such as "ViT-B/16x16, 16 frames of 224x224, tubelet 2: 12 layers, 768 wide, 12 heads"."""
        config = self.config
        size = _SIZES.get((config.hidden_size, config.num_hidden_layers), "ViT")
        (height, width), (patch_height, patch_width) = config.image_hw, config.patch_hw
        return (
            f"{size}/{patch_height}x{patch_width}, {config.num_frames} frames of {height}x{width}, "
            f"tubelet {config.tubelet_size}: {config.num_hidden_layers} layers, {config.hidden_size} wide, "
            f"{config.num_attention_heads} heads"
        )


def describe(
    source: str | Path,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    num_attention_heads: int | None = None,
    decoder_num_attention_heads: int | None = None,
) -> ModelDescription:
    """Describe a bundled model, a directory, a weights file or a hub id.

    The numbers of heads are needed only if the checkpoint doesn't say. Raises what `from_pretrained` raises.
    """
    resolved = resolve(str(source), revision=revision, local_files_only=local_files_only)
    overrides = Overrides(
        num_attention_heads=num_attention_heads, decoder_num_attention_heads=decoder_num_attention_heads
    )
    return describe_resolved(resolved, overrides=overrides)


def describe_resolved(resolved: ResolvedSource, *, overrides: Overrides) -> ModelDescription:
    """Describe a model whose name has been resolved already."""
    return describe_checkpoint(load_checkpoint(resolved.path, overrides=overrides), resolved)


def describe_checkpoint(checkpoint: Checkpoint, resolved: ResolvedSource) -> ModelDescription:
    """Describe a checkpoint that has been loaded from `resolved`. Raises CheckpointError if its weights don't fit its
    configuration."""
    kind, config = checkpoint.kind, checkpoint.config
    with torch.device("meta"):
        model = MODEL_CLASSES[kind](config)
    fit(model, checkpoint)
    entry = find_entry(resolved.name)
    ours = config.extra.get("videomae_cli")
    section: Mapping[str, Any] = ours if isinstance(ours, dict) else {}
    sampling = section.get("sampling")
    if not isinstance(sampling, dict):
        sampling = {"family": entry.family, "protocol": entry.protocol} if entry else None
    heads = SMALL_HEADS if (config.hidden_size, config.num_attention_heads) == (384, 16) else None
    return ModelDescription(
        name=resolved.name,
        path=resolved.path,
        origin=resolved.origin,
        revision=resolved.revision,
        kind=kind,
        config=config,
        weights=_weights_name(resolved.path),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        gflops=clip_gflops(config),
        labels=tuple(config.id2label.values()) if kind == "classification" else (),
        sampling=sampling,
        licence=licence_of(resolved, config),
        note="; ".join(note for note in (checkpoint.note, heads) if note) or None,
    )


def _weights_name(path: Path) -> str:
    if is_adapter(path):
        return f"an adapter, merged into {base_of(path)}"
    return find_weights(path).name if filesystem.is_folder(path) else path.name


def licence_of(resolved: ResolvedSource, config: VideoMAEConfig) -> str | None:
    """Return the licence that a checkpoint's configuration, the registry or its model card states, in this order."""
    ours = config.extra.get("videomae_cli")
    entry = find_entry(resolved.name)
    folder = resolved.path if filesystem.is_folder(resolved.path) else resolved.path.parent
    stated = ours.get("license") if isinstance(ours, dict) else None
    found = stated or (entry.licence if entry else None) or _licence_of_card(folder)
    return str(found) if found else None


def _licence_of_card(folder: Path) -> str | None:
    """Read the licence in the front matter of a model card, or return None."""
    try:
        with filesystem.opened(folder / "README.md") as file:
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    if not text.startswith("---"):
        return None
    found = _LICENCE_LINE.search(text.split("\n---", 1)[0])
    return found.group(1).strip() if found else None

"""Loads the encoder of any kind of checkpoint, to compute features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from videomae_cli.hub import resolve
from videomae_cli.model.checkpoint_loading import load_checkpoint
from videomae_cli.model.inferred_config import Overrides
from videomae_cli.model.videomae import VideoMAEForVideoClassification, VideoMAEModel


def load_encoder(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    num_attention_heads: int | None = None,
    labels: Sequence[str] | None = None,
) -> VideoMAEModel | VideoMAEForVideoClassification:
    """Load a checkpoint's encoder in evaluation mode; a classifier is loaded whole, since its features include `fc_norm`.

    Raises ModelNotFoundError, DownloadError, CheckpointError or ConfigError.
    """
    path = resolve(str(source)).path
    checkpoint = load_checkpoint(path, overrides=Overrides(num_attention_heads=num_attention_heads, labels=labels))
    kind = VideoMAEForVideoClassification if checkpoint.kind == "classification" else VideoMAEModel
    model = kind.from_checkpoint(checkpoint, device=device)
    assert isinstance(model, VideoMAEModel | VideoMAEForVideoClassification)
    return model

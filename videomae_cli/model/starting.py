"""Builds the classifier that fine-tuning starts from: new labels on the encoder of any checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videomae_cli.errors import CheckpointError
from videomae_cli.model.checkpoint_loading import Checkpoint, check_numbers
from videomae_cli.model.pretrained import check_shapes
from videomae_cli.model.videomae import VideoMAEForVideoClassification

# Scale of a new classifier's initial weights: small, so that the first steps hardly disturb the encoder (BEiT's
# recipe).
HEAD_SCALE = 0.001


def start_classifier(
    checkpoint: Checkpoint,
    *,
    labels: Sequence[str],
    problem_type: str = "single_label_classification",
    drop_path: float = 0.0,
    head_scale: float = HEAD_SCALE,
    keep_norm: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> VideoMAEForVideoClassification:
    """Build a classifier of `labels` on the checkpoint's encoder with mean pooling and `fc_norm`, in training mode, float32.

    problem_type: as in a configuration. `fc_norm` is the checkpoint's, else its final norm (unless keep_norm is False,
    as in the official code), else new. The classifier is the checkpoint's if it matches (see `has_classifier`), else
    new with its weights multiplied by head_scale. extra: additional keys of config.json. Raises CheckpointError or
    ConfigError.
    """
    before = checkpoint.config
    config = before.replace(
        use_mean_pooling=True,
        id2label=dict(enumerate(labels)),
        problem_type=problem_type,
        drop_path_rate=drop_path,
        extra=dict(extra or {}),
    )
    # Shapes are compared on the meta device, before a configuration that doesn't match its weights takes memory.
    with torch.device("meta"):
        shapes = VideoMAEForVideoClassification(config).state_dict()
    tensors: dict[str, Tensor] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith("videomae.layernorm."):
            if not keep_norm:
                continue
            tensors.setdefault(name.replace("videomae.layernorm", "fc_norm"), tensor)
        elif name.startswith(("videomae.", "fc_norm.")) or (
            name.startswith("classifier.") and has_classifier(checkpoint, labels, problem_type)
        ):
            tensors[name] = tensor
    _check(checkpoint.path, shapes, tensors)
    check_numbers(tensors, checkpoint.path)
    model = VideoMAEForVideoClassification(config)
    wanted = model.state_dict()
    with torch.no_grad():
        if isinstance(model.classifier, torch.nn.Linear):
            model.classifier.weight.mul_(head_scale)
        for name, tensor in tensors.items():
            wanted[name].copy_(tensor)
    return model.train()


def has_classifier(checkpoint: Checkpoint, labels: Sequence[str], problem_type: str) -> bool:
    """Return whether the checkpoint's classifier can be reused: same labels in the same order, same kind of problem."""
    before = checkpoint.config
    # The model's own rule: without a problem type, a single output means regression.
    values = before.problem_type == "regression" or (before.problem_type is None and before.num_labels == 1)
    return (
        "classifier.weight" in checkpoint.tensors
        and list(before.id2label.values()) == list(labels)
        and values == (problem_type == "regression")
    )


def _check(path: Path, wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    missing = [name for name in wanted if name.startswith("videomae.") and name not in tensors]
    if missing:
        raise CheckpointError.about(
            path, "{subject} lacks the tensor {missing!r}: it is no whole encoder to start from", missing=missing[0]
        )
    for name in tensors:
        if name not in wanted:
            raise CheckpointError.about(
                path, "{subject} holds the tensor {name!r}, for which its configuration has no place", name=name
            )
    check_shapes({name: tuple(tensor.shape) for name, tensor in wanted.items()}, tensors, path)

"""The VideoMAE model core: our own PyTorch, exact against the reference, reading every checkpoint format."""

from __future__ import annotations

from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.outputs import ClassifierOutput, EncoderOutput, PreTrainingOutput
from videomae_cli.model.pretraining import VideoMAEForPreTraining
from videomae_cli.model.videomae import VideoMAEForVideoClassification, VideoMAEModel

__all__ = [
    "ClassifierOutput",
    "EncoderOutput",
    "PreTrainingOutput",
    "VideoMAEConfig",
    "VideoMAEForPreTraining",
    "VideoMAEForVideoClassification",
    "VideoMAEModel",
]

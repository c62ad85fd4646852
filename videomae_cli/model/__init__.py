"""The VideoMAE model in plain PyTorch: matches the reference implementation and reads every checkpoint format."""

from __future__ import annotations

from videomae_cli.model.checkpoint_loading import Checkpoint, load_checkpoint
from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.convert import convert
from videomae_cli.model.describe import ModelDescription, clip_gflops, describe
from videomae_cli.model.encoders import load_encoder
from videomae_cli.model.identity import weights_digest
from videomae_cli.model.inferred_config import Overrides
from videomae_cli.model.outputs import ClassifierOutput, EncoderOutput, PreTrainingOutput
from videomae_cli.model.pretraining import VideoMAEForPreTraining
from videomae_cli.model.starting import HEAD_SCALE, has_classifier, start_classifier
from videomae_cli.model.videomae import VideoMAEForVideoClassification, VideoMAEModel

__all__ = [
    "HEAD_SCALE",
    "Checkpoint",
    "ClassifierOutput",
    "EncoderOutput",
    "ModelDescription",
    "Overrides",
    "PreTrainingOutput",
    "VideoMAEConfig",
    "VideoMAEForPreTraining",
    "VideoMAEForVideoClassification",
    "VideoMAEModel",
    "clip_gflops",
    "convert",
    "describe",
    "has_classifier",
    "load_checkpoint",
    "load_encoder",
    "start_classifier",
    "weights_digest",
]

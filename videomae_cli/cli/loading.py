"""A model's name on the command line -> a `Classifier` ready to use: weights, preprocessing, device, sampling hints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli.cli.transfers import bring
from videomae_cli.errors import CheckpointError
from videomae_cli.hub import find_entry
from videomae_cli.labels import read_labels
from videomae_cli.video import PreprocessConfig, Preprocessor

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier


@dataclass(frozen=True)
class SamplingHints:
    """How the checkpoint's training data was sampled; None where nothing tells."""

    frames: int
    family: str | None
    stride: int | None


@dataclass(frozen=True)
class ModelRequest:
    """Which model, and how to use it: the options of a command, as given."""

    name: str
    revision: str | None = None
    device: str = "auto"
    resize: str = "antialias"
    top_k: int = 5
    batch_size: int | None = None
    heads: int | None = None
    labels: Path | None = None


def load_classifier(request: ModelRequest) -> tuple[Classifier, SamplingHints]:
    """Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError or OptionError."""
    from videomae_cli.cli.display import consoles, waiting
    from videomae_cli.model import VideoMAEForVideoClassification
    from videomae_cli.pipeline import Classifier, auto_batch_size, pick_device

    device = pick_device(request.device)  # before the download: a wrong --device shouldn't wait for it
    labels = read_labels(request.labels) if request.labels else None
    source = bring(request.name, request.revision)
    with waiting(f"loading {request.name}", consoles()[1]):
        # What was found is loaded by its path: the same files, and the hub is not asked twice.
        model = VideoMAEForVideoClassification.from_pretrained(
            source.path, device=device, num_attention_heads=request.heads, labels=labels
        )
    config = model.config
    if config.num_labels == 0:
        raise CheckpointError(f"{source.name} gives features, not labels: choose a fine-tuned checkpoint")
    folder = source.path if source.path.is_dir() else source.path.parent
    processor = PreprocessConfig.from_directory(folder, config.image_hw)
    classifier = Classifier(
        model=model,
        preprocessor=Preprocessor(processor, resize=request.resize),
        name=source.name,
        revision=source.revision,
        top_k=request.top_k,
        batch_size=request.batch_size or auto_batch_size(config, device),
    )
    return classifier, find_hints(config.num_frames, config.extra, source.name)


def find_hints(frames: int, extra: Mapping[str, Any], name: str) -> SamplingHints:
    """How a checkpoint's training data was sampled. Our own section of config.json says it best; else the registry, by the model's name."""
    section = extra.get("videomae_cli")
    sampling = section.get("sampling") if isinstance(section, dict) else None
    if isinstance(sampling, dict):
        family, stride = sampling.get("family"), sampling.get("stride")
        if not isinstance(family, str) or not (stride is None or isinstance(stride, int)):
            raise CheckpointError(f"{name}: its config.json names a sampling that makes no sense: {sampling!r}")
        return SamplingHints(frames, family, stride)
    entry = find_entry(name)
    return SamplingHints(frames, entry.family if entry else None, None)

"""A model's name on the command line -> a `Classifier` ready to use: weights, preprocessing, engine, sampling hints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli.cli.transfers import bring
from videomae_cli.errors import CheckpointError, VideoMAEError
from videomae_cli.hub import find_entry
from videomae_cli.labels import read_labels
from videomae_cli.video import ClipRequest, Decoder, FoundVideo, PreprocessConfig, Preprocessor, SamplingSpec

if TYPE_CHECKING:
    from torch import Tensor

    from videomae_cli.pipeline import Classifier


@dataclass(frozen=True)
class SamplingHints:
    """How the checkpoint's training data was sampled; None where nothing tells."""

    frames: int
    family: str | None
    stride: int | None


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """Which model, and what runs it: the options of a command, as given."""

    name: str
    revision: str | None = None
    device: str = "auto"
    engine: str = "torch"
    dtype: str = "auto"
    compiled: bool = False
    resize: str = "antialias"
    batch_size: int | None = None
    heads: int | None = None


@dataclass(frozen=True, kw_only=True)
class ClassifierRequest(ModelRequest):
    """The same of a model with labels, and how they are told."""

    top_k: int = 5
    labels: Path | None = None


# For eight-bit numbers: so many clips as the model will get them, (1, T, C, H, W) float32 each.
Calibrate = Callable[[Preprocessor, SamplingHints, int], Iterable["Tensor"]]


def load_classifier(request: ClassifierRequest, calibrate: Calibrate | None = None) -> tuple[Classifier, SamplingHints]:
    """Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError."""
    from videomae_cli.cli.display import consoles, waiting
    from videomae_cli.engines import Logits, calibration_clips, make_network, pick_engine
    from videomae_cli.model import VideoMAEForVideoClassification, weights_digest
    from videomae_cli.pipeline import Classifier, auto_batch_size, pick_device

    # Before the download: wrong options shouldn't wait for it.
    engine = pick_engine(request.engine, request.dtype, pick_device(request.device), request.compiled)
    labels = read_labels(request.labels) if request.labels else None
    source = bring(request.name, request.revision)
    with waiting(f"loading {request.name}", consoles()[1]):
        # What was found is loaded by its path: the same files, and the hub is not asked twice.
        model = VideoMAEForVideoClassification.from_pretrained(
            source.path, num_attention_heads=request.heads, labels=labels
        )
        weights = weights_digest(model)
    config = model.config
    if config.num_labels == 0:
        raise CheckpointError(f"{source.name} gives features, not labels: choose a fine-tuned checkpoint")
    preprocessor = preprocessor_for(source.path, config.image_hw, request.resize)
    hints = find_hints(config.num_frames, config.extra, source.name)
    size = request.batch_size or auto_batch_size(config, engine.device)
    with waiting(f"preparing {request.name}", consoles()[1]):
        clips = (lambda: calibrate(preprocessor, hints, calibration_clips(config))) if calibrate else None
        network = make_network(Logits(model), engine, digest=weights, size=size, calibration=clips)
    classifier = Classifier(
        model=model,
        preprocessor=preprocessor,
        name=source.name,
        revision=source.revision,
        top_k=request.top_k,
        batch_size=size,
        network=network,
        weights=weights,
    )
    return classifier, hints


def preprocessor_for(path: Path, image_hw: tuple[int, int], resize: str) -> Preprocessor:
    """As the checkpoint at `path` wants its frames. Raises ConfigError."""
    folder = path if path.is_dir() else path.parent
    return Preprocessor(PreprocessConfig.from_directory(folder, image_hw), resize=resize)


def with_hints(asked: SamplingSpec, hints: SamplingHints) -> SamplingSpec:
    """The sampling asked for as this model needs it."""
    return replace(asked, frames=hints.frames, checkpoint_family=hints.family, checkpoint_stride=hints.stride)


def calibration_on(found: Sequence[FoundVideo], asked: SamplingSpec, decoder: Decoder) -> Calibrate:
    """Clips of the job's own files, spread over the list: one of each, of few files more."""

    def clips(preprocessor: Preprocessor, hints: SamplingHints, count: int) -> Iterator[Tensor]:
        good = [video for video in found if video.error is None]
        if not good:
            return
        chosen = good[:: max(1, len(good) // count)][:count]
        several = -(-count // len(chosen))
        spec = replace(with_hints(asked, hints), clips=several, crops=1, protocol="auto")
        transform = preprocessor.frame_transform(crops=1)
        requests = (ClipRequest(video.path, sampling=spec, transform=transform) for video in chosen)
        for _, outcome in decoder.decode_all(requests):
            if isinstance(outcome, VideoMAEError):
                continue  # the job itself will tell what is wrong with it
            for view in outcome.views():
                yield preprocessor.to_pixel_values(view[None])

    return clips


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

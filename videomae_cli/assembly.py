"""Builds a ready `Classifier` or `Embedder`, and its settings, from a checkpoint on this disk and a command's options.

The pipeline receives models and never loads one; they are loaded here, for commands and cluster workers alike.
Names have been resolved by then (`hub.resolve`): nothing here uses the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli import __version__, filesystem
from videomae_cli.arguments import at_least
from videomae_cli.errors import CheckpointError, ConfigError, VideoMAEError
from videomae_cli.hub import ResolvedSource, find_entry
from videomae_cli.jobs import Settings
from videomae_cli.video import (
    ClipRequest,
    Decoder,
    FoundVideo,
    PreprocessConfig,
    Preprocessor,
    SamplingHints,
    SamplingSpec,
)
from videomae_cli.video.sampling import PIXELS

if TYPE_CHECKING:
    from torch import Tensor

    from videomae_cli.engines import Engine, Features, Logits
    from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel
    from videomae_cli.pipeline import Classifier, Embedder


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """The options of a command that choose a model and what runs it, unchanged."""

    name: str
    revision: str | None = None
    device: str = "auto"
    engine: str = "torch"
    dtype: str = "auto"
    compiled: bool = False
    resize: str = "antialias"
    batch_size: int | None = None
    heads: int | None = None

    def __post_init__(self) -> None:
        at_least(1, batch_size=self.batch_size, heads=self.heads)

    def pick_engine(self) -> Engine:
        """Choose the engine that runs the model here. Raises OptionError if this machine lacks it."""
        from videomae_cli.engines import pick_engine
        from videomae_cli.pipeline import pick_device

        return pick_engine(self.engine, self.dtype, pick_device(self.device), self.compiled)


@dataclass(frozen=True, kw_only=True)
class ClassifierRequest(ModelRequest):
    """Request for a classifier, with options for its labels.

    top_k: labels per file, best first; labels: names for classes that the checkpoint does not name.
    """

    top_k: int = 5
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, top_k=self.top_k)


@dataclass(frozen=True, kw_only=True)
class EmbedderRequest(ModelRequest):
    """Request for an encoder, with options for pooling its tokens into vectors."""

    pool: str = "mean"
    layer: int | None = None
    normalize: bool = False
    per_clip: bool = False
    storage: str = "float32"


# Yields the given number of preprocessed clips for int8 calibration, (1, T, C, H, W) float32 each.
Calibrate = Callable[[Preprocessor, SamplingHints, int], Iterable["Tensor"]]


def make_classifier(
    source: ResolvedSource, request: ClassifierRequest, engine: Engine, calibrate: Calibrate | None = None
) -> Classifier:
    """Load a model with labels. Raises CheckpointError, ConfigError, DependencyError or OptionError."""
    from videomae_cli.engines import Logits
    from videomae_cli.model import VideoMAEForVideoClassification
    from videomae_cli.pipeline import Classifier

    # Load by path: the files already found, without asking the hub again.
    model = VideoMAEForVideoClassification.from_pretrained(
        source.path, num_attention_heads=request.heads, labels=request.labels
    )
    if model.config.num_labels == 0:
        raise CheckpointError.about(source.name, "{subject} gives features, not labels: choose a fine-tuned checkpoint")
    common = _common(source, request, engine, model, Logits(model), calibrate)
    return Classifier(model=model, top_k=request.top_k, **common)


def make_embedder(
    source: ResolvedSource, request: EmbedderRequest, engine: Engine, calibrate: Calibrate | None = None
) -> Embedder:
    """Load an encoder from any kind of checkpoint. Raises CheckpointError, ConfigError, DependencyError or OptionError."""
    from videomae_cli.engines import Features
    from videomae_cli.model import load_encoder
    from videomae_cli.pipeline import Embedder, Pooling

    pooling = Pooling(request.pool, request.layer, request.normalize, request.per_clip)
    model = load_encoder(source.path, num_attention_heads=request.heads)
    pooling.check(model.config, crops=1)
    common = _common(source, request, engine, model, Features(model, pooling.pool, pooling.layer), calibrate)
    return Embedder(model=model, pooling=pooling, storage=request.storage, **common)


def _common(
    source: ResolvedSource,
    request: ModelRequest,
    engine: Engine,
    model: VideoMAEModel | VideoMAEForVideoClassification,
    part: Logits | Features,
    calibrate: Calibrate | None,
) -> dict[str, Any]:
    """Make the fields that all `PipelineModel`s share. part: the part of the model that is run."""
    from videomae_cli.engines import calibration_clips, make_network
    from videomae_cli.model import weights_digest
    from videomae_cli.pipeline import auto_batch_size

    weights = weights_digest(model)  # computed before an engine changes the weights
    config = model.config
    preprocessor = preprocessor_for(source.path, config, request.resize)
    hints = find_hints(config.num_frames, config.extra, source.name)
    size = request.batch_size or auto_batch_size(config, engine.device)
    clips = (lambda: calibrate(preprocessor, hints, calibration_clips(config))) if calibrate else None
    return {
        "preprocessor": preprocessor,
        "name": source.name,
        "revision": source.revision,
        "batch_size": size,
        "network": make_network(part, engine, digest=weights, size=size, calibration=clips),
        "weights": weights,
        "hints": hints,
    }


def settings_of(command: str, model: Classifier | Embedder, spec: SamplingSpec) -> Settings:
    """Return all settings that determine the results of `command`."""
    preprocessor = model.preprocessor.for_protocol(spec.protocol)
    values = {
        "model": model.name,
        "revision": model.revision,
        **model.settings,
        "resize": preprocessor.resize,
        "preprocessing": asdict(preprocessor.config),
        "sampling": asdict(spec),
    }
    return settings_for(command, values)


def settings_for(command: str, values: Mapping[str, Any]) -> Settings:
    """Return the settings of a job that this version makes."""
    return Settings(command, __version__, values)


def preprocessor_for(path: Path, config: VideoMAEConfig, resize: str) -> Preprocessor:
    """Return the preprocessor that the checkpoint at `path` asks for.

    Raises ConfigError, also if the model can't take RGB frames.
    """
    folder = path if filesystem.is_folder(path) else path.parent
    if config.num_channels != 3:
        kind = "channel" if config.num_channels == 1 else "channels"
        raise ConfigError.about(
            path,
            "{subject} reads {num_channels} {kind} a frame, and frames of videos have 3: such a model can "
            "be described and converted, not run on videos",
            num_channels=config.num_channels,
            kind=kind,
        )
    processing = PreprocessConfig.from_directory(folder, config.image_hw)
    _check_frames(processing, config, folder)
    return Preprocessor(processing, resize=resize)


def check_processors(contents: Mapping[str, dict[str, Any]], config: VideoMAEConfig, path: Path) -> None:
    """Check processor files against the configuration beside them, as loading will. Raises ConfigError naming the source."""
    folder = path if filesystem.is_folder(path) else path.parent
    _check_frames(PreprocessConfig.from_files(contents, folder, config.image_hw), config, folder)


def _check_frames(processing: PreprocessConfig, config: VideoMAEConfig, folder: Path) -> None:
    made = processing.crop or processing.size
    if made and made != tuple(config.image_hw):
        (height, width), (rows, columns) = made, config.image_hw
        raise ConfigError.about(
            folder,
            "{subject}: its processor makes frames of {height}x{width}, but its model reads "
            "{rows}x{columns}; make its preprocessor_config.json say what config.json says",
            height=height,
            width=width,
            rows=rows,
            columns=columns,
        )


def calibration_on(found: Sequence[FoundVideo], asked: SamplingSpec, decoder: Decoder) -> Calibrate:
    """Return a function that yields calibration clips from the job's files, evenly spread; several per file if there are few."""

    def clips(preprocessor: Preprocessor, hints: SamplingHints, count: int) -> Iterator[Tensor]:
        chosen = spread(found, count)
        if not chosen:
            return
        several = -(-count // len(chosen))
        spec = replace(asked.for_model(hints), clips=several, crops=1, protocol="auto")
        transform = preprocessor.for_protocol(asked.protocol).frame_transform(crops=1)
        requests = (ClipRequest(video.path, sampling=spec, transform=transform) for video in chosen)
        for _, outcome in decoder.decode_all(requests):
            if isinstance(outcome, VideoMAEError):
                continue  # the job itself will report this error
            for view in outcome.views():
                yield preprocessor.to_pixel_values(view[None])

    return clips


def spread(found: Sequence[FoundVideo], count: int) -> list[FoundVideo]:
    """Pick at most `count` of the files without an error, evenly from the whole list."""
    good = [video for video in found if video.error is None]
    return good[:: max(1, len(good) // count)][:count]


def pixels_note(name: str, trained: str | None, used: str) -> str | None:
    """Return a note if a model gets a kind of pixels ("display", "stored") that it was not trained on, else None."""
    if trained in (None, used):
        return None
    return f"{name} was trained on {trained} pixels, and gets {used} ones, as the options say"


def find_hints(frames: int, extra: Mapping[str, Any], name: str) -> SamplingHints:
    """Return how a checkpoint's training data was sampled, from our section of config.json or else the registry."""
    section = extra.get("videomae_cli")
    sampling = section.get("sampling") if isinstance(section, dict) else None
    if isinstance(sampling, dict):
        family, stride, pixels = sampling.get("family"), sampling.get("stride"), sampling.get("pixels")
        if (
            not isinstance(family, str)
            or not (stride is None or isinstance(stride, int))
            or pixels not in (None, *PIXELS)
        ):
            raise CheckpointError.about(
                name, "{subject}: its config.json names a sampling that makes no sense: {sampling!r}", sampling=sampling
            )
        return SamplingHints(frames, family, stride, pixels)
    entry = find_entry(name)
    return SamplingHints(frames, entry.family if entry else None)

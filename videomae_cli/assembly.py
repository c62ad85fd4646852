"""Builds a ready `Classifier` or `Embedder`, and its settings, from a checkpoint on this disk and a command's options.

The pipeline receives models and never loads one; they are loaded here, for commands and cluster workers alike.
Names have been resolved by then: of the functions here, only `find_model` uses the network.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from videomae_cli import __version__, filesystem, system
from videomae_cli.arguments import at_least
from videomae_cli.content import HEAD_BYTES, Content, content_of
from videomae_cli.engines import packages
from videomae_cli.engines.choosing import Lasts, known_choice, unknown_length, worth_measuring
from videomae_cli.engines.onnx_reading import ExportedOnnx, is_exported, read_exported
from videomae_cli.engines.precision import TORCH_FREE
from videomae_cli.errors import (
    CheckpointError,
    ConfigError,
    DependencyError,
    ModelNotFoundError,
    OptionError,
    OutputError,
    VideoMAEError,
    Wording,
    say,
)
from videomae_cli.hub import DownloadListener, ResolvedSource, find_entry, resolve
from videomae_cli.jobs import Part, Settings, Shard
from videomae_cli.model import ModelOutline
from videomae_cli.video import (
    ClipRequest,
    CountedWindows,
    Decoder,
    FoundVideo,
    PreprocessConfig,
    Preprocessor,
    SamplingHints,
    SamplingSpec,
    WindowSpec,
    auto_workers,
)
from videomae_cli.video.decoder import check_timeout
from videomae_cli.video.file_list import FileList, Sample, spread
from videomae_cli.video.sampling import PIXELS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from videomae_cli.engines import Engine, Features, KnownCheckpoint, Logits, Network
    from videomae_cli.engines.timings import Fastest
    from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel
    from videomae_cli.pipeline import Classifier, DenseEmbedder, Embedder, Pooling, TimelineMaker
    from videomae_cli.segments import SegmentRules

# The settings that a network's identity consists of.
# Files that are not checked for being videos, since weights may happen to begin like one.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def find_model(name: str, revision: str | None, listener: DownloadListener | None = None) -> ResolvedSource:
    """Find a model, downloading it if it is not on this disk; listener: receives the download's progress.

    Raises ModelNotFoundError, also for a video given as a model, or DownloadError.
    """
    source = resolve(name, revision=revision, listener=listener)
    if filesystem.is_file(source.path) and source.path.suffix not in _WEIGHTS and (content := _film_in(source.path)):
        raise ModelNotFoundError.about(
            name,
            "{subject!r} is {content}, not a model",
            remedy=Wording("give a checkpoint or a model's name, and videos {@videos_place}"),
            content=content.words,
        )
    return source


def _film_in(file: Path) -> Content | None:
    """Determine the kind of a video or sound file; None for anything else."""
    try:
        with file.open("rb") as stream:
            content = content_of(stream.read(HEAD_BYTES))
    except OSError:
        return None  # loading it will report the problem
    return content if content is not None and content.family in ("video", "sound") else None


@dataclass(frozen=True, kw_only=True)
class DecoderOptions:
    """The limits of a decoding process, and the number of processes: by default one for each core or file."""

    timeout: float | None = 120.0
    memory: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        check_timeout(self.timeout)
        at_least(1, memory=self.memory, workers=self.workers)

    def decoder(self, files: int) -> Decoder:
        """Make a decoder for this many files. Raises OptionError."""
        return Decoder(timeout=self.timeout, memory=self.memory, workers=self.workers or auto_workers(files))


# Yields the given number of preprocessed clips for int8 calibration, (1, T, C, H, W) float32 each.
Calibrate = Callable[[Preprocessor, SamplingHints, int], Iterable["Tensor"]]
Loaded = TypeVar("Loaded", covariant=True)
# Chooses what runs a model whose weights and configuration are known.
Choose = Callable[["KnownCheckpoint"], "Engine"]


@dataclass(frozen=True)
class EngineChoice:
    """The engine that was chosen for a model. measured: what it was chosen by; None if by nothing."""

    engine: Engine
    measured: Fastest | None = None


@dataclass(frozen=True, kw_only=True)
class ModelRequest(ABC, Generic[Loaded]):
    """The options of a command that choose a model and what runs it, unchanged."""

    name: str
    revision: str | None = None
    device: str = "auto"
    engine: str = "auto"
    dtype: str = "auto"
    compiled: bool = False
    resize: str = "antialias"
    batch_size: int | None = None
    heads: int | None = None

    def __post_init__(self) -> None:
        at_least(1, batch_size=self.batch_size, heads=self.heads)

    @property
    def is_open(self) -> bool:
        """Whether the engine is left to what was measured on this machine; a named format or `compiled` means PyTorch."""
        given = self.dtype != "auto" or self.compiled or self.device not in ("auto", "cpu")
        return self.engine == "auto" and not given and self._exported_file is None

    @property
    def _exported_file(self) -> Path | None:
        """The file of a model that was exported as ONNX, which only that engine runs; None for anything else."""
        path = Path(filesystem.home_expanded(self.name))
        return path if is_exported(path) else None

    def choose(self, known: KnownCheckpoint, lasts: Lasts = unknown_length) -> EngineChoice:
        """Choose the fastest engine that was measured here for these weights and is near float32; else PyTorch's default.

        lasts: whether the job takes so many seconds. Raises OptionError.
        """
        from videomae_cli.engines import HostCPU, pick_engine

        found = None
        if self.is_open and self._runs_on_cpu:
            found = known_choice(known.weights, partial(self._is_converted, known), lasts)
        if found is None:
            return EngineChoice(replace(self, engine="torch").pick_engine())
        if found.engine == "torch":
            return EngineChoice(replace(self, engine="torch", dtype=found.dtype).pick_engine(), found)
        return EngineChoice(pick_engine(found.engine, found.dtype, HostCPU()), found)

    def worth_measuring(self, known: KnownCheckpoint, lasts: Lasts) -> list[tuple[str, str]]:
        """List the engines and formats that may be faster here than PyTorch in float32, if none was measured yet and the job
        is long enough to earn a measurement."""

        if not (self.is_open and self._runs_on_cpu):
            return []
        return worth_measuring(known.weights, partial(self._is_converted, known), lasts)

    def part(self, path: Path) -> Logits | Features:
        """Load the part of the model that is run, in PyTorch and float32. Raises what loading raises."""
        return self._part(self._load(path))

    @property
    def _runs_on_cpu(self) -> bool:
        """Whether the model runs on the CPU; asks PyTorch, whose import takes a second, only where there may be a GPU."""
        if self.device == "cpu" or not system.may_have_gpu():
            return True
        from videomae_cli.pipeline import pick_device

        return pick_device(self.device).type == "cpu"

    def _is_converted(self, known: KnownCheckpoint, engine: str, dtype: str) -> bool:
        from videomae_cli.engines import Engine, HostCPU

        return self._converted(known, Engine(engine, dtype, HostCPU())) is not None

    def pick_engine(self) -> Engine:
        """Choose the engine that runs the model here, without looking at measurements: "auto" is PyTorch.

        Raises OptionError if this machine lacks it.
        """
        from videomae_cli.engines import HostCPU, pick_engine

        if (file := self._exported_file) is not None:
            return self._engine_of(read_exported(file))
        if self.engine in TORCH_FREE and self.device in ("auto", "cpu"):
            return pick_engine(self.engine, self.dtype, HostCPU(), self.compiled)  # needs no torch
        from videomae_cli.pipeline import pick_device

        return pick_engine(self.engine, self.dtype, pick_device(self.device), self.compiled)

    def as_reference(self) -> Self:
        """Return the request with PyTorch, if it leaves the engine open."""
        return replace(self, engine="torch") if self.is_open else self

    def as_begun(self, engine: str, dtype: str, output: object) -> Self:
        """Return the request with the engine and number format with which the job of an output began.

        Raises OutputError if this machine lacks them.
        """
        asked = replace(self, engine=engine, dtype=dtype)
        try:
            asked.pick_engine()
            packages.load_runtime(engine)
        except (DependencyError, OptionError) as error:
            raise OutputError.about(
                output,
                "can't go on here: {subject} was begun with {engine} in {dtype}, which this machine lacks ({error})",
                engine=engine,
                dtype=dtype,
                error=error,
                remedy=Wording("go on where it has that, or give {@overwrite:True} to start again"),
                joined="; ",
            ) from None
        return asked

    def check(self) -> None:
        """Raise OptionError for options that no model takes, before anything is downloaded."""

    def make(self, source: ResolvedSource, engine: Engine | Choose, calibrate: Calibrate | None = None) -> Loaded:
        """Load the model; one that was converted or exported before is not read again, and torch not imported.

        engine: what runs the model, or what chooses it, once the model is known. Raises CheckpointError, ConfigError,
        DependencyError or OptionError.
        """
        from videomae_cli.engines import Engine, KnownCheckpoint, Recollection

        if is_exported(source.path):
            return self._made_from_export(source, read_exported(source.path))
        recollection = Recollection(source.path, self._decides)
        known = recollection.known()
        if known is not None:
            self._check_config(source, known.config)
            engine = engine if isinstance(engine, Engine) else engine(known)
            if (file := self._converted(known, engine)) is not None:
                common = self._common(source, engine, known)
                return self._built(
                    self._outline(source, known), network=_network(file, engine, common["batch_size"]), **common
                )
        from videomae_cli.engines import calibration_clips, make_network
        from videomae_cli.model import weights_digest

        with recollection.loading(), source.named():
            model = self._load(source.path)
        self._check_config(source, model.config)
        part = self._part(model)
        if known is None or known.config != model.config:
            # computed before an engine changes the weights
            known = KnownCheckpoint(model.config, weights_digest(model))
            recollection.keep(known)
        if not isinstance(engine, Engine):
            engine = engine(known)
        common = self._common(source, engine, known)
        hints, preprocessor, size = common["hints"], common["preprocessor"], common["batch_size"]
        count = calibration_clips(model.config)
        clips = (lambda: calibrate(preprocessor, hints, count)) if calibrate else None
        network = make_network(part, engine, digest=known.weights, size=size, calibration=clips)
        runs_torch = engine.name == "torch"
        return self._built(model if runs_torch else self._outline(source, known), network=network, **common)

    def _outline(self, source: ResolvedSource, known: KnownCheckpoint) -> ModelOutline[Any]:
        """Return what stands for a model whose weights an engine of its own has."""
        return ModelOutline(known.config, partial(self._load, source.path))

    def _converted(self, known: KnownCheckpoint, engine: Engine) -> Path | None:
        """Return the file of a model that was converted before; None if there is none, and for PyTorch."""
        if engine.name == "openvino":
            from videomae_cli.engines.openvino import found_file

            return found_file(self._kind, known.config, engine, digest=known.weights)
        if engine.name == "onnx":
            from videomae_cli.engines.onnx import found_onnx

            return found_onnx(self._kind, known.config, engine, digest=known.weights)
        return None

    def _engine_of(self, exported: ExportedOnnx) -> Engine:
        """Return the engine that runs an exported file, in the number format that it was written in.

        Raises OptionError for options that a file can't follow.
        """
        from videomae_cli.engines import Engine, HostCPU

        packages.load_onnxruntime()
        reason = "{name} was exported in {dtype} for {@engine:onnx} on the CPU: leave "
        for setting, spelled, fits in (
            ("engine", "{@engine} out", self.engine in ("auto", "onnx")),
            ("dtype", "{@dtype} out", self.dtype in ("auto", exported.dtype)),
            ("device", "{@device} out", self.device in ("auto", "cpu")),
            ("compile", "{@compile} out", not self.compiled),
            (
                "num_attention_heads",
                "{@num_attention_heads} out",
                self.heads in (None, exported.config.num_attention_heads),
            ),
        ):
            if not fits:
                raise OptionError.about(setting, reason + spelled, name=exported.path.name, dtype=exported.dtype)
        return Engine("onnx", exported.dtype, HostCPU())

    def _made_from_export(self, source: ResolvedSource, exported: ExportedOnnx) -> Loaded:
        """Make what runs an exported file. Raises CheckpointError or OptionError."""
        from videomae_cli.engines import KnownCheckpoint
        from videomae_cli.engines.onnx import ONNXNetwork

        engine = self._engine_of(exported)
        self._check_exported(source, exported)
        config = self._named(exported.config)
        self._check_config(source, config)
        known = KnownCheckpoint(config, exported.digest())
        processing = _processing_of(exported, config)
        hints = _hints_in(exported.about["sampling"], config.num_frames, source.name)
        common = self._common(source, engine, known, Preprocessor(processing, resize=self.resize), hints)
        network = ONNXNetwork(source.path, engine, exported)
        return self._built(self._outline(source, known), network=network, **common)

    def _common(
        self,
        source: ResolvedSource,
        engine: Engine,
        known: KnownCheckpoint,
        preprocessor: Preprocessor | None = None,
        hints: SamplingHints | None = None,
    ) -> dict[str, Any]:
        """Make the fields that all `PipelineModel`s share, apart from the model and its network.

        preprocessor, hints: those of the model, if its checkpoint's folder doesn't say them.
        """
        from videomae_cli.pipeline import auto_batch_size

        config = known.config
        return {
            "preprocessor": preprocessor or preprocessor_for(source.path, config, self.resize),
            "name": source.name,
            "revision": source.revision,
            "batch_size": self.batch_size or auto_batch_size(config, engine.device),
            "weights": known.weights,
            "hints": hints or find_hints(config.num_frames, config.extra, source.name),
            "checkpoint": source.path,
        }

    @property
    def _decides(self) -> Mapping[str, object]:
        """The options that decide how a checkpoint is read, as plain values."""
        return {"request": type(self).__name__, "heads": self.heads}

    @property
    @abstractmethod
    def _kind(self) -> str:
        """The name of the part of the model that is run."""

    def _named(self, config: VideoMAEConfig) -> VideoMAEConfig:
        """Return the configuration of an exported model with the caller's names of labels. Raises ConfigError."""
        return config

    @abstractmethod
    def _check_exported(self, source: ResolvedSource, exported: ExportedOnnx) -> None:
        """Raise CheckpointError or OptionError for an exported model that gives something else than what is asked."""

    @abstractmethod
    def _load(self, path: Path) -> Any:
        """Load the PyTorch model by its path, without asking the hub again."""

    @abstractmethod
    def _part(self, model: Any) -> Logits | Features:
        """Return the part of the model that is run."""

    @abstractmethod
    def _check_config(self, source: ResolvedSource, config: VideoMAEConfig) -> None:
        """Raise CheckpointError or OptionError for a model that can't do what is asked."""

    @abstractmethod
    def _built(self, model: Any, **common: Any) -> Loaded:
        """Make the `PipelineModel`. common: the fields that all of them share."""


@dataclass(frozen=True, kw_only=True)
class ClassifierRequest(ModelRequest["Classifier"]):
    """Request for a classifier, with options for its labels.

    top_k: labels per file, best first; labels: names for classes that the checkpoint does not name.
    """

    top_k: int = 5
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, top_k=self.top_k)

    @property
    def _decides(self) -> Mapping[str, object]:
        return {**super()._decides, "labels": None if self.labels is None else list(self.labels)}

    @property
    def _kind(self) -> str:
        from videomae_cli.engines.kinds import LOGITS

        return LOGITS

    def _named(self, config: VideoMAEConfig) -> VideoMAEConfig:
        return config if self.labels is None else config.with_labels(self.labels)

    def _check_exported(self, source: ResolvedSource, exported: ExportedOnnx) -> None:
        if not exported.gives_logits:
            reason = "{subject} was exported as an encoder, and gives vectors, not labels: `videomae embed` takes it"
            raise CheckpointError.about(source.name, reason)

    def _load(self, path: Path) -> VideoMAEForVideoClassification:
        from videomae_cli.model import VideoMAEForVideoClassification

        return VideoMAEForVideoClassification.from_pretrained(path, num_attention_heads=self.heads, labels=self.labels)

    def _part(self, model: VideoMAEForVideoClassification) -> Logits:
        from videomae_cli.engines import Logits

        return Logits(model)

    def _check_config(self, source: ResolvedSource, config: VideoMAEConfig) -> None:
        if config.num_labels == 0:
            raise CheckpointError.about(
                source.name, "{subject} gives features, not labels: choose a fine-tuned checkpoint"
            )

    def _built(self, model: Any, **common: Any) -> Classifier:
        from videomae_cli.pipeline import Classifier

        return Classifier(model=model, top_k=self.top_k, **common)


@dataclass(frozen=True, kw_only=True)
class EmbedderRequest(ModelRequest["Embedder"]):
    """Request for an encoder, with options for pooling its tokens into vectors."""

    pool: str = "mean"
    layer: int | None = None
    normalize: bool = False
    per_clip: bool = False
    storage: str = "float32"

    @property
    def pooling(self) -> Pooling:
        """How tokens become vectors. Raises OptionError for what no model can do."""
        from videomae_cli.pipeline import Pooling

        return Pooling(self.pool, self.layer, self.normalize, self.per_clip)

    def check(self) -> None:
        _ = self.pooling

    @property
    def _kind(self) -> str:
        from videomae_cli.engines.kinds import features_kind

        return features_kind(self.pool, self.layer)

    def _check_exported(self, source: ResolvedSource, exported: ExportedOnnx) -> None:
        if exported.gives_logits:
            reason = "{subject} was exported as a classifier, and gives labels, not vectors: `videomae export --features` does"
            raise CheckpointError.about(source.name, reason)
        if self.pool != "mean" or self.layer is not None:
            reason = (
                "{name} was exported to give one vector for each clip, of the last layer: its checkpoint gives others"
            )
            raise OptionError.about("layer" if self.pool == "mean" else "pool", reason, name=source.name)

    def _load(self, path: Path) -> VideoMAEModel | VideoMAEForVideoClassification:
        from videomae_cli.model import load_encoder

        return load_encoder(path, num_attention_heads=self.heads)

    def _part(self, model: VideoMAEModel | VideoMAEForVideoClassification) -> Features:
        from videomae_cli.engines import Features

        return Features(model, self.pool, self.layer)

    def _check_config(self, source: ResolvedSource, config: VideoMAEConfig) -> None:
        self.pooling.check(config, crops=1)

    def _built(self, model: Any, **common: Any) -> Embedder:
        from videomae_cli.pipeline import Embedder

        return Embedder(model=model, pooling=self.pooling, storage=self.storage, **common)


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


_OF_CLIPS = {
    "clips": "{@clips} does not go with {@window}",
    "crops": "{@crops} does not go with {@window}",
    "stride": "{@stride} does not go with {@window}",
    "family": "{@sampling} does not go with {@window}",
    "protocol": "{@protocol} does not go with {@window}",
}


def check_windowed(asked: SamplingSpec) -> None:
    """Raise OptionError for settings that only clips have, not windows."""
    for name, reason in _OF_CLIPS.items():
        if getattr(asked, name) != getattr(SamplingSpec(), name):
            setting = {"family": "sampling"}.get(name, name)
            raise OptionError.about(setting, reason + ": the frames of a window are spread evenly over it")


# What a protocol of published features fixes itself.
_FIXED = {
    "window": "{@window}",
    "hop": "{@hop}",
    "layer": "{@layer}",
    "resize": "{@resize}",
    "clips": "{@clips}",
    "crops": "{@crops}",
    "stride": "{@stride}",
    "family": "{@sampling}",
}


def check_published(protocol: str, asked: SamplingSpec, **settings: object) -> None:
    """Raise OptionError for settings that the protocol of published features fixes itself.

    settings: further ones by name, None where they are not given.
    """
    plain = SamplingSpec()
    given = {name: settings.get(name, getattr(asked, name, None)) for name in _FIXED}
    fixed = [name for name, value in given.items() if value != getattr(plain, name, None)]
    if fixed:
        names = say(" and ".join(_FIXED[name] for name in fixed))
        raise OptionError.about(
            "protocol",
            "the {protocol} protocol fixes {names} itself: leave out either it or {names}",
            protocol=protocol,
            names=names,
        )


def dense_embedder(
    embedder: Embedder, asked: SamplingSpec, windows: WindowSpec | CountedWindows
) -> tuple[DenseEmbedder, SamplingSpec]:
    """Return what embeds the windows of films, and how a clip that is compared with them is sampled.

    asked: start, end, pixels and frame rate count. Raises OptionError for settings that only clips have, or a model that the
    windows of published features don't fit.
    """
    from videomae_cli.pipeline import DenseEmbedder

    if isinstance(windows, CountedWindows):
        check_published(windows.protocol, asked, layer=embedder.pooling.layer)
        return _published(embedder, asked, replace(windows, start=asked.start, end=asked.end))
    check_windowed(asked)
    spec = embedder.fit(asked)
    fitted = embedder.fit_windows(replace(windows, start=asked.start, end=asked.end))
    return DenseEmbedder(embedder, fitted, pixels=spec.resolved_pixels, fps=asked.fps), spec


def _published(embedder: Embedder, asked: SamplingSpec, windows: CountedWindows) -> tuple[DenseEmbedder, SamplingSpec]:
    from videomae_cli.pipeline import DenseEmbedder

    config, dtype = embedder.config, embedder.engine.dtype
    if config.num_frames != windows.frames:
        raise OptionError.about(
            "protocol",
            "the {protocol} protocol has windows of {frames} frames, and {name} reads {own}: give {@window} and {@hop}",
            protocol=windows.protocol,
            frames=windows.frames,
            name=embedder.name,
            own=config.num_frames,
        )
    if embedder.network is not None and embedder.network.takes_frames:
        raise OptionError.about(
            embedder.name,
            "{subject} prepares frames itself, and the {protocol} protocol in its own way: give the checkpoint",
            protocol=windows.protocol,
        )
    if dtype == "int8":
        raise OptionError.about(
            "dtype",
            "int8 is calibrated on normalised pixels, which the {protocol} protocol doesn't have",
            protocol=windows.protocol,
            remedy=Wording("leave out {@dtype:int8}"),
        )
    embedder = replace(embedder, preprocessor=embedder.preprocessor.for_features(config.image_hw))
    spec = embedder.fit(replace(asked, pixels=asked.pixels or "stored"))
    return DenseEmbedder(embedder, windows, pixels=spec.resolved_pixels, fps=asked.fps), spec


@dataclass(frozen=True)
class DenseFilms:
    """A request for a vector for each window of films. sampling: start, end, pixels and frame rate count."""

    windows: WindowSpec | CountedWindows
    sampling: SamplingSpec

    def maker(self, embedder: Embedder) -> tuple[DenseEmbedder, Settings]:
        """Return what makes the vectors with a loaded model, and all settings that determine them. Raises OptionError."""
        made, spec = dense_embedder(embedder, self.sampling, self.windows)
        return made, dense_settings(made, spec)


@dataclass(frozen=True)
class TimelineFilms:
    """A request for timelines of films. sampling: pixels and frame rate count; rules, keep_windows: as in `TimelineMaker`."""

    windows: WindowSpec
    sampling: SamplingSpec
    rules: SegmentRules
    keep_windows: bool = False

    def maker(self, classifier: Classifier) -> tuple[TimelineMaker, Settings]:
        """Return what makes the timelines with a loaded model, and all settings that determine them.

        Raises OptionError, also for a regression model.
        """
        from videomae_cli.pipeline import TimelineMaker

        classifier.check_labels("timeline")
        made = TimelineMaker(
            classifier,
            classifier.fit_windows(self.windows),
            self.rules,
            self.keep_windows,
            pixels=classifier.fit(self.sampling).resolved_pixels,
            fps=self.sampling.fps,
        )
        return made, timeline_settings(made)


def dense_settings(maker: DenseEmbedder, spec: SamplingSpec) -> Settings:
    """Return all settings that determine the results of `embed` with windows. spec: how a clip that is compared with them
    is sampled (`similar`)."""
    settings = settings_of("embed", maker.embedder, spec)
    return settings_for("embed", {**settings.values, "windows": asdict(maker.windows)})


def timeline_settings(maker: TimelineMaker) -> Settings:
    """Return all settings that determine the results of `timeline`."""
    classifier = maker.classifier
    values = {
        "model": classifier.name,
        "revision": classifier.revision,
        **classifier.settings,
        "preprocessing": asdict(classifier.preprocessor.config),
        "windows": asdict(maker.windows),
        "pixels": maker.pixels,
        **({"fps": maker.fps} if maker.fps is not None else {}),
        "segments": asdict(maker.rules),
        "all_windows": maker.keep_windows,
    }
    return settings_for("timeline", values)


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
        for view in sample_views(found, asked.for_model(hints), preprocessor, decoder, count):
            yield preprocessor.to_pixel_values(view[None])

    return clips


def sample_views(
    found: Sequence[FoundVideo],
    spec: SamplingSpec,
    preprocessor: Preprocessor,
    decoder: Decoder,
    count: int,
    on_failure: Callable[[str, VideoMAEError], object] = lambda path, error: None,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield about `count` clips (T, H, W, 3) of the files, evenly spread; several per file if there are few.

    Files that can't be read give none. on_failure: called with the path of each, and why.
    """
    chosen = spread(found, count)
    several = -(-count // max(1, len(chosen)))
    transform = preprocessor.for_protocol(spec.protocol).frame_transform(crops=1)
    spec = replace(spec, clips=several, crops=1, protocol="auto")
    requests = (ClipRequest(one.path, sampling=spec, transform=transform) for one in chosen)
    for request, outcome in decoder.decode_all(requests):
        if isinstance(outcome, VideoMAEError):
            on_failure(os.fspath(request.path), outcome)
        else:
            yield from outcome.views()


def divide(
    videos: Iterable[FoundVideo], shard: Shard | None
) -> tuple[Sequence[FoundVideo], Sequence[FoundVideo], Part | None]:
    """Return the files of a shard (None for all), a sample of the whole list, and the part of it that the shard is.

    The files of other shards are not held in memory.
    """
    found, sample = FileList(), Sample()

    def each() -> Iterator[FoundVideo]:
        for video in videos:
            sample.add(video)
            yield video

    if shard is not None:
        part = shard.choose(each(), lambda video: video.name, found.append)
        return found, sample.files, part
    for video in each():
        found.append(video)
    return found, sample.files, None


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
        if not isinstance(sampling.get("family"), str):
            raise _no_sampling(sampling, "its config.json", name)
        return _hints_in(sampling, frames, name, where="its config.json")
    entry = find_entry(name)
    return SamplingHints(frames, entry.family if entry else None)


def _hints_in(sampling: Mapping[str, Any], frames: int, name: str, where: str = "it") -> SamplingHints:
    """Read how training data was sampled; None for what isn't said. where: that stands, to name in an error."""
    family, stride, pixels = sampling.get("family"), sampling.get("stride"), sampling.get("pixels")
    whole = isinstance(stride, int) and not isinstance(stride, bool)
    if (
        not (family is None or isinstance(family, str))
        or not (stride is None or whole)
        or pixels not in (None, *PIXELS)
    ):
        raise _no_sampling(sampling, where, name)
    return SamplingHints(frames, family, stride, pixels)


def _processing_of(exported: ExportedOnnx, config: VideoMAEConfig) -> PreprocessConfig:
    """Return how clips are made for an exported model. Raises CheckpointError if its metadata make no sense."""
    try:
        processing = PreprocessConfig.from_fields(exported.about["preprocessing"])
        _check_frames(processing, config, exported.path)
    except ConfigError as error:
        reason = "{subject}: its metadata make no sense, in what they say of preprocessing"
        raise CheckpointError.about(exported.path, reason) from error
    return processing


def _no_sampling(sampling: Mapping[str, Any], where: str, name: str) -> CheckpointError:
    reason = "{subject}: {where} names a sampling that makes no sense: {sampling!r}"
    return CheckpointError.about(name, reason, where=where, sampling=sampling)


def _network(file: Path, engine: Engine, size: int) -> Network:
    """Make the network that runs a model that was converted before."""
    if engine.name == "onnx":
        from videomae_cli.engines.onnx import ONNXNetwork

        return ONNXNetwork(file, engine)
    from videomae_cli.engines.openvino import OpenVINONetwork

    return OpenVINONetwork(file, engine, size)

"""Loads the model that a command names, as a `Classifier` or an `Embedder`, and prints notes about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae_cli.assembly import (
    Calibrate,
    ClassifierRequest,
    EmbedderRequest,
    ModelRequest,
    find_hints,
    make_classifier,
    make_embedder,
    pixels_note,
)
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.transfers import bring

if TYPE_CHECKING:
    from videomae_cli.engines import Engine
    from videomae_cli.hub import ResolvedSource
    from videomae_cli.model import VideoMAEConfig
    from videomae_cli.pipeline import Classifier, Embedder
    from videomae_cli.video import SamplingSpec


def load_classifier(request: ClassifierRequest, calibrate: Calibrate | None = None) -> Classifier:
    """Load a classifier, downloading it if it is not on this disk.

    Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError."""
    from videomae_cli.cli.terminal.display import consoles, waiting

    source = _source(request)
    engine = _pick_engine(request)
    with waiting(f"loading {request.name}", consoles()[1]):
        return make_classifier(source, request, engine, calibrate)


def load_embedder(request: EmbedderRequest, calibrate: Calibrate | None = None) -> Embedder:
    """Load an encoder, downloading it if it is not on this disk.

    Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError."""
    from videomae_cli.cli.terminal.display import consoles, waiting
    from videomae_cli.pipeline import Pooling

    # raises OptionError for invalid options before the download
    Pooling(request.pool, request.layer, request.normalize, request.per_clip)
    source = _source(request)
    engine = _pick_engine(request)
    with waiting(f"loading {request.name}", consoles()[1]):
        return make_embedder(source, request, engine, calibrate)


def fitted(asked: SamplingSpec, model: Classifier | Embedder) -> SamplingSpec:
    """Adapt the requested sampling to a model, and print a note if it was trained on another kind of pixels."""
    spec = model.fit(asked)
    say_pixels(model.name, model.hints.pixels if model.hints else None, spec.resolved_pixels)
    return spec


def say_viewed_pixels(config: VideoMAEConfig, name: str, spec: SamplingSpec) -> None:
    """Print a note if the model of `reconstruct` or `attend` gets a kind of pixels that it was not trained on.

    spec: the sampling after the model's own settings have been filled in.
    """
    say_pixels(name, find_hints(config.num_frames, config.extra, name).pixels, spec.resolved_pixels)


def say_pixels(name: str, trained: str | None, used: str) -> None:
    """Print a note if a model is known to be trained on another kind of pixels ("display", "stored")."""
    if note := pixels_note(name, trained, used):
        console.note(note)


def _source(request: ModelRequest) -> ResolvedSource:
    """Find the model, downloading it if necessary; options that can't work are refused before anything is fetched."""
    if request.engine != "torch":
        request.pick_engine()  # even before the hub is asked: only PyTorch takes longer to load than a hub to answer
    return bring(request.name, request.revision, check=request.pick_engine)


def _pick_engine(request: ModelRequest) -> Engine:
    """Choose the engine, and print a note if it is slow on this machine."""
    engine = request.pick_engine()
    if engine.slow:
        console.note(engine.slow)
    return engine

"""A model's name on the command line -> a `Classifier` or an `Embedder` ready to use, and what the user sees meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae_cli.assembly import (
    Calibrate,
    ClassifierRequest,
    EmbedderRequest,
    ModelRequest,
    make_classifier,
    make_embedder,
)
from videomae_cli.cli import console
from videomae_cli.cli.transfers import bring

if TYPE_CHECKING:
    from videomae_cli.engines import Engine
    from videomae_cli.pipeline import Classifier, Embedder


def load_classifier(request: ClassifierRequest, calibrate: Calibrate | None = None) -> Classifier:
    """Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError."""
    from videomae_cli.cli.display import consoles, waiting

    engine = _pick_engine(request)  # before the download: wrong options shouldn't wait for it
    source = bring(request.name, request.revision)
    with waiting(f"loading {request.name}", consoles()[1]):
        return make_classifier(source, request, engine, calibrate)


def load_embedder(request: EmbedderRequest, calibrate: Calibrate | None = None) -> Embedder:
    """Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError."""
    from videomae_cli.cli.display import consoles, waiting
    from videomae_cli.pipeline import Pooling

    Pooling(request.pool, request.layer, request.normalize, request.per_clip)  # checks itself, like the engine
    engine = _pick_engine(request)
    source = bring(request.name, request.revision)
    with waiting(f"loading {request.name}", consoles()[1]):
        return make_embedder(source, request, engine, calibrate)


def _pick_engine(request: ModelRequest) -> Engine:
    """What runs the model, with a line where this machine does it slowly."""
    engine = request.pick_engine()
    if engine.slow:
        console.note(engine.slow)
    return engine

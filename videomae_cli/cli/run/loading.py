"""Loads the model that a command names, as a `Classifier` or an `Embedder`, and prints notes about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from videomae_cli.assembly import Calibrate, ModelRequest, pixels_note
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.transfers import bring

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier, Embedder
    from videomae_cli.video import SamplingSpec

Model = TypeVar("Model")


def load_model(request: ModelRequest[Model], calibrate: Calibrate | None = None) -> Model:
    """Load a classifier or an embedder, downloading it if it is not on this disk. Options that can't work are refused
    before anything is fetched.

    Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError.
    """
    from videomae_cli.cli.terminal.display import consoles, waiting

    request.check()
    if request.engine != "torch" or request.device not in ("auto", "cpu"):
        # Even before the hub is asked. With the defaults nothing can be wrong, and PyTorch takes longer to load than a hub
        # to answer.
        request.pick_engine()
    source = bring(request.name, request.revision, check=request.pick_engine)
    engine = request.pick_engine()
    if engine.slow:
        console.note(engine.slow)
    with waiting(f"loading {request.name}", consoles()[1]):
        return request.make(source, engine, calibrate)


def fitted(asked: SamplingSpec, model: Classifier | Embedder) -> SamplingSpec:
    """Adapt the requested sampling to a model, and print a note if it was trained on another kind of pixels."""
    spec = model.fit(asked)
    say_pixels(model.name, model.hints.pixels if model.hints else None, spec.resolved_pixels)
    return spec


def say_pixels(name: str, trained: str | None, used: str) -> None:
    """Print a note if a model is known to be trained on another kind of pixels ("display", "stored")."""
    if note := pixels_note(name, trained, used):
        console.note(note)

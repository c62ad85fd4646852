"""Loads the model that a command names, as a `Classifier` or an `Embedder`, and prints notes about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from videomae_cli.assembly import Calibrate, ModelRequest, pixels_note
from videomae_cli.cli.run.engine_choice import EngineChooser, JobLasts, job_of_unknown_length
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.transfers import bring
from videomae_cli.engines.choosing import DEFAULT
from videomae_cli.engines.precision import TORCH_FREE

if TYPE_CHECKING:
    from videomae_cli.jobs import Part
    from videomae_cli.jobs.targets import Target
    from videomae_cli.pipeline import Classifier, Embedder
    from videomae_cli.video import SamplingSpec

Model = TypeVar("Model")


def load_model(
    request: ModelRequest[Model],
    calibrate: Calibrate | None = None,
    *,
    lasts: JobLasts = job_of_unknown_length,
    says_slow: bool = True,
) -> Model:
    """Load a classifier or an embedder, downloading it if it is not on this disk. Options that can't work are refused
    before anything is fetched.

    lasts: how long the job takes, on which it depends what is chosen and measured if no engine was named; says_slow: whether
    to print a note on a number format that this CPU is slow at.
    Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError.
    """
    from videomae_cli.cli.terminal.display import consoles, waiting

    request.check()
    if request.engine in TORCH_FREE or request.device not in ("auto", "cpu"):
        # Even before the hub is asked. With the defaults nothing can be wrong, and PyTorch takes longer to load than a hub
        # to answer.
        request.pick_engine()
    source = bring(request.name, request.revision, check=request.pick_engine)
    if request.is_open:
        with waiting(f"loading {request.name}", consoles()[1]):
            return request.make(source, EngineChooser(request, source.path, source.name, lasts, calibrate), calibrate)
    engine = request.pick_engine()
    if engine.slow and says_slow:
        console.note(engine.slow)
    with waiting(f"loading {request.name}", consoles()[1]):
        return request.make(source, engine, calibrate)


def load_for_job(
    request: ModelRequest[Model],
    target: Target,
    part: Part | None,
    calibrate: Calibrate,
    lasts: JobLasts,
) -> Model:
    """Load the model of a job. If its user named no engine, a resumed job keeps that with which it began, and the shards of
    a list all take PyTorch, since each may run on another machine.

    part: of a list that was split. Raises OutputError if this machine lacks what
    the job began with, and what `load_model` raises.
    """
    if not request.is_open:
        return load_model(request, calibrate)
    begun = target.begun()
    if begun is not None and begun.engine is not None:
        return _load_begun(request, target, begun.engine, calibrate)
    return load_model(request if part is None else request.as_reference(), calibrate, lasts=lasts)


def _load_begun(request: ModelRequest[Model], target: Target, known: tuple[str, str], calibrate: Calibrate) -> Model:
    """Load the model with the engine and number format with which a job began. Raises OutputError if they aren't here."""
    request = request.as_begun(*known, target.output)
    if known != DEFAULT:
        slowly = ", slowly, since this CPU has no units for that" if request.pick_engine().slow else ""
        console.note(f"going on with {' in '.join(known)}, with which this job began{slowly}")
    return load_model(request, calibrate, says_slow=False)


def fitted(asked: SamplingSpec, model: Classifier | Embedder) -> SamplingSpec:
    """Adapt the requested sampling to a model, and print a note if it was trained on another kind of pixels."""
    spec = model.fit(asked)
    say_pixels(model.name, model.hints.pixels if model.hints else None, spec.resolved_pixels)
    return spec


def say_pixels(name: str, trained: str | None, used: str) -> None:
    """Print a note if a model is known to be trained on another kind of pixels ("display", "stored")."""
    if note := pixels_note(name, trained, used):
        console.note(note)

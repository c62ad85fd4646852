"""Loads the model on a worker, and describes it before the job begins.

The machine on which the command runs may have no GPU and little memory, so it never loads the model. One worker loads
it and reports the settings that determine the results; all other workers must have the same.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from videomae_cli import errors, system
from videomae_cli.assembly import (
    ClassifierRequest,
    DenseFilms,
    EmbedderRequest,
    TimelineFilms,
    calibration_on,
    settings_of,
)
from videomae_cli.cluster.weights import Parcel
from videomae_cli.errors import CheckpointError, ClusterError, ConfigError, VideoMAEError, Wording
from videomae_cli.jobs import Settings
from videomae_cli.video import Decoder, FoundVideo, SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier, DenseEmbedder, Embedder, TimelineMaker
    from videomae_cli.video import ClipRequest

# Ray's default, and how much earlier a decoder is stopped: it fills a quarter of a gigabyte between two of Ray's looks.
_RAY_VARIABLE = "RAY_memory_usage_threshold"
_RAY_THRESHOLD, _MARGIN, _MARGIN_BYTES = 0.95, 0.02, 128 * 2**20
# Finds our own errors in the text of a traceback.
_NAMED = re.compile(r"^videomae_cli\.errors\.(\w+): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class ModelSpec:
    """A command's options and checkpoint. sample: files for int8 calibration; home: the folder that relative names start
    from, empty if there are none; threads: PyTorch's number of threads, on a CPU; films: what is made of whole films, None if the
    model sees clips of files."""

    command: str
    request: ClassifierRequest | EmbedderRequest
    parcel: Parcel
    sampling: SamplingSpec
    sample: tuple[FoundVideo, ...]
    home: str
    threads: int
    films: DenseFilms | TimelineFilms | None = None
    words: errors.Vocabulary = field(default_factory=errors.vocabulary)

    def ready(self) -> tuple[Classifier | Embedder, SamplingSpec]:
        """Load the model on this machine; return it and the sampling adapted to it. Raises what loading raises."""
        import torch

        enter(self.home)
        errors.speak(self.words)
        torch.set_num_threads(self.threads)
        engine = self.request.pick_engine()
        source = self.parcel.unpack()
        with Decoder(reserve=monitored_memory()) as decoder:
            calibrate = calibration_on(self.sample, self.sampling, decoder)
            try:
                model = self.request.make(source, engine, calibrate)
            except (CheckpointError, ConfigError) as error:
                # Name the user's checkpoint, not this machine's copy.
                raise error.rename(str(source.path), self.parcel.origin) from None
        return model, model.fit(self.sampling)

    def film_maker(self, model: Classifier | Embedder) -> tuple[DenseEmbedder | TimelineMaker, Settings]:
        """Return what takes whole films with the loaded model, and all settings that determine the results. Raises OptionError."""
        assert self.films is not None, "asked where films are taken whole"
        return self.films.maker(model)  # type: ignore[arg-type]  # the request makes the model that they need


@dataclass(frozen=True)
class Description:
    """A worker's description of the model. clips: what to decode of a file; batch: views per batch; view_bytes: size of one view;
    dimensions, vectors: size and number of vectors per clip, 0 for a classifier; slow: why the number format is slow
    there; pixels, trained_on: those that the model gets and, if known, was trained on."""

    settings: Settings
    clips: ClipRequest
    batch: int
    view_bytes: int
    dimensions: int = 0
    vectors: int = 0
    slow: str | None = None
    pixels: str = "display"
    trained_on: str | None = None

    def check(self, other: Description) -> None:
        """Raise ClusterError if another machine would give different results."""
        before = json.loads(json.dumps(self.settings.as_dict()))
        differing = other.settings.differences(before)
        if differing:
            raise ClusterError.about(
                "device",
                "the machines of the cluster don't give the same results ({differing})",
                differing="; ".join(differing),
                remedy=Wording("name {@device}, {@engine} and {@dtype} that all of them have"),
            )


def describe(spec: ModelSpec, model: Classifier | Embedder, sampling: SamplingSpec) -> Description:
    """Describe a loaded model for the job."""
    from videomae_cli.pipeline import Embedder, clip_request

    config = model.config
    height, width = config.image_hw
    settings, pixels = settings_of(spec.command, model, sampling), sampling.resolved_pixels
    if spec.films is not None:
        maker, settings = spec.film_maker(model)
        pixels = maker.pixels
    described = Description(
        settings=settings,
        clips=clip_request(model.preprocessor, sampling),
        batch=model.batch_size,
        view_bytes=config.num_frames * height * width * 3,
        slow=model.engine.slow,
        pixels=pixels,
        trained_on=model.hints.pixels if model.hints is not None else None,
    )
    if isinstance(model, Embedder):
        slots = config.grid[0]
        rows = {"mean": 1, "time": slots, "tokens": config.num_patches}[model.pooling.pool]
        return replace(described, dimensions=config.hidden_size, vectors=rows)
    return described


def monitored_memory() -> int:
    """Return how many bytes of this machine's memory must stay free, lest Ray kill processes.

    Ray's memory monitor looks four times a second, and knows tasks and actors, not the decoders that they started: it
    would kill a model for the frames of a film. Ray reads its threshold from the same variable.
    """
    try:
        threshold = float(os.environ.get(_RAY_VARIABLE, ""))
    except ValueError:
        threshold = _RAY_THRESHOLD
    return int((1 - threshold + _MARGIN) * system.total_memory()) + _MARGIN_BYTES


def enter(home: str) -> None:
    """Change to the command's working directory, so that relative names mean the same; no name does if `home` is empty.

    Raises ClusterError.
    """
    try:
        if home and Path.cwd() != Path(home):
            os.chdir(home)
    except OSError as error:
        raise ClusterError.about(
            home,
            "a machine of the cluster can't enter {subject} ({reason}): run the command in a folder that all have",
            reason=error.strerror,
        ) from None


def own_error(error: BaseException) -> VideoMAEError | None:
    """Find our own error inside one of Ray's: among its causes, or, if an actor failed to start, in its text."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        cause = getattr(current, "cause", None)
        # Ray raises a subclass of both its own error and ours, whose message is a whole traceback; our original error
        # is its cause.
        if isinstance(current, VideoMAEError) and not isinstance(cause, VideoMAEError):
            return current
        queue += [cause, current.__cause__, current.__context__]
    for name, message in _NAMED.findall(str(error)):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, VideoMAEError):
            return kind(message)
    return None

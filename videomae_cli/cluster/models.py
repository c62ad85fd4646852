"""What a worker needs to make the model ready, and what the model is like there: found out before the job begins.

The machine that gives the command may have no GPU and little memory: it never loads the model. One worker does, and says
what decides the results; every other is held to that.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from videomae_cli import errors
from videomae_cli.assembly import (
    ClassifierRequest,
    EmbedderRequest,
    calibration_on,
    make_classifier,
    make_embedder,
    settings_of,
)
from videomae_cli.cluster.weights import Parcel
from videomae_cli.errors import CheckpointError, ClusterError, ConfigError, VideoMAEError, Wording
from videomae_cli.jobs import Settings
from videomae_cli.video import Decoder, FoundVideo, SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier, Embedder
    from videomae_cli.video import ClipRequest


# Our own errors in a traceback that is a text.
_NAMED = re.compile(r"^videomae_cli\.errors\.(\w+): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class ModelSpec:
    """The options of a command, and the checkpoint they name. sample: files to calibrate eight-bit numbers on; home: the
    folder that names of files start from; threads: of PyTorch, on a CPU."""

    command: str
    request: ClassifierRequest | EmbedderRequest
    parcel: Parcel
    sampling: SamplingSpec
    sample: tuple[FoundVideo, ...]
    home: str
    threads: int
    words: errors.Vocabulary = field(default_factory=errors.vocabulary)

    def ready(self) -> tuple[Classifier | Embedder, SamplingSpec]:
        """The model, loaded on this machine, and the sampling as it needs it. Raises what loading raises."""
        import torch

        enter(self.home)
        errors.speak(self.words)
        torch.set_num_threads(self.threads)
        engine = self.request.pick_engine()
        source = self.parcel.unpack()
        model: Classifier | Embedder
        with Decoder() as decoder:
            calibrate = calibration_on(self.sample, self.sampling, decoder)
            try:
                if isinstance(self.request, ClassifierRequest):
                    model = make_classifier(source, self.request, engine, calibrate)
                else:
                    model = make_embedder(source, self.request, engine, calibrate)
            except (CheckpointError, ConfigError) as error:
                # Of the checkpoint that was named, not of the copy of it here.
                raise error.rename(str(source.path), self.parcel.origin) from None
        return model, model.fit(self.sampling)


@dataclass(frozen=True)
class Description:
    """A model as a worker has it. clips: what it wants of a file; batch: views at once; view_bytes: pixels of one view;
    dimensions, vectors: of an embedding and how many a clip has, 0 for labels; slow: why the number format is slow there;
    trained_on: the pixels that the model was trained on, where it says so."""

    settings: Settings
    clips: ClipRequest
    batch: int
    view_bytes: int
    dimensions: int = 0
    vectors: int = 0
    slow: str | None = None
    trained_on: str | None = None

    def check(self, other: Description) -> None:
        """Raise ClusterError where another machine would give other results."""
        before = json.loads(json.dumps(self.settings.as_dict()))
        differing = other.settings.differences(before)
        if differing:
            raise ClusterError(
                f"the machines of the cluster don't give the same results ({'; '.join(differing)})",
                remedy=Wording("name {@device}, {@engine} and {@dtype} that all of them have"),
            )


def describe(spec: ModelSpec, model: Classifier | Embedder, sampling: SamplingSpec) -> Description:
    """What a loaded model is like."""
    from videomae_cli.pipeline import Embedder, clip_request

    config = model.model.config
    height, width = config.image_hw
    described = Description(
        settings=settings_of(spec.command, model, sampling),
        clips=clip_request(model.preprocessor, sampling),
        batch=model.batch_size,
        view_bytes=config.num_frames * height * width * 3,
        slow=model.engine.slow,
        trained_on=model.hints.pixels if model.hints is not None else None,
    )
    if isinstance(model, Embedder):
        slots = config.grid[0]
        rows = {"mean": 1, "time": slots, "tokens": config.num_patches}[model.pooling.pool]
        return replace(described, dimensions=config.hidden_size, vectors=rows)
    return described


def enter(home: str) -> None:
    """Make names mean what they mean where the command was given. Raises ClusterError."""
    try:
        if Path.cwd() != Path(home):
            os.chdir(home)
    except OSError as error:
        raise ClusterError(
            f"a machine of the cluster can't enter {home} ({error.strerror}): run the command in a folder that all have"
        ) from None


def own_error(error: BaseException) -> VideoMAEError | None:
    """The error of ours behind one of Ray's: it hands them through as a cause, or, where an actor could not start, in a
    text only."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, VideoMAEError):
            return current
        queue += [getattr(current, "cause", None), current.__cause__, current.__context__]
    for name, message in _NAMED.findall(str(error)):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, VideoMAEError):
            return kind(message)
    return None

"""The base class of classifiers and embedders: a loaded model, and everything needed to use it on files."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from videomae_cli.errors import VideoMAEError
from videomae_cli.model import ModelOutline, VideoMAEConfig
from videomae_cli.pipeline.batches import Batches, Outcomes, Outputs, Passed, Starts, clip_request, decode_found
from videomae_cli.pipeline.devices import memory_reported
from videomae_cli.results import Failure, Result, Source
from videomae_cli.video import (
    DecodedVideo,
    Decoder,
    FoundVideo,
    Preprocessor,
    SamplingHints,
    SamplingSpec,
    VideoInfo,
    WindowSpec,
)
from videomae_cli.video.preprocess import Pixels

if TYPE_CHECKING:
    from videomae_cli.engines import Engine, Features, Logits, Network
    from videomae_cli.model import VideoMAEForVideoClassification, VideoMAEModel

log = logging.getLogger(__name__)
# What a record says of a file, whichever of its frames were read.
_KNOWN = ("decoder", "num_frames", "fps", "duration", "width", "height", "pixels")

Model_co = TypeVar("Model_co", bound="VideoMAEModel | VideoMAEForVideoClassification", covariant=True)
Result_co = TypeVar("Result_co", bound=Result, covariant=True)


@dataclass(frozen=True)
class PipelineModel(ABC, Generic[Model_co, Result_co]):
    """A model with everything needed to use it on files. name, revision: as written to the records.

    model: in evaluation mode, on its device, or the outline of one whose network needs no PyTorch; batch_size: views that go
    through the model at once; network: computes the outputs in place of the PyTorch model, if another engine does so; weights:
    their digest, if known; hints: how its training data was sampled; checkpoint: where it is on this disk, if known.
    """

    result: ClassVar[type[Result]]
    model: Model_co | ModelOutline[Model_co]
    preprocessor: Preprocessor
    name: str
    revision: str | None = None
    batch_size: int = 8
    network: Network | None = None
    weights: str | None = None
    hints: SamplingHints | None = None
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        if self.hints is None:
            object.__setattr__(self, "hints", SamplingHints(self.config.num_frames))
        if self.network is None:
            from videomae_cli.engines import TorchNetwork, engine_of

            object.__setattr__(self, "network", TorchNetwork(self._part(), engine_of(self.loaded_model)))

    @property
    def config(self) -> VideoMAEConfig:
        """The configuration of the model."""
        return self.model.config

    @property
    def loaded_model(self) -> Model_co:
        """The PyTorch model, loaded now if only its outline is here. Raises what loading raises."""
        return self.model.loaded if isinstance(self.model, ModelOutline) else self.model

    @property
    def digest(self) -> str:
        """The digest of the model's weights."""
        if self.weights is not None:
            return self.weights
        from videomae_cli.model import weights_digest

        return weights_digest(self.loaded_model)

    @abstractmethod
    def _part(self) -> Logits | Features:
        """Return the module whose outputs the subclass needs: the whole model, or the encoder alone."""

    @abstractmethod
    def _result(self, passed: Passed) -> Result_co:
        """Return the result of a file that has gone through the model."""

    def __call__(
        self,
        found: Iterable[FoundVideo],
        *,
        sampling: SamplingSpec,
        decoder: Decoder,
        starts: Starts = (),
        eager: bool = False,
        thumbnails: int = 0,
    ) -> Iterator[Result_co]:
        """Yield one result per file, in order. If a file fails, its result says why; nothing is raised.

        starts: for a resumed job, the position of each file's views in the job (see `Batches`); eager: run an
        incomplete batch rather than delay a result until the next file is decoded (the last bits of its scores then
        depend on the speed of decoding); thumbnails: number of frames of each file to keep.
        """
        self.check(sampling)
        request = clip_request(self.preprocessor, sampling)
        outcomes = decode_found(found, request, decoder, ahead=2 * self.batch_size, eager=eager)
        yield from self.results(outcomes, starts=starts, thumbnails=thumbnails)

    def results(self, outcomes: Outcomes, *, starts: Starts = (), thumbnails: int = 0) -> Iterator[Result_co]:
        """Yield the results of files that have been decoded already with a request from `clip_request`."""
        batches = Batches(
            self.outputs, size=self.batch_size, starts=starts, thumbnails=thumbnails, wait=self._network.wait
        )
        for passed in batches(outcomes):
            yield self._result(passed)

    def _failed(self, passed: Passed, error: VideoMAEError | None) -> Result_co:
        assert error is not None
        log.debug("%s failed", passed.path, exc_info=error)
        return self._record(passed, error=Failure.of(error))

    def _made(self, passed: Passed, **content: Any) -> Result_co:
        """Make the result of a file that has gone through the model. content: what this kind of result has."""
        video = passed.video
        assert video is not None
        info = video.info
        log.debug("%s: decoded by %s (%s) in %.2f s", passed.path, info.decoder, info.codec, video.seconds)
        seconds = video.seconds + passed.seconds
        return self._record(passed, source=source_of(video), warnings=video.warnings, seconds=seconds, **content)

    def _record(self, passed: Passed, **content: Any) -> Result_co:
        made = self.result(path=passed.path, model=self.name, revision=self.revision, views=passed.views, **content)
        return cast(Result_co, made)

    def check(self, sampling: SamplingSpec) -> None:
        """Raise OptionError for a sampling that doesn't go with this model."""

    def fit(self, asked: SamplingSpec) -> SamplingSpec:
        """Adapt the requested sampling to this model's number of frames and its training. Raises OptionError."""
        assert self.hints is not None, "made where none was given"
        self.check(asked)
        return asked.for_model(self.hints)

    def fit_windows(self, asked: WindowSpec) -> WindowSpec:
        """Adapt the requested windows to this model's number of frames and stride."""
        assert self.hints is not None, "made where none was given"
        return asked.for_model(self.hints)

    @property
    def engine(self) -> Engine:
        """The engine that runs the model."""
        return self._network.engine

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Return everything about this model that affects results, as plain values for `jobs.Settings`."""

    def outputs(self, views: Pixels) -> Outputs:
        """Compute the logits (V, labels) or vectors (V, R, D), float32, of views (V, T, H, W, 3) in one batch, as the
        preprocessor's transform made their frames. Raises ModelMemoryError.
        """
        with memory_reported(self.engine.device):
            network = self._network
            if self.engine.is_torch_free:
                given: Pixels = views if network.takes_frames else self.preprocessor.normalized(views)
                return network.infer(given)
            return network(self.preprocessor.to_pixel_values(views, self.engine.torch_device)).numpy()

    @property
    def _network(self) -> Network:
        assert self.network is not None, "made where none was given"
        return self.network


def source_of(video: DecodedVideo) -> Source:
    """Describe which frames of a file were read, for its record."""
    plan = video.plan
    return source_from(
        video.info, sampling=plan.description, frames=plan.clips, timestamps=video.timestamps, crops=plan.crops
    )


def source_from(info: VideoInfo, **read: Any) -> Source:
    """Describe a file for its record. read: the fields of `Source` that tell which frames were read."""
    known = {name: getattr(info, name) for name in _KNOWN}
    return Source(**known, **read)

"""The base class of classifiers and embedders: a loaded model, and everything needed to use it on files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from videomae_cli.engines import Engine, Features, Logits, Network, TorchNetwork, engine_of
from videomae_cli.model import VideoMAEForVideoClassification, VideoMAEModel
from videomae_cli.pipeline.batches import Outcomes
from videomae_cli.pipeline.devices import memory_reported
from videomae_cli.results import Result
from videomae_cli.video import Preprocessor, SamplingHints, SamplingSpec

Model_co = TypeVar("Model_co", bound=VideoMAEModel | VideoMAEForVideoClassification, covariant=True)
Result_co = TypeVar("Result_co", bound=Result, covariant=True)


@dataclass(frozen=True)
class PipelineModel(ABC, Generic[Model_co, Result_co]):
    """A model with everything needed to use it on files. name, revision: as written to the records.

    model: in evaluation mode, on its device; batch_size: views that go through the model at once; network: computes the
    outputs in place of the PyTorch model, if another engine does so; weights: their digest, if known; hints: how its
    training data was sampled.
    """

    model: Model_co
    preprocessor: Preprocessor
    name: str
    revision: str | None = None
    batch_size: int = 8
    network: Network | None = None
    weights: str | None = None
    hints: SamplingHints | None = None

    def __post_init__(self) -> None:
        if self.hints is None:
            object.__setattr__(self, "hints", SamplingHints(self.model.config.num_frames))
        if self.network is None:
            object.__setattr__(self, "network", TorchNetwork(self._part(), engine_of(self.model)))

    @abstractmethod
    def _part(self) -> Logits | Features:
        """Return the module whose outputs the subclass needs: the whole model, or the encoder alone."""

    @abstractmethod
    def results(self, outcomes: Outcomes) -> Iterator[Result_co]:
        """Yield the results of files, given their decoded clips (from requests made by `clip_request`)."""

    def fit(self, asked: SamplingSpec) -> SamplingSpec:
        """Adapt the requested sampling to this model's number of frames and its training. Raises OptionError."""
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

    def _run(self, views: npt.NDArray[np.uint8]) -> Tensor:
        """Compute the outputs (V, ...) float32, on the CPU, of views (V, T, H, W, 3) uint8. Raises ModelMemoryError."""
        with memory_reported(self.engine.device):
            return self._network(self.preprocessor.to_pixel_values(views, self.engine.device))

    @property
    def _network(self) -> Network:
        assert self.network is not None, "made where none was given"
        return self.network

"""Labels for files: the views of one file merged into one ranking."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from videomae_cli.engines import Engine, Logits, Network, TorchNetwork, engine_of
from videomae_cli.errors import ModelOutputError, VideoMAEError
from videomae_cli.model import VideoMAEForVideoClassification, weights_digest
from videomae_cli.pipeline.batches import Batches, Outcomes, Passed, clip_request, decode_found
from videomae_cli.pipeline.devices import memory_reported
from videomae_cli.results import Classification, Failure, Prediction, Source
from videomae_cli.video import DecodedVideo, Decoder, FoundVideo, Preprocessor, SamplingSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classifier:
    """A model with all that is needed to use it on files. name and revision go into the records.

    model: in evaluation mode, on its device; batch_size: views through the model at once; network: what gives its logits,
    where that is not PyTorch with the model as it is.
    """

    model: VideoMAEForVideoClassification
    preprocessor: Preprocessor
    name: str
    revision: str | None = None
    top_k: int = 5
    batch_size: int = 8
    network: Network | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.network is None:
            object.__setattr__(self, "network", TorchNetwork(Logits(self.model), engine_of(self.model)))

    def __call__(
        self,
        found: Iterable[FoundVideo],
        *,
        sampling: SamplingSpec,
        decoder: Decoder,
        offset: int = 0,
        eager: bool = False,
        thumbnails: int = 0,
    ) -> Iterator[Classification]:
        """One result a file, in order. What is wrong with a file is its result, never an exception.

        offset: views that an earlier run of the same job has been through (`Batches`); eager: rather a batch that is
        not full than a result that has to wait for the next file (its last bits then depend on the speed of decoding);
        thumbnails: so many frames of each file.
        """
        request = clip_request(self.preprocessor, sampling)
        outcomes = decode_found(found, request, decoder, ahead=2 * self.batch_size, eager=eager)
        yield from self.results(outcomes, offset=offset, thumbnails=thumbnails)

    def results(self, outcomes: Outcomes, *, offset: int = 0, thumbnails: int = 0) -> Iterator[Classification]:
        """The same for files that are decoded already, as `clip_request` says."""
        batches = Batches(self.logits, size=self.batch_size, offset=offset, thumbnails=thumbnails)
        for passed in batches(outcomes):
            yield self._result(passed)

    def _result(self, passed: Passed) -> Classification:
        path, video = passed.path, passed.video
        if video is None or passed.outputs is None:
            assert passed.error is not None
            return self._failed(path, passed.error, passed.views)
        if not torch.isfinite(passed.outputs).all():
            # JSON could not even hold them.
            problem = f"{self.name} gives scores that are no numbers: its weights are damaged"
            return self._failed(path, ModelOutputError(problem), passed.views)
        scores = merge_views(passed.outputs, multi_label=self.multi_label)
        log.debug("%s: decoded by %s (%s) in %.2f s", path, video.info.decoder, video.info.codec, video.seconds)
        return Classification(
            path=path,
            model=self.name,
            revision=self.revision,
            predictions=self.best(scores),
            source=source_of(video),
            warnings=video.warnings,
            seconds=video.seconds + passed.seconds,
            views=passed.views,
            thumbnails=passed.thumbnails,
        )

    def _failed(self, path: str, error: VideoMAEError, views: int) -> Classification:
        log.debug("%s failed", path, exc_info=error)
        return Classification(path=path, model=self.name, revision=self.revision, error=Failure.of(error), views=views)

    @property
    def multi_label(self) -> bool:
        """Whether labels are independent of each other: sigmoid scores instead of softmax."""
        return self.model.config.problem_type == "multi_label_classification"

    @property
    def engine(self) -> Engine:
        """What runs the model."""
        assert self.network is not None, "made where none was given"
        return self.network.engine

    @property
    def settings(self) -> Mapping[str, Any]:
        """What of this decides the results, as plain values: for `jobs.Settings`."""
        return {
            "weights": self.weights or weights_digest(self.model),
            "top_k": self.top_k,
            "resize": self.preprocessor.resize,
            "heads": self.model.config.num_attention_heads,
            **self._network.identity,
            "labels": [self.model.config.id2label[i] for i in range(self.model.config.num_labels)],
        }

    def logits(self, views: npt.NDArray[np.uint8]) -> torch.Tensor:
        """(V, T, H, W, 3) uint8 -> (V, labels) float32 on the CPU, all views at once. Raises ModelMemoryError."""
        with memory_reported(self._network.engine.device):
            return self._network(self.preprocessor.to_pixel_values(views, self._network.engine.device))

    @property
    def _network(self) -> Network:
        assert self.network is not None, "made where none was given"
        return self.network

    def best(self, scores: torch.Tensor) -> tuple[Prediction, ...]:
        """The `top_k` labels of (labels,) scores, best first."""
        values, ids = scores.topk(min(self.top_k, len(scores)))
        labels = self.model.config.id2label
        return tuple(
            Prediction(labels[label_id], label_id, value)
            for value, label_id in zip(values.tolist(), ids.tolist(), strict=True)
        )


def source_of(video: DecodedVideo) -> Source:
    """What was read of a file, for its record."""
    info, plan = video.info, video.plan
    return Source(
        decoder=info.decoder,
        sampling=plan.description,
        frames=plan.clips,
        timestamps=video.timestamps,
        crops=plan.crops,
        num_frames=info.num_frames,
        fps=info.fps,
        duration=info.duration,
        width=info.width,
        height=info.height,
    )


def merge_views(logits: torch.Tensor, *, multi_label: bool) -> torch.Tensor:
    """(V, labels) logits -> (labels,) scores: softmax (or sigmoid) of each view, then their mean, as published."""
    scores = logits.sigmoid() if multi_label else logits.softmax(dim=-1)
    return scores.mean(dim=0)

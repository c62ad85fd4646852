"""Embeds files: pools the encoder's tokens into vectors, and says which part of the file each vector represents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from videomae_cli.engines import Features
from videomae_cli.errors import ModelOutputError, OptionError, VideoMAEError, Wording, say, unknown_choice
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel, weights_digest
from videomae_cli.pipeline.batches import Batches, Outcomes, Passed, Starts, clip_request, decode_found
from videomae_cli.pipeline.classify import source_of
from videomae_cli.pipeline.pipeline_model import PipelineModel
from videomae_cli.results import Embedding, Failure, VectorPlace
from videomae_cli.video import DecodedVideo, Decoder, FoundVideo, SamplingSpec

POOLS = ("mean", "time", "tokens")
STORED = {"float32": np.float32, "float16": np.float16}
LARGEST_FLOAT16 = 65504.0


@dataclass(frozen=True)
class Pooling:
    """Specifies how the tokens of a view become vectors.

    pool: "mean" gives one vector for all tokens, "time" one for each tubelet slot, "tokens" all of them; layer: take
    the tokens after block number `layer` (0: before the first), without any norm, instead of the last ones after the
    checkpoint's own norm; normalize: scale vectors to length 1; per_clip: for "mean", one vector per clip instead of one
    per file.
    """

    pool: str = "mean"
    layer: int | None = None
    normalize: bool = False
    per_clip: bool = False

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise unknown_choice("pool", self.pool, POOLS)

    def check(self, config: VideoMAEConfig, *, crops: int) -> None:
        """Raise OptionError for a layer that the model lacks, or a pooling that would mix different places."""
        if self.layer is not None and not 0 <= self.layer <= config.num_hidden_layers:
            raise OptionError.about(
                "layer",
                "layer {layer} is not there: the model has 0 to {num_hidden_layers}",
                layer=self.layer,
                num_hidden_layers=config.num_hidden_layers,
            )
        if self.pool == "tokens" and crops > 1:
            raise OptionError.about(
                "crops", "tokens of different crops show different places", remedy=Wording("give {@crops:1}")
            )


@dataclass(frozen=True)
class Embedder(PipelineModel[VideoMAEModel | VideoMAEForVideoClassification, Embedding]):
    """An encoder with everything needed to use it on files.

    model: a classifier is used up to and including its `fc_norm`, without the final layer; any other model is used as
    an encoder with its final norm. storage: number format of the vectors, "float32" or "float16".
    """

    pooling: Pooling = Pooling()
    storage: str = "float32"

    def __post_init__(self) -> None:
        if self.storage not in STORED:
            raise unknown_choice("storage", self.storage, STORED)
        super().__post_init__()

    def _part(self) -> Features:
        return Features(self.model, self.pooling.pool, self.pooling.layer)

    def __call__(
        self,
        found: Iterable[FoundVideo],
        *,
        sampling: SamplingSpec,
        decoder: Decoder,
        starts: Starts = (),
        eager: bool = False,
    ) -> Iterator[Embedding]:
        """Yield one result per file, in order; see `Classifier`."""
        self.pooling.check(self.model.config, crops=sampling.resolved_crops)
        request = clip_request(self.preprocessor, sampling)
        outcomes = decode_found(found, request, decoder, ahead=2 * self.batch_size, eager=eager)
        yield from self.results(outcomes, starts=starts)

    def results(self, outcomes: Outcomes, *, starts: Starts = ()) -> Iterator[Embedding]:
        """Embed files that have been decoded already; see `Classifier.results`."""
        for passed in Batches(self.vectors, size=self.batch_size, starts=starts)(outcomes):
            yield self._result(passed)

    def fit(self, asked: SamplingSpec) -> SamplingSpec:
        """Adapt the requested sampling to this model.

        Raises OptionError if its pooling doesn't go with that sampling.
        """
        self.pooling.check(self.model.config, crops=asked.resolved_crops)
        return super().fit(asked)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return everything about this embedder that affects results, as plain values for `jobs.Settings`."""
        p = self.pooling
        return {
            "weights": self.weights or weights_digest(self.model),
            "pool": p.pool,
            "layer": p.layer,
            "normalize": p.normalize,
            "per_clip": p.per_clip,
            "storage": self.storage,
            "dimensions": self.model.config.hidden_size,
            "resize": self.preprocessor.resize,
            "heads": self.model.config.num_attention_heads,
            **self._network.identity,
        }

    def vectors(self, views: npt.NDArray[np.uint8]) -> Tensor:
        """Compute the vectors (V, R, D) float32, on the CPU, of views (V, T, H, W, 3) uint8 in one batch. Raises
        ModelMemoryError.
        """
        return self._run(views)

    def _result(self, passed: Passed) -> Embedding:
        path, video = passed.path, passed.video
        if video is None or passed.outputs is None:
            assert passed.error is not None
            return self._failed(path, passed.error, passed.views)
        vectors, places = self._merged(passed.outputs, video)
        largest = float(vectors.abs().max())
        if not torch.isfinite(vectors).all() or (self.storage == "float16" and largest > LARGEST_FLOAT16):
            hint = say("too large for float16: use {@storage:float32}") if np.isfinite(largest) else "no numbers"
            return self._failed(
                path,
                ModelOutputError.about(self.name, "{subject} gives values that are {hint}", hint=hint),
                passed.views,
            )
        return Embedding(
            path=path,
            model=self.name,
            revision=self.revision,
            source=source_of(video),
            warnings=video.warnings,
            seconds=video.seconds + passed.seconds,
            views=passed.views,
            vectors=vectors.numpy().astype(STORED[self.storage]),
            places=places,
        )

    def _merged(self, outputs: Tensor, video: DecodedVideo) -> tuple[Tensor, tuple[VectorPlace, ...]]:
        """Merge the vectors (V, R, D) of all views into (rows, D); also return what each row represents."""
        # (C * K, R, D) -> (C, R, D): crops show the same moment.
        clips = outputs.reshape(-1, video.plan.crops, *outputs.shape[1:]).mean(dim=1)
        if self.pooling.pool == "mean" and not self.pooling.per_clip:
            clips = clips.mean(dim=0, keepdim=True)
            times = [time for clip in video.timestamps for time in clip]
            places = [VectorPlace(min(times), max(times))]
        else:
            places = [place for number in range(len(clips)) for place in self._places(number, video.timestamps[number])]
        vectors = clips.flatten(0, 1)
        return normalize(vectors, dim=-1) if self.pooling.normalize else vectors, tuple(places)

    def _places(self, clip: int, times: tuple[float, ...]) -> Iterator[VectorPlace]:
        config = self.model.config
        if self.pooling.pool == "mean":
            yield VectorPlace(min(times), max(times), clip)
            return
        slots, height, width = config.grid
        for t in range(slots):
            slot = times[t * config.tubelet_size : (t + 1) * config.tubelet_size]
            if self.pooling.pool == "time":
                yield VectorPlace(min(slot), max(slot), clip, t)
                continue
            for place in range(height * width):
                yield VectorPlace(min(slot), max(slot), clip, t, place // width, place % width)

    def _failed(self, path: str, error: VideoMAEError, views: int) -> Embedding:
        return Embedding(path=path, model=self.name, revision=self.revision, error=Failure.of(error), views=views)

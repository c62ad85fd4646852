"""Embeds files: pools the encoder's tokens into vectors, and says which part of the file each vector represents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import ModelOutputError, OptionError, Wording, check_choice, say
from videomae_cli.pipeline.batches import Outputs, Passed
from videomae_cli.pipeline.pipeline_model import PipelineModel
from videomae_cli.results import Embedding, VectorPlace
from videomae_cli.video import DecodedVideo, SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.engines import Features
    from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

# Named alone, so that torch is not imported.
_Model: TypeAlias = "VideoMAEModel | VideoMAEForVideoClassification"
POOLS = ("mean", "time", "tokens")
STORED = {"float32": np.float32, "float16": np.float16}
LARGEST_FLOAT16 = 65504.0
# A vector of zeros stays one when it is normalised (as in torch.nn.functional.normalize).
_SHORTEST = 1e-12


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
        check_choice("pool", self.pool, POOLS)

    def check_windows(self, protocol: str | None = None) -> None:
        """Raise OptionError for a pooling that doesn't make one vector of a window.

        protocol: the one that places the windows, to name in the error; None for a length and a hop.
        """
        windows = "{@protocol:{protocol}}" if protocol is not None else "{@window}"
        for name, spelled, given in (
            ("pool", "{@pool:{pool}}", self.pool != "mean"),
            ("per_clip", "{@per_clip:True}", self.per_clip),
        ):
            if given:
                reason = f"{spelled} does not go with {windows}: a window becomes one vector"
                raise OptionError.about(name, reason, pool=self.pool, protocol=protocol)

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
class Embedder(PipelineModel[_Model, Embedding]):
    """An encoder with everything needed to use it on files.

    model: a classifier is used up to and including its `fc_norm`, without the final layer; any other model is used as
    an encoder with its final norm. storage: number format of the vectors, "float32" or "float16".
    """

    pooling: Pooling = Pooling()
    storage: str = "float32"
    result = Embedding

    def __post_init__(self) -> None:
        check_choice("storage", self.storage, STORED)
        super().__post_init__()

    def _part(self) -> Features:
        from videomae_cli.engines import Features

        return Features(self.loaded_model, self.pooling.pool, self.pooling.layer)

    def check(self, sampling: SamplingSpec) -> None:
        """Raise OptionError if the pooling doesn't go with a sampling."""
        self.pooling.check(self.config, crops=sampling.resolved_crops)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return everything about this embedder that affects results, as plain values for `jobs.Settings`."""
        p = self.pooling
        return {
            "weights": self.digest,
            "pool": p.pool,
            "layer": p.layer,
            "normalize": p.normalize,
            "per_clip": p.per_clip,
            "storage": self.storage,
            "dimensions": self.config.hidden_size,
            "resize": self.preprocessor.resize,
            "heads": self.config.num_attention_heads,
            **self._network.identity,
        }

    def _result(self, passed: Passed) -> Embedding:
        video = passed.video
        if video is None or passed.outputs is None:
            return self._failed(passed, passed.error)
        vectors, places = self._merged(passed.outputs, video)
        try:
            stored = self.stored(vectors)
        except ModelOutputError as error:
            return self._failed(passed, error)
        return self._made(passed, vectors=stored, places=places)

    def stored(self, vectors: Outputs) -> npt.NDArray[Any]:
        """Return vectors (R, D) as they are stored: scaled to length 1 if asked for, in the storage's format.

        Raises ModelOutputError for values that are no numbers, or too large for the format.
        """
        if self.pooling.normalize:
            lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
            vectors = vectors / np.maximum(lengths, np.float32(_SHORTEST))
        largest = float(np.abs(vectors).max())
        if not np.isfinite(vectors).all() or (self.storage == "float16" and largest > LARGEST_FLOAT16):
            hint = say("too large for float16: use {@storage:float32}") if np.isfinite(largest) else "no numbers"
            raise ModelOutputError.about(self.name, "{subject} gives values that are {hint}", hint=hint)
        return vectors.astype(STORED[self.storage])

    def _merged(self, outputs: Outputs, video: DecodedVideo) -> tuple[Outputs, tuple[VectorPlace, ...]]:
        """Merge the vectors (V, R, D) of all views into (rows, D); also return what each row represents."""
        # (C * K, R, D) -> (C, R, D): crops show the same moment.
        clips = outputs.reshape(-1, video.plan.crops, *outputs.shape[1:]).mean(axis=1)
        if self.pooling.pool == "mean" and not self.pooling.per_clip:
            clips = clips.mean(axis=0, keepdims=True)
            times = [time for clip in video.timestamps for time in clip]
            places = [VectorPlace(min(times), max(times))]
        else:
            places = [place for number in range(len(clips)) for place in self._places(number, video.timestamps[number])]
        return clips.reshape(-1, clips.shape[-1]), tuple(places)

    def _places(self, clip: int, times: tuple[float, ...]) -> Iterator[VectorPlace]:
        config = self.config
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

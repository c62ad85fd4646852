"""Classifies files: the views of one file are merged into one ranking of labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from videomae_cli.engines import Logits
from videomae_cli.errors import OptionError, VideoMAEError, Wording, scores_not_numbers
from videomae_cli.model import VideoMAEForVideoClassification, weights_digest
from videomae_cli.pipeline.batches import Batches, Outcomes, Passed, Starts, clip_request, decode_found
from videomae_cli.pipeline.pipeline_model import PipelineModel
from videomae_cli.results import Classification, Failure, Prediction, Source
from videomae_cli.video import DecodedVideo, Decoder, FoundVideo, SamplingSpec, WindowSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classifier(PipelineModel[VideoMAEForVideoClassification, Classification]):
    """A classifier or regression model, with everything needed to use it on files.

    top_k: labels per file, best first.
    """

    top_k: int = 5

    def _part(self) -> Logits:
        return Logits(self.model)

    def __call__(
        self,
        found: Iterable[FoundVideo],
        *,
        sampling: SamplingSpec,
        decoder: Decoder,
        starts: Starts = (),
        eager: bool = False,
        thumbnails: int = 0,
    ) -> Iterator[Classification]:
        """Yield one result per file, in order. If a file fails, its result says why; nothing is raised.

        starts: for a resumed job, the position of each file's views in the job (see `Batches`); eager: run an
        incomplete batch rather than delay a result until the next file is decoded (the last bits of its scores then
        depend on the speed of decoding); thumbnails: number of frames of each file to keep.
        """
        request = clip_request(self.preprocessor, sampling)
        outcomes = decode_found(found, request, decoder, ahead=2 * self.batch_size, eager=eager)
        yield from self.results(outcomes, starts=starts, thumbnails=thumbnails)

    def results(self, outcomes: Outcomes, *, starts: Starts = (), thumbnails: int = 0) -> Iterator[Classification]:
        """Classify files that have been decoded already with a request from `clip_request`."""
        batches = Batches(self.logits, size=self.batch_size, starts=starts, thumbnails=thumbnails)
        for passed in batches(outcomes):
            yield self._result(passed)

    def _result(self, passed: Passed) -> Classification:
        path, video = passed.path, passed.video
        if video is None or passed.outputs is None:
            assert passed.error is not None
            return self._failed(path, passed.error, passed.views)
        if not torch.isfinite(passed.outputs).all():
            # JSON has no way to write NaN or infinity.
            return self._failed(path, scores_not_numbers(self.name), passed.views)
        scores = merge_views(passed.outputs, problem_type=self.problem_type)
        log.debug("%s: decoded by %s (%s) in %.2f s", path, video.info.decoder, video.info.codec, video.seconds)
        return Classification(
            path=path,
            model=self.name,
            revision=self.revision,
            predictions=() if self.regression else self.best(scores),
            values=self.values(scores) if self.regression else None,
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
        """Return whether labels are independent of each other: sigmoid scores instead of softmax."""
        return self.problem_type == "multi_label_classification"

    @property
    def regression(self) -> bool:
        """Return whether the outputs are values, not scores of labels."""
        return self.problem_type == "regression"

    @property
    def problem_type(self) -> str:
        """Return the configuration's problem type.

        If it has none, a single output means regression and several mean classes.
        """
        return self.model.problem_type()

    def check_labels(self, use: str) -> None:
        """Raise OptionError for a regression model. use: what labels are needed for, to name in the message."""
        if self.regression:
            raise OptionError.about(
                self.name,
                "{subject} is a regression model, whose outputs are values",
                remedy=Wording(
                    "{use} needs labels. `videomae classify` gives the values, with {@start} and {@end} those of a stretch",
                    use=use,
                ),
            )

    def fit_windows(self, asked: WindowSpec) -> WindowSpec:
        """Adapt the requested windows to this model's number of frames and stride."""
        assert self.hints is not None, "made where none was given"
        return asked.for_model(self.hints)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return everything about this classifier that affects results, as plain values for `jobs.Settings`."""
        return {
            "weights": self.weights or weights_digest(self.model),
            "top_k": self.top_k,
            "resize": self.preprocessor.resize,
            "heads": self.model.config.num_attention_heads,
            **self._network.identity,
            "labels": list(self.model.config.label_names),
        }

    def logits(self, views: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Compute the logits (V, labels) float32, on the CPU, of views (V, T, H, W, 3) uint8 in one batch. Raises
        ModelMemoryError.
        """
        return self._run(views)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the names of a regression model's outputs; outputs of the same name get their number appended."""
        names = self.model.config.label_names
        often = Counter(names)
        return tuple(name if often[name] == 1 else f"{name} {number}" for number, name in enumerate(names))

    def values(self, outputs: torch.Tensor) -> dict[str, float]:
        """Map the names of a regression model's outputs to their values (outputs,)."""
        return dict(zip(self.output_names, outputs.tolist(), strict=True))

    def best(self, scores: torch.Tensor) -> tuple[Prediction, ...]:
        """Return the `top_k` labels of scores (labels,), best first."""
        values, ids = scores.topk(min(self.top_k, len(scores)))
        labels = self.model.config.id2label
        return tuple(
            Prediction(labels[label_id], label_id, value)
            for value, label_id in zip(values.tolist(), ids.tolist(), strict=True)
        )


def source_of(video: DecodedVideo) -> Source:
    """Describe which frames of a file were read, for its record."""
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
        pixels=info.pixels,
    )


def view_scores(logits: torch.Tensor, *, problem_type: str) -> torch.Tensor:
    """Turn logits (V, labels) into scores: softmax for classes, sigmoid for independent labels; values stay unchanged."""
    if problem_type == "regression":
        return logits
    return logits.sigmoid() if problem_type == "multi_label_classification" else logits.softmax(dim=-1)


def merge_views(logits: torch.Tensor, *, problem_type: str) -> torch.Tensor:
    """Merge logits (V, labels) into scores (labels,): the mean of the views' scores, as in the papers."""
    return view_scores(logits, problem_type=problem_type).mean(dim=0)

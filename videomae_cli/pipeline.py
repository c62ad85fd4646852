"""Requests -> clips in batches -> results. Receives a model, a preprocessor and a decoder; loads and writes nothing.

Decoding runs ahead in its own process while the model works (`Decoder.decode_all`); results come in the order asked for.
The views of one file (clips x crops) go through the model in batches and are merged here and nowhere else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from videomae_cli.errors import ModelMemoryError, ModelOutputError, OptionError, VideoMAEError
from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.results import Classification, Failure, Prediction, Source
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, FoundVideo, Preprocessor, SamplingSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classifier:
    """A model with all that is needed to use it on files. name and revision go into the records.

    model: in evaluation mode, on its device; batch_size: views through the model at once.
    """

    model: VideoMAEForVideoClassification
    preprocessor: Preprocessor
    name: str
    revision: str | None = None
    top_k: int = 5
    batch_size: int = 8

    def __call__(
        self, found: Iterable[FoundVideo], *, sampling: SamplingSpec, decoder: Decoder
    ) -> Iterator[Classification]:
        """One result a file, in order. What is wrong with a file is its result, never an exception."""
        transform = self.preprocessor.frame_transform(crops=sampling.resolved_crops)
        videos = list(found)
        requests = [
            ClipRequest(video.path, sampling=sampling, transform=transform) for video in videos if not video.error
        ]
        outcomes = decoder.decode_all(requests)
        for video in videos:
            yield self._result(video.path, video.error or next(outcomes)[1])

    def _result(self, path: str, outcome: DecodedVideo | VideoMAEError) -> Classification:
        if isinstance(outcome, VideoMAEError):
            return self._failed(path, outcome)
        started = time.monotonic()
        try:
            scores = merge_views(self.logits(outcome.views()), multi_label=self.multi_label)
        except VideoMAEError as error:
            return self._failed(path, error)
        info, plan = outcome.info, outcome.plan
        log.debug("%s: decoded by %s (%s) in %.2f s", path, info.decoder, info.codec, outcome.seconds)
        return Classification(
            path=path,
            model=self.name,
            revision=self.revision,
            predictions=self._best(scores),
            source=Source(
                decoder=info.decoder,
                sampling=plan.description,
                frames=plan.clips,
                timestamps=outcome.timestamps,
                crops=plan.crops,
                num_frames=info.num_frames,
                fps=info.fps,
                duration=info.duration,
                width=info.width,
                height=info.height,
            ),
            warnings=outcome.warnings,
            seconds=outcome.seconds + time.monotonic() - started,
        )

    def _failed(self, path: str, error: VideoMAEError) -> Classification:
        log.debug("%s failed", path, exc_info=error)
        return Classification(path=path, model=self.name, revision=self.revision, error=Failure.of(error))

    @property
    def multi_label(self) -> bool:
        """Whether labels are independent of each other: sigmoid scores instead of softmax."""
        return self.model.config.problem_type == "multi_label_classification"

    @torch.inference_mode()
    def logits(self, views: npt.NDArray[np.uint8]) -> torch.Tensor:
        """(V, T, H, W, 3) uint8 -> (V, labels) float32 on the CPU, `batch_size` views at a time.

        Raises ModelMemoryError, and ModelOutputError where a logit is no number (which JSON could not even hold).
        """
        try:
            parts = [
                self._batch_logits(views[first : first + self.batch_size])
                for first in range(0, len(views), self.batch_size)
            ]
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            raise ModelMemoryError(
                f"{self.model.device} has too little memory for {min(len(views), self.batch_size)} clips at once: "
                "try --batch-size 1, a smaller model, or --device cpu"
            ) from None
        logits = torch.cat(parts)
        if not torch.isfinite(logits).all():
            raise ModelOutputError(f"{self.name} gives scores that are no numbers: its weights are damaged")
        return logits

    def _batch_logits(self, views: npt.NDArray[np.uint8]) -> torch.Tensor:
        pixel_values = self.preprocessor.to_pixel_values(views).to(self.model.device, self.model.dtype)
        logits: torch.Tensor = self.model(pixel_values).logits
        return logits.float().cpu()

    def _best(self, scores: torch.Tensor) -> tuple[Prediction, ...]:
        values, ids = scores.topk(min(self.top_k, len(scores)))
        labels = self.model.config.id2label
        return tuple(
            Prediction(labels[label_id], label_id, value)
            for value, label_id in zip(values.tolist(), ids.tolist(), strict=True)
        )


def merge_views(logits: torch.Tensor, *, multi_label: bool) -> torch.Tensor:
    """(V, labels) logits -> (labels,) scores: softmax (or sigmoid) of each view, then their mean, as published."""
    scores = logits.sigmoid() if multi_label else logits.softmax(dim=-1)
    return scores.mean(dim=0)


def _is_out_of_memory(error: RuntimeError) -> bool:
    # On the CPU torch raises a plain RuntimeError, told only by its words.
    return isinstance(error, torch.cuda.OutOfMemoryError) or "allocate memory" in str(error)


def pick_device(name: str) -> torch.device:
    """The device for "auto" (CUDA, then Apple's MPS, then the CPU) or a named one. Raises OptionError if it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    if not there.get(name, False):
        raise OptionError(f"device {name!r} is not available here: use --device cpu or --device auto")
    return torch.device(name)

"""The model of a labelling: an encoder that gives what a classifier's last layer sees, and the checkpoint with what was learnt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from videomae_cli import filesystem
from videomae_cli.assembly import EmbedderRequest
from videomae_cli.datasets import Example
from videomae_cli.engines.onnx_reading import ExportedOnnx
from videomae_cli.errors import CheckpointError, OutputError
from videomae_cli.files import replace, whole_folder
from videomae_cli.hub import ResolvedSource
from videomae_cli.labelling.answers import Answer
from videomae_cli.labelling.learner import Array
from videomae_cli.model import Overrides, VideoMAEForVideoClassification, load_checkpoint, start_classifier
from videomae_cli.pipeline import Embedder
from videomae_cli.training.checkpoint import own_section, save_checkpoint
from videomae_cli.training.run_folder import write_json
from videomae_cli.training.seen_clips import record_seen
from videomae_cli.video import SamplingSpec

_MADE_BY = "videomae label"
_RECORD = "labelling.json"


@dataclass(frozen=True, kw_only=True)
class LabelEncoderRequest(EmbedderRequest):
    """Request for any checkpoint's encoder, with the mean pooling and the norm of the classifier that will be made of it.

    A checkpoint without a classifier is pooled before its norm, not after it as `videomae embed` does.
    """

    def _load(self, path: Path) -> VideoMAEForVideoClassification:
        model = _started(path, ("unknown",), self.heads)
        head = _head_of(model)
        with torch.no_grad():
            head.weight.zero_()  # it is random, and the digest of the weights has to be the same each time
        return model.eval()

    def _check_exported(self, source: ResolvedSource, exported: ExportedOnnx) -> None:
        raise CheckpointError.about(
            source.name, "{subject} was exported, and no new classes can be taught to it", remedy="give its checkpoint"
        )


def save_learnt(
    place: Path,
    embedder: Embedder,
    sampling: SamplingSpec,
    *,
    weight: Array,
    bias: Array,
    labels: Sequence[str],
    answers: Sequence[Answer],
) -> None:
    """Write a checkpoint directory that `classify`, `timeline` and transformers load; it replaces an earlier one as a whole.

    weight (C, D), bias (C,): the last layer, for the embedder's vectors; sampling: of its clips; answers: what it was
    trained on. Raises OutputError if something else is there, or it can't be written.
    """
    check_model_place(place)
    source = embedder.checkpoint
    assert source is not None, "loaded from a place"
    about = {"init": embedder.name, "made_by": _MADE_BY}
    model = _started(source, labels, embedder.config.num_attention_heads, own_section(sampling, about))
    head = _head_of(model)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
    examples = [Example(a.clip.path, (a.label,), None, "", a.clip.start, a.clip.end) for a in answers]
    counts = {label: sum(answer.label == label for answer in answers) for label in labels}
    new = place.with_name(f"{place.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
        with whole_folder(new) as scratch:
            save_checkpoint(model, embedder.preprocessor, scratch)
            record_seen(scratch, examples, source)
            write_json(
                scratch / _RECORD, {"schema_version": 1, "made_by": _MADE_BY, "init": embedder.name, "answers": counts}
            )
        _swap(place, new)
    except OSError as error:
        raise OutputError.about(place, "can't write {subject}: {reason}", reason=error.strerror or error) from None


def check_model_place(place: Path) -> None:
    """Raise OutputError if something is there that a labelling did not write."""
    if not filesystem.is_there(place):
        return
    try:
        ours = json.loads((place / _RECORD).read_text(encoding="utf-8")).get("made_by") == _MADE_BY
    except (OSError, ValueError, AttributeError, RecursionError):
        ours = False
    if not ours:
        raise OutputError.about(
            place, "{subject} is there and was not written by videomae label", remedy="move it away"
        )


def _swap(place: Path, new: Path) -> None:
    """Put the new folder in the place of the old one, which stays until then. A kill between leaves NAME.new, a whole model."""
    old = place.with_name(f"{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if filesystem.is_there(place):
        replace(place, old)
    replace(new, place)
    shutil.rmtree(old, ignore_errors=True)


def _started(
    path: Path, labels: Sequence[str], heads: int | None, extra: dict[str, object] | None = None
) -> VideoMAEForVideoClassification:
    checkpoint = load_checkpoint(path, overrides=Overrides(num_attention_heads=heads))
    return start_classifier(checkpoint, labels=labels, extra=extra or checkpoint.config.extra)


def _head_of(model: VideoMAEForVideoClassification) -> torch.nn.Linear:
    assert isinstance(model.classifier, torch.nn.Linear), "it has labels"
    return model.classifier

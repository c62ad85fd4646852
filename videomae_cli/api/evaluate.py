"""Measures a model on labelled clips: the function behind `videomae evaluate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from videomae_cli.api.classifier import VideoClassifier, load_classifier
from videomae_cli.api.footage import SamplingOptions, sampling_spec
from videomae_cli.api.loaded import model_name
from videomae_cli.arguments import checked
from videomae_cli.assembly import ClassifierRequest
from videomae_cli.training.evaluating import EvaluationJob, LabelledData, check_places, write_evaluation

if TYPE_CHECKING:
    from videomae_cli.evaluation import Evaluation
    from videomae_cli.training.scoring import OnClip


@checked
def evaluate(
    data: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | VideoClassifier,
    split: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    target: str | Sequence[str] = (),
    ignore_unknown: bool = False,
    frame_folders: str = "auto",
    report: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_clip: OnClip = lambda path, views, error: None,
    **options: Unpack[SamplingOptions],
) -> Evaluation:
    """Measure a model on labelled clips, with the scores of `classify_all`; what `videomae evaluate` does.

    data: a folder of class folders or a table of path and label; model: a loaded classifier, or the name of one; split:
    "test", "val", "train" or "all"; labels: a file of names for labels that are numbers; target: columns of true
    values, for a regression model; ignore_unknown: leave out clips with labels that the model lacks; frame_folders: as in
    `find_videos`; report: a folder
    for report.md and its pictures; overwrite: replace a report; on_clip: called with path, views and error of each
    clip; options: `SamplingOptions`, such as protocol="paper". The result has `metrics` (`top1`, `top5`, ..., or the
    errors of a regression model), `classes`, `failures` and `as_dict()`. Raises DatasetError, OptionError, OutputError,
    and what `load_classifier` raises for a name.
    """
    spec = sampling_spec(**options)
    place = None if report is None else Path(report)
    check_places(None, place, overwrite)
    targets = (target,) if isinstance(target, str) else target
    names = None if labels is None else Path(labels)
    read = LabelledData.read(data, split=split, labels=names, targets=targets, frame_folders=frame_folders)
    if isinstance(model, VideoClassifier):
        loaded = model
    else:  # what is measured is the model, not an engine
        loaded = load_classifier(model, engine=ClassifierRequest(name=model_name(model)).as_reference().engine)
    job = EvaluationJob.plan(loaded.reference, read, spec, ignore_unknown=ignore_unknown)
    with loaded.decoding.decoder(len(job.kept)) as decoder:
        measured = job.run(decoder, on_clip=on_clip)
    write_evaluation(measured, None, place, overwrite=overwrite)
    return measured.evaluation

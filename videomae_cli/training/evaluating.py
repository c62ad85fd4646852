"""Evaluates a classifier on labelled clips: reads data, matches labels, scores clips, and writes the metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli import __version__, filesystem
from videomae_cli.assembly import settings_of
from videomae_cli.content import EMBEDDINGS, TIMELINE, content_in
from videomae_cli.datasets import Dataset, Example, read_dataset, table_columns, unlabelled_output, values_of_labels
from videomae_cli.errors import DatasetError, OptionError, OutputError, VideoMAEError, Wording, check_choice, say
from videomae_cli.evaluation import (
    Evaluation,
    Metrics,
    MultiLabelMetrics,
    RegressionMetrics,
    markdown,
    measure,
    measure_labels,
    measure_outputs,
)
from videomae_cli.files import check_new, whole_file
from videomae_cli.labels import match_labels
from videomae_cli.made import MadeFiles
from videomae_cli.pictures.charts import confusion_chart, reliability_chart, scatter_chart
from videomae_cli.pictures.picture_files import is_own_picture
from videomae_cli.pipeline import Classifier
from videomae_cli.results import as_utf8, path_fields
from videomae_cli.training.features import View
from videomae_cli.training.scoring import OnClip, ScoredClips, score
from videomae_cli.training.seen_clips import SeenClips
from videomae_cli.video import Decoder, Filter, SamplingSpec
from videomae_cli.visible import counted

SPLITS = ("test", "val", "train", "all")
# Files that a report folder may contain; which pictures it has depends on the model's task.
REPORT_FILES = ("report.json", "predictions.jsonl", "report.md", "confusion.png", "reliability.png", "scatter.png")


@dataclass(frozen=True)
class LabelledData:
    """Labelled clips to measure models on.

    columns: the names of the table's columns, empty for other data; split: as requested.
    """

    data: str
    columns: Sequence[str]
    dataset: Dataset
    split: str | None = None
    targets: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        data: str | os.PathLike[str],
        *,
        split: str | None = None,
        labels: Path | None = None,
        targets: Sequence[str] = (),
        frame_folders: str = "auto",
    ) -> LabelledData:
        """Read a folder of class folders or a table. labels: names for labels that are numbers; targets: columns of
        values; frame_folders: as in `find_videos`.

        Raises DatasetError (also for a split that the data doesn't have) or OptionError.
        """
        if split is not None:
            check_choice("split", split, SPLITS, last=" or ")
        data = os.fspath(data)
        columns = table_columns(data)
        # If the table has no label column, only the model can tell whether labels are needed.
        labelled = "label" in columns or not columns
        if not labelled and not targets and (content := content_in(data)) in (EMBEDDINGS, TIMELINE):
            raise unlabelled_output(data, content)  # no model has these columns as its outputs
        only = Filter(frame_folders=frame_folders)
        dataset = read_dataset(data, labels=labels, labels_required=labelled, targets=targets, only=only)
        read = cls(data, columns, dataset, split, tuple(targets))
        read.chosen()
        return read

    def chosen(self) -> tuple[str, Sequence[Example]]:
        """Return the name of the split to measure, and its examples. Raises DatasetError for a split that is missing."""
        dataset, split = self.dataset, self.split
        given = [name for name in ("test", "val", "train") if dataset.of(name)]
        if split is None:
            split = next((name for name in ("test", "val") if name in given), "all")
        if split == "all":
            return "all", dataset.examples
        if split not in given:
            raise DatasetError.about(
                split,
                "the data has no split {subject!r} (it has {given})",
                given=", ".join(given) or "none",
                remedy=Wording("{@split:all} takes every clip"),
            )
        return split, dataset.of(split)

    def for_model(self, classifier: Classifier) -> LabelledData:
        """Return the data with labels for a classifier, or with true values for a regression model.

        Raises DatasetError or OptionError.
        """
        if classifier.regression:
            return replace(self, dataset=_values(classifier, self.dataset, self.data, self.columns))
        if self.targets:
            reason = "{name} gives classes, not values"
            raise OptionError.about("target", reason, name=classifier.name, remedy=Wording("leave out {@target}"))
        if self.columns and "label" not in self.columns:
            reason = "can't read {subject}: it has no column label (its columns: {columns})"
            raise DatasetError.about(self.data, reason, columns=", ".join(self.columns))
        return self


@dataclass(frozen=True)
class Measured:
    """An evaluation with the scores of each clip. kept: the clips, in the order of the scores."""

    evaluation: Evaluation
    scored: ScoredClips
    kept: Sequence[Example]


@dataclass(frozen=True)
class EvaluationJob:
    """A classifier and the clips to measure it on.

    kept: the clips whose labels the model has; ids: the model's ids of these labels; names: of the model's outputs.
    """

    classifier: Classifier
    data: str
    split: str
    spec: SamplingSpec
    kept: Sequence[Example]
    ids: Mapping[str, int]
    names: tuple[str, ...]
    ignored: int = 0

    @classmethod
    def plan(
        cls, classifier: Classifier, data: LabelledData, spec: SamplingSpec, *, ignore_unknown: bool = False
    ) -> EvaluationJob:
        """Match the labels of the data to those of the model.

        spec: the requested sampling, not yet adapted to a model. Raises DatasetError if they don't fit, OptionError for
        options that don't fit the model.
        """
        data = data.for_model(classifier)
        split, examples = data.chosen()
        names = classifier.output_names if classifier.regression else classifier.config.label_names
        # Only labels of the chosen clips count: another split may have classes of its own.
        present = {label for example in examples for label in example.labels}
        wanted = [label for label in data.dataset.classes if label in present]
        ids = match_labels(wanted, names, ignore_unknown=ignore_unknown)
        kept = [e for e in examples if all(label in ids for label in e.labels)]
        if not kept:
            more = ", ..." if len(wanted) > 3 else ""
            reason = "the model has not one of the data's labels ({wanted}{more})"
            raise DatasetError.about(classifier.name, reason, wanted=", ".join(wanted[:3]), more=more)
        classes = not (classifier.multi_label or classifier.regression)
        if classes and (several := next((e for e in kept if len(e.labels) != 1), None)):
            reason = "{subject!r} has {count} labels, and the model says one: use a multi-label model"
            raise DatasetError.about(several.path, reason, count=len(several.labels))
        return cls(classifier, data.data, split, classifier.fit(spec), kept, ids, names, len(examples) - len(kept))

    def run(
        self,
        decoder: Decoder,
        *,
        scorer: Classifier | None = None,
        on_clip: OnClip = lambda path, views, error: None,
    ) -> Measured:
        """Score every clip and compute the metrics.

        scorer: used instead of the classifier, to watch its batches; on_clip: called after each clip. Clips that fail
        are listed in the evaluation's `failures`. Raises DatasetError if none can be scored.
        """
        view = View(
            sampling=self.spec,
            transform=self.classifier.preprocessor.frame_transform(crops=self.spec.resolved_crops),
            decoder=decoder,
            batch=self.classifier.batch_size,
        )
        scored = score(scorer or self.classifier, self.kept, view=view, on_clip=on_clip)
        if not scored.valid.any():
            raise DatasetError.about(
                self.data, "none of {count} could be scored", count=counted(len(self.kept), "clip")
            )
        return Measured(self._evaluation(scored), scored, self.kept)

    def _evaluation(self, scored: ScoredClips) -> Evaluation:
        valid = scored.valid
        good = [example for example, ok in zip(self.kept, valid, strict=True) if ok]
        metrics: Metrics | MultiLabelMetrics | RegressionMetrics
        scores = scored.scores[valid]
        if self.classifier.regression:
            metrics = measure_outputs(scores, np.array([example.values for example in good]))
        else:
            truth = np.zeros((len(good), len(self.names)), dtype=np.float32)
            for row, example in enumerate(good):
                truth[row, [self.ids[label] for label in example.labels]] = 1
            metrics = (
                measure_labels(scores, truth) if self.classifier.multi_label else measure(scores, truth.argmax(axis=1))
            )
        settings = settings_of("evaluate", self.classifier, self.spec)
        counts = sorted(set(scored.views[valid].tolist()))
        return Evaluation(
            model=self.classifier.name,
            revision=self.classifier.revision,
            version=__version__,
            settings=settings.as_dict(),
            fingerprint=settings.fingerprint,
            data=as_utf8(self.data),
            split=self.split,
            protocol=_protocol(self.spec, counts),
            views=int(scored.views.sum()),
            labels=self.names,
            metrics=metrics,
            failures=tuple(
                {"path": as_utf8(self.kept[place].path), **_failure(error)}
                for place, error in sorted(scored.errors.items())
            ),
            ignored=self.ignored,
            trained_on=self._trained_on(good),
        )

    def _trained_on(self, examples: Sequence[Example]) -> int | None:
        """Count the clips that the model was trained on; None if its checkpoint doesn't say."""
        place = self.classifier.checkpoint
        seen = SeenClips.read(place) if place is not None else None
        return seen.count(examples) if seen is not None else None


def _values(classifier: Classifier, dataset: Dataset, data: str, columns: Sequence[str]) -> Dataset:
    """Return the data with a true value for each output of the model.

    The values come from the requested columns, from columns named like the outputs, or from labels that are numbers.
    Raises DatasetError.
    """
    names = classifier.output_names
    said = " ".join(say("{@target:{name}}", name=name) for name in names[:3]) + (" ..." if len(names) > 3 else "")
    if not dataset.outputs and set(names) <= set(columns):
        dataset = read_dataset(data, targets=names)
    if dataset.outputs:
        if len(dataset.outputs) != len(names):
            raise DatasetError.about(
                classifier.name,
                "{subject} gives {value} a clip ({names}{rest}), and {@target} names {outputs}",
                value=counted(len(names), "value"),
                names=", ".join(names[:3]),
                rest=", ..." if len(names) > 3 else "",
                outputs=len(dataset.outputs),
            )
        return dataset
    if len(names) > 1:
        reason = "{subject} gives {count} values a clip: give a table with a column for each ({said})"
        raise DatasetError.about(classifier.name, reason, count=len(names), said=said)
    if columns and "label" not in columns:
        raise DatasetError.about(
            data,
            "{subject} has no column {name} (its columns: {columns})",
            name=names[0],
            columns=", ".join(columns),
            remedy=Wording("{@target} COLUMN names that of the values"),
        )
    return values_of_labels(dataset, names[0])


def _protocol(spec: SamplingSpec, views: Sequence[int]) -> str:
    """Describe the views per clip as papers do: "dense: 5 clips x 3 crops"."""
    crops = spec.resolved_crops
    counts = sorted({count // crops for count in views})
    clips = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    paper = ", the paper's protocol" if spec.protocol == "paper" else ""
    plural = "" if counts == [1] else "s"
    pixels = ", stored pixels" if spec.resolved_pixels == "stored" and not paper else ""
    return f"{spec.resolved_family}: {clips} clip{plural} x {crops} crop{'s' if crops > 1 else ''}{paper}{pixels}"


def check_places(output: Path | None, report: Path | None, overwrite: bool) -> None:
    """Raise OutputError if an output can't be written, or would replace a file without `overwrite`."""
    if output is not None:
        check_new(output, overwrite=overwrite)
    if report is None:
        return
    if filesystem.is_there(report) and not filesystem.is_folder(report):
        raise OutputError.about(report, "{subject} is a file", remedy=Wording("{@report} needs a folder"))
    _made(report, overwrite).check_free(REPORT_FILES)
    above = next(folder for folder in (report, *report.absolute().parents) if filesystem.is_there(folder))
    if not filesystem.is_folder(above) or not os.access(above, os.W_OK):
        raise OutputError.about(
            report,
            "can't make the folder {subject}: {above} is {obstacle}",
            above=above,
            obstacle="read-only" if filesystem.is_folder(above) else "a file",
        )


def _made(report: Path, overwrite: bool) -> MadeFiles:
    return MadeFiles(
        report,
        lambda file: file.name in REPORT_FILES and is_own_picture(file),
        say("{report} holds something already: {@overwrite:True} replaces a report in it", report=report),
        overwrite=overwrite,
    )


def write_evaluation(measured: Measured, output: Path | None, report: Path | None, *, overwrite: bool) -> None:
    """Write the document to `output`, and everything into the folder `report`. Raises OutputError."""
    evaluation, scored, kept = measured.evaluation, measured.scored, measured.kept
    document = (json.dumps(evaluation.as_dict(), indent=1) + "\n").encode()
    if output is not None:
        with whole_file(output) as sink:
            sink.write(document)
    if report is None:
        return
    files = {"report.json": document, "predictions.jsonl": _predictions(evaluation, scored, kept)}
    m = evaluation.metrics
    if isinstance(m, Metrics):
        there = [n for n, f in enumerate(m.classes) if f.support or f.precision is not None]
        names = [evaluation.labels[n] for n in there]
        files["confusion.png"] = confusion_chart(m.confusion[there][:, there], names)
        files["reliability.png"] = reliability_chart(m.calibration.bins, m.calibration.error)
    if isinstance(m, RegressionMetrics):
        truth = np.array([example.values for example in kept])
        files["scatter.png"] = scatter_chart(truth[scored.valid], scored.scores[scored.valid], evaluation.labels)
    pictures = [name for name in files if name.endswith(".png")]
    files["report.md"] = markdown(evaluation, pictures).encode("utf-8", "replace")
    with _made(report, overwrite) as made:
        made.check_free(files)
        made.fill(files)


def _predictions(evaluation: Evaluation, scored: ScoredClips, kept: Sequence[Example]) -> bytes:
    """Return a JSON line per clip: the truth, the prediction, and every score by label id."""
    values = isinstance(evaluation.metrics, RegressionMetrics)
    lines = []
    for place, example in enumerate(kept):
        error = scored.errors.get(place)
        said, scores = (None, None) if error is not None else _said(evaluation, scored.scores[place])
        line: dict[str, Any] = {**path_fields(example.path), "start": example.start, "end": example.end}
        line["true"] = _by_name(example.values, evaluation.labels) if values else list(example.labels)
        line["status"] = "ok" if error is None else "error"
        line["error"] = None if error is None else _failure(error)
        lines.append(json.dumps(line | {"said": said, "scores": scores}))
    return ("\n".join(lines) + "\n").encode()


def _said(evaluation: Evaluation, row: npt.NDArray[np.float64]) -> tuple[Any, list[float] | None]:
    """Return what the model says about a clip, and its scores, which only a classifier has."""
    if isinstance(evaluation.metrics, RegressionMetrics):
        return _by_name(row.tolist(), evaluation.labels), None
    places = [int(row.argmax())] if isinstance(evaluation.metrics, Metrics) else np.flatnonzero(row >= 0.5)
    return [evaluation.labels[place] for place in places], [float(f"{value:.6g}") for value in row]


def _failure(error: VideoMAEError) -> dict[str, str]:
    return {"kind": error.kind, "message": as_utf8(str(error))}


def _by_name(values: Sequence[float], names: Sequence[str]) -> float | dict[str, float]:
    """Return a single value as it is, several keyed by their names."""
    rounded = [float(f"{value:z.7g}") for value in values]
    return rounded[0] if len(rounded) == 1 else dict(zip(names, rounded, strict=True))

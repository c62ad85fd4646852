"""`videomae evaluate`: how good a model is on labelled clips, with the views of its protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli import __version__
from videomae_cli.assembly import ClassifierRequest, settings_of
from videomae_cli.cli import console, options, streams
from videomae_cli.cli.batch import Watch, check_progress
from videomae_cli.cli.inputs import pick_resize, sampling_spec
from videomae_cli.cli.interrupts import terminable
from videomae_cli.cli.loading import fitted, load_classifier
from videomae_cli.cli.measured import check_places, show, write
from videomae_cli.engines import check_engine
from videomae_cli.errors import DatasetError, OptionError, VideoMAEError
from videomae_cli.labels import read_labels
from videomae_cli.video import Decoder, SamplingSpec, auto_workers

if TYPE_CHECKING:
    from videomae_cli.datasets import Dataset, Example
    from videomae_cli.evaluation import Evaluation, Metrics, MultiLabelMetrics, RegressionMetrics
    from videomae_cli.pipeline import Classifier
    from videomae_cli.training.scoring import Scored


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of class folders (or of train/, val/, test/ with class folders), or a table of path and label.",
            metavar="DATA",
        ),
    ],
    model: options.Model = options.DEFAULT_MODEL,
    revision: options.Revision = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which clips. Default: test where the data has some, else val, else all.", metavar="test|val|train|all"
        ),
    ] = None,
    output: options.Output = None,
    format: Annotated[str, typer.Option(help="What is printed.", metavar="table|json")] = "table",
    report: Annotated[
        Path | None,
        typer.Option(help="A folder for report.md, report.json, predictions.jsonl and pictures.", metavar="DIR"),
    ] = None,
    labels: options.Labels = None,
    data_labels: Annotated[
        Path | None, typer.Option(help="Names for labels of the data that are numbers.", metavar="FILE")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a regression model: the column of a table with the true values, one option for each output in the model's "
            "order. Default: columns named as the outputs, else labels that are numbers.",
            metavar="COLUMN",
        ),
    ] = None,
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="Leave out clips with labels that the model does not have.")
    ] = False,
    overwrite: options.ReplaceFiles = False,
    sampling: options.Sampling = "auto",
    stride: options.Stride = None,
    clips: options.Clips = None,
    crops: options.Crops = None,
    protocol: options.Protocol = "auto",
    fps: options.Fps = None,
    start: options.Start = None,
    end: options.End = None,
    pixels: options.Pixels = None,
    resize: options.Resize = None,
    timeout: options.Timeout = 120.0,
    decoder_memory: options.DecoderMemory = None,
    device: options.Device = "auto",
    engine: options.Engine = "torch",
    dtype: options.Dtype = "auto",
    compiled: options.Compile = False,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    heads: options.Heads = None,
    ok_on_errors: options.OkOnErrors = False,
    progress: options.ProgressMode = "auto",
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a model on labelled clips: top-1, top-5, every class, what is taken for what, calibration.

    A regression model is measured against columns of numbers, or labels that are: errors, R², correlation, rank correlation.
    Scores are those of `videomae classify` with the same options; --protocol paper gives the number of a paper's table.
    Exit code 0 if every clip was scored, 1 if one was not, 2 for wrong options.
    """
    console.configure(debug=debug, quiet=quiet)
    check_progress(progress)
    check_engine(engine, dtype, compiled)
    if format not in ("table", "json"):
        raise OptionError(f"unknown format {format!r}: choose table or json")
    if split not in (None, "test", "val", "train", "all"):
        raise OptionError(f"unknown split {split!r}: choose test, val, train or all")
    if dtype == "int8":
        raise OptionError("--dtype int8 is calibrated on a job's clips: evaluate with float32 or bfloat16")
    spec = sampling_spec(
        family=sampling,
        stride=stride,
        clips=clips,
        crops=crops,
        protocol=protocol,
        fps=fps,
        start=start,
        end=end,
        pixels=pixels,
    )
    check_places(output, report, overwrite)
    from videomae_cli.datasets import read_dataset, table_columns

    columns = table_columns(data)
    # Whether there must be labels the model tells, where the table has none.
    labelled = "label" in columns or not columns
    dataset = read_dataset(data, labels=data_labels, labels_required=labelled, targets=target or ())
    chosen, examples = _chosen(dataset, split)
    request = ClassifierRequest(
        name=model,
        revision=revision,
        device=device,
        engine=engine,
        dtype=dtype,
        compiled=compiled,
        resize=pick_resize(resize, protocol),
        batch_size=batch_size,
        heads=heads,
        labels=read_labels(labels) if labels else None,
    )
    with Decoder(
        timeout=timeout or None,
        memory=options.memory_bytes(decoder_memory),
        workers=workers or auto_workers(len(examples)),
        debug=debug,
    ) as decoder:
        decoder.start()
        classifier = load_classifier(request)
        if classifier.regression:
            dataset = _values(classifier, dataset, data, columns)
            chosen, examples = _chosen(dataset, split)
        elif target:
            raise OptionError(f"{classifier.name} gives classes, not values: leave out --target")
        elif not labelled:
            raise DatasetError(f"can't read {data}: it has no column label (its columns: {', '.join(columns)})")
        job = _Job(
            data,
            chosen,
            dataset,
            examples,
            classifier,
            fitted(spec, classifier),
            decoder,
            progress,
        )
        evaluation, scored, kept = job.run(ignore_unknown)
    write(evaluation, scored, kept, output, report, overwrite=overwrite)
    with streams.written() if output is None and report is None else streams.dispensable():
        if format == "json":
            streams.put_json(evaluation.as_dict())
        else:
            show(evaluation)
    if evaluation.failures and not ok_on_errors:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Job:
    data: str
    split: str
    dataset: Dataset
    examples: Sequence[Example]
    classifier: Classifier
    spec: SamplingSpec
    decoder: Decoder
    progress: str

    def run(self, ignore_unknown: bool) -> tuple[Evaluation, Scored, list[Example]]:
        """Raises DatasetError where labels don't fit, VideoMAEError where not one clip can be scored."""
        from videomae_cli.cli.display import consoles
        from videomae_cli.cli.progress import BatchProgress
        from videomae_cli.labels import match_labels
        from videomae_cli.training import View
        from videomae_cli.training.scoring import score

        config = self.classifier.model.config
        names = config.label_names
        if self.classifier.regression:
            names = self.classifier.output_names
        # Of the clips that are asked for: another split may have classes of its own.
        there = {label for example in self.examples for label in example.labels}
        wanted = [label for label in self.dataset.classes if label in there]
        ids = match_labels(wanted, names, ignore_unknown=ignore_unknown)
        kept = [e for e in self.examples if all(label in ids for label in e.labels)]
        if not kept:
            more = ", ..." if len(wanted) > 3 else ""
            raise DatasetError(f"the model has not one of the data's labels ({', '.join(wanted[:3])}{more})")
        classes = not (self.classifier.multi_label or self.classifier.regression)
        if classes and (several := next((e for e in kept if len(e.labels) != 1), None)):
            raise DatasetError(
                f"{several.path!r} has {len(several.labels)} labels, and the model says one: use a multi-label model"
            )
        view = View(
            sampling=self.spec,
            transform=self.classifier.preprocessor.frame_transform(crops=self.spec.resolved_crops),
            decoder=self.decoder,
            batch=self.classifier.batch_size,
        )
        shown = BatchProgress(len(kept), watched=True)
        watch = Watch()
        watch.progress = shown

        def told(path: str, views: int, error: VideoMAEError | None) -> None:
            if error is not None:
                console.error(str(error) if path in str(error) else f"{path}: {error}")
            shown.advance(path, views=views, failed=error is not None)

        with terminable(), shown.shown(self.progress, consoles()[1]):
            scored = score(watch.over(self.classifier), kept, view=view, told=told)
        if not scored.there.any():
            raise DatasetError(f"none of {console.counted(len(kept), 'clip')} could be scored")
        return self._evaluation(scored, kept, ids, names), scored, kept

    def _evaluation(
        self,
        scored: Scored,
        kept: Sequence[Example],
        ids: Mapping[str, int],
        names: tuple[str, ...],
    ) -> Evaluation:
        import numpy as np

        from videomae_cli.evaluation import Evaluation, measure, measure_labels, measure_outputs
        from videomae_cli.results import as_utf8

        there = scored.there
        good = [example for example, ok in zip(kept, there, strict=True) if ok]
        several = self.classifier.multi_label
        metrics: Metrics | MultiLabelMetrics | RegressionMetrics
        scores = scored.scores[there]
        if self.classifier.regression:
            metrics = measure_outputs(scores, np.array([example.values for example in good]))
        else:
            truth = np.zeros((len(good), len(names)), dtype=np.float32)
            for row, example in enumerate(good):
                truth[row, [ids[label] for label in example.labels]] = 1
            metrics = measure_labels(scores, truth) if several else measure(scores, truth.argmax(axis=1))
        settings = settings_of("evaluate", self.classifier, self.spec)
        counts = sorted(set(scored.views[there].tolist()))
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
            labels=names,
            metrics=metrics,
            failures=tuple(
                {"path": as_utf8(kept[place].path), "kind": error.kind, "message": as_utf8(str(error))}
                for place, error in sorted(scored.errors.items())
            ),
            ignored=len(self.examples) - len(kept),
        )


def _values(classifier: Classifier, dataset: Dataset, data: str, columns: Sequence[str]) -> Dataset:
    """The data with a true value for each output of the model: of the columns asked for, of those named as the outputs,
    or of labels that are numbers. Raises DatasetError."""
    from videomae_cli.datasets import read_dataset, values_of_labels

    names = classifier.output_names
    said = " ".join(f"--target {name}" for name in names[:3]) + (" ..." if len(names) > 3 else "")
    if not dataset.outputs and set(names) <= set(columns):
        dataset = read_dataset(data, targets=names)
    if dataset.outputs:
        if len(dataset.outputs) != len(names):
            raise DatasetError(
                f"{classifier.name} gives {console.counted(len(names), 'value')} a clip ({', '.join(names[:3])}"
                f"{', ...' if len(names) > 3 else ''}), and --target names {len(dataset.outputs)}"
            )
        return dataset
    if len(names) > 1:
        raise DatasetError(
            f"{classifier.name} gives {len(names)} values a clip: give a table with a column for each ({said})"
        )
    if columns and "label" not in columns:
        raise DatasetError(
            f"{data} has no column {names[0]} (its columns: {', '.join(columns)}): --target COLUMN names that of the values"
        )
    return values_of_labels(dataset, names[0])


def _protocol(spec: SamplingSpec, views: Sequence[int]) -> str:
    """The views of a clip, as papers write them."""
    crops = spec.resolved_crops
    counts = sorted({count // crops for count in views})
    clips = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    paper = ", the paper's protocol" if spec.protocol == "paper" else ""
    plural = "" if counts == [1] else "s"
    pixels = ", stored pixels" if spec.resolved_pixels == "stored" and not paper else ""
    return f"{spec.resolved_family}: {clips} clip{plural} x {crops} crop{'s' if crops > 1 else ''}{paper}{pixels}"


def _chosen(dataset: Dataset, split: str | None) -> tuple[str, Sequence[Example]]:
    """Which examples, and what they are called. Raises DatasetError for a split that is not there."""
    given = [name for name in ("test", "val", "train") if dataset.of(name)]
    if split is None:
        split = next((name for name in ("test", "val") if name in given), "all")
    if split == "all":
        return "all", dataset.examples
    if split not in given:
        raise DatasetError(
            f"the data has no split {split!r} (it has {', '.join(given) or 'none'}): --split all takes every clip"
        )
    return split, dataset.of(split)

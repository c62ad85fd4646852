"""`videomae classify`: labels for videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.assembly import ClassifierRequest, calibration_on, settings_for, settings_of
from videomae_cli.cli import options
from videomae_cli.cli.options.groups import (
    BatchOptions,
    FileOptions,
    JobOptions,
    ModelOptions,
    RunOptions,
    takes_groups,
)
from videomae_cli.cli.outputs.reporting import FRAMES, open_report
from videomae_cli.cli.outputs.targets import Target, open_target
from videomae_cli.cli.run.batch import Batch, Watch
from videomae_cli.cli.run.cluster_jobs import ClusterCommand, check_cluster
from videomae_cli.cli.run.dry_run import Plan, say_plan
from videomae_cli.cli.run.inputs import Inputs, decoding, find_inputs, model_request, sampling_spec
from videomae_cli.cli.run.loading import fitted, load_classifier
from videomae_cli.cli.run.retrying import Retry, retried
from videomae_cli.labels import read_labels
from videomae_cli.results import Classification, Failure
from videomae_cli.video import Decoder, FoundVideo, SamplingSpec
from videomae_cli.writers import pick_format

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier
    from videomae_cli.report import ReportWriter

# With more files a terminal shows a line for each instead of a table.
MOST_TABLES = 2


@takes_groups
def classify(
    paths: options.Paths,
    *,
    model: ModelOptions,
    top_k: Annotated[int, options.TOP_K(help="Labels a file, best first.")] = 5,
    detail: Annotated[
        bool, typer.Option("--detail", help="Show a table for each file on the terminal, however many there are.")
    ] = False,
    format: Annotated[
        str | None,
        options.FORMAT(help="Default: as FILE's name ends, else table.", metavar="table|json|jsonl|csv|parquet"),
    ] = None,
    output: Annotated[
        str | None,
        options.OUTPUT(
            help="Write to this file instead of standard output; with --cluster also a folder of shards (DIR/, s3://...).",
            metavar="FILE|DIR/",
        ),
    ] = None,
    report: options.Report = None,
    job: JobOptions,
    files: FileOptions,
    run: RunOptions,
    labels: options.Labels = None,
    batch: BatchOptions,
) -> None:
    """Say what each video shows.

    Exit code 0 if every file was classified, 1 if one was not, 2 for wrong options.
    """
    batch.terminal.configure()
    check_cluster(batch.cluster, output)
    file = Path(output) if output is not None else None
    chosen = pick_format(format, file) if batch.cluster.kind is None else "parquet"
    spec = sampling_spec(run.sampling)
    retry = Retry(job.retry_errors, resume=job.resume)
    run.engine.check()
    inputs = find_inputs(paths, files, addresses=True)
    names = read_labels(labels) if labels else None
    request = model_request(ClassifierRequest, model, run, top_k=top_k, labels=names)
    if batch.cluster.kind is not None:
        ClusterCommand(
            name="classify",
            done_word="classified",
            request=request,
            sampling=spec,
            inputs=inputs,
            output=output,
            format=format,
            job=job,
            retry=retry,
            run=run,
            batch=batch,
            unfit={"--report": report is not None},
        ).start()
        return
    listed = len(inputs.found) > MOST_TABLES and not detail
    target = open_target(chosen, file, resume=job.resume, overwrite=job.overwrite, retry=retry, listed=listed)
    decoder = Decoder(**decoding(run, len(inputs.found)), debug=batch.terminal.debug)
    if batch.dry_run:
        with decoder:
            plan = partial(_plan, spec, request, inputs.everything, decoder)
            say_plan(inputs.found, plan, file, retried(target, retry))
        return
    page = open_report(report, file, "classify", paths, inputs.found, overwrite=job.overwrite, resume=job.resume)
    # The outputs first: one that can't be written is told before a model is loaded.
    with target.opened(), page as writer, decoder:
        _classify(request, spec, inputs, batch, target, writer, decoder)


def _classify(
    request: ClassifierRequest,
    asked: SamplingSpec,
    inputs: Inputs,
    batch: BatchOptions,
    target: Target,
    writer: ReportWriter | None,
    decoder: Decoder,
) -> None:
    """Load the model and go through the files."""
    watch = Watch()
    work = Batch(
        inputs.found,
        target,
        "classified",
        inputs.part,
        batch.terminal.progress,
        batch.ok_on_errors,
        watch=watch,
        report=writer,
    )
    if inputs.hopeless:
        # Nothing to classify, so nobody waits for a model; the records are written all the same.
        name = request.name
        work.run(settings_for("classify", {"model": name}), lambda left, _: _failures(left, name))
        return
    decoder.start()  # its process starts up while the model loads
    classifier, spec = _ready(asked, request, inputs.everything, decoder)
    classifier = watch.over(classifier)
    work.run(
        settings_of("classify", classifier, spec),
        lambda left, starts: classifier(
            left,
            sampling=spec,
            decoder=decoder,
            starts=starts,
            eager=not target.resumable,
            thumbnails=FRAMES if writer is not None else 0,
        ),
        engine=classifier.engine,
    )


def _plan(asked: SamplingSpec, request: ClassifierRequest, found: Sequence[FoundVideo], decoder: Decoder) -> Plan:
    classifier, spec = _ready(asked, request, found, decoder)
    return Plan(classifier.name, classifier.batch_size, lambda found: classifier(found, sampling=spec, decoder=decoder))


def _failures(found: Iterable[FoundVideo], model: str) -> Iterable[Classification]:
    return (Classification(video.path, model, error=Failure.of(video.error)) for video in found if video.error)


def _ready(
    asked: SamplingSpec, request: ClassifierRequest, found: Sequence[FoundVideo], decoder: Decoder
) -> tuple[Classifier, SamplingSpec]:
    """The model, loaded, and the sampling asked for as this model needs it."""
    classifier = load_classifier(request, calibration_on(found, asked, decoder))
    return classifier, fitted(asked, classifier)

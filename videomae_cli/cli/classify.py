"""`videomae classify`: labels for videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.assembly import ClassifierRequest, calibration_on, settings_for, settings_of
from videomae_cli.cli import console, options
from videomae_cli.cli.batch import Batch, Watch, check_progress
from videomae_cli.cli.clustered import ClusterCommand, ClusterOptions
from videomae_cli.cli.inputs import find_inputs, pick_resize, sampling_spec
from videomae_cli.cli.loading import fitted, load_classifier
from videomae_cli.cli.planning import Plan, say_plan
from videomae_cli.cli.reporting import FRAMES, open_report
from videomae_cli.cli.retrying import Retry, retried
from videomae_cli.cli.targets import open_target
from videomae_cli.engines import check_engine
from videomae_cli.jobs import Shard
from videomae_cli.labels import read_labels
from videomae_cli.results import Classification, Failure
from videomae_cli.video import Decoder, FoundVideo, SamplingSpec, auto_workers
from videomae_cli.writers import pick_format

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier


def classify(
    paths: options.Paths,
    model: options.Model = options.DEFAULT_MODEL,
    revision: options.Revision = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Labels a file, best first.")] = 5,
    format: Annotated[
        str | None,
        typer.Option(help="Default: as FILE's name ends, else table.", metavar="table|json|jsonl|csv|parquet"),
    ] = None,
    output: options.OutputOrFolder = None,
    report: options.Report = None,
    resume: options.Resume = False,
    retry_errors: options.RetryErrors = None,
    overwrite: options.Overwrite = False,
    recursive: options.Recursive = True,
    include: options.Include = None,
    exclude: options.Exclude = None,
    shard: options.ShardOf = None,
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
    labels: options.Labels = None,
    cluster: options.ClusterKind = None,
    address: options.Address = None,
    num_workers: options.NumWorkers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    shard_files: options.ShardFiles = None,
    ok_on_errors: options.OkOnErrors = False,
    dry_run: options.DryRun = False,
    progress: options.ProgressMode = "auto",
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Say what each video shows.

    Exit code 0 if every file was classified, 1 if one was not, 2 for wrong options.
    """
    console.configure(debug=debug, quiet=quiet)
    on = ClusterOptions(
        kind=cluster, address=address, num_workers=num_workers, gpus_per_worker=gpus_per_worker, shard_files=shard_files
    )
    on.check_output(output)
    file = Path(output) if output is not None else None
    chosen = pick_format(format, file) if on.kind is None else "parquet"
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
    check_progress(progress)
    retry = Retry(retry_errors, resume=resume)
    check_engine(engine, dtype, compiled)
    part = Shard.parse(shard) if shard is not None else None
    inputs = find_inputs(paths, recursive=recursive, include=include, exclude=exclude, shard=part, addresses=True)
    everything, found = inputs.everything, inputs.found
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
        top_k=top_k,
        labels=read_labels(labels) if labels else None,
    )
    if on.kind is not None:
        ClusterCommand(
            name="classify",
            done_word="classified",
            options=on,
            request=request,
            sampling=spec,
            inputs=inputs,
            output=output,
            format=format,
            resume=resume,
            overwrite=overwrite,
            retry=retry.kinds,
            timeout=timeout or None,
            memory=options.memory_bytes(decoder_memory),
            tasks=workers,
            ok_on_errors=ok_on_errors,
            dry_run=dry_run,
            progress=progress,
            debug=debug,
            unfit={"--report": report is not None},
        ).run()
        return
    target = open_target(chosen, file, resume=resume, overwrite=overwrite, retry=retry)
    decoder = Decoder(
        timeout=timeout or None,
        memory=options.memory_bytes(decoder_memory),
        workers=workers or auto_workers(len(found)),
        debug=debug,
    )
    if dry_run:
        with decoder:
            say_plan(found, lambda: _plan(spec, request, everything, decoder), file, retried(target, retry))
        return
    page = open_report(report, file, "classify", paths, found, overwrite=overwrite, resume=resume)
    # The outputs first: one that can't be written is told before a model is loaded.
    with target.opened(), page as writer, decoder:
        watch = Watch()
        batch = Batch(found, target, "classified", part, progress, ok_on_errors, watch=watch, report=writer)
        if inputs.hopeless:
            # Nothing to classify, so nobody waits for a model; the records are written all the same.
            batch.run(settings_for("classify", {"model": model}), lambda left, _: _failures(left, model))
            return
        decoder.start()  # its process starts up while the model loads
        classifier, spec = _ready(spec, request, everything, decoder)
        classifier = watch.over(classifier)
        batch.run(
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

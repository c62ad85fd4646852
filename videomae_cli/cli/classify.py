"""`videomae classify`: labels for videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import console, options
from videomae_cli.cli.batch import Batch, check_found, check_progress, settings_for
from videomae_cli.cli.loading import ClassifierRequest, calibration_on, load_classifier, with_hints
from videomae_cli.cli.planning import Plan, say_plan
from videomae_cli.cli.reporting import FRAMES, open_report
from videomae_cli.cli.targets import open_target
from videomae_cli.engines import check_engine
from videomae_cli.jobs import Settings, Shard
from videomae_cli.results import Classification, Failure
from videomae_cli.video import Decoder, Filter, FoundVideo, SamplingSpec, auto_workers, find_videos, parse_time
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
    output: options.Output = None,
    report: options.Report = None,
    resume: options.Resume = False,
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
    resize: options.Resize = "antialias",
    timeout: options.Timeout = 120.0,
    device: options.Device = "auto",
    engine: options.Engine = "torch",
    dtype: options.Dtype = "auto",
    compiled: options.Compile = False,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    heads: options.Heads = None,
    labels: options.Labels = None,
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
    chosen = pick_format(format, output)
    spec = SamplingSpec(
        family=sampling,
        stride=stride,
        clips=clips,
        crops=crops,
        protocol=protocol,
        fps=fps,
        start=parse_time(start) if start is not None else None,
        end=parse_time(end) if end is not None else None,
    )
    check_progress(progress)
    check_engine(engine, dtype, compiled)
    part = Shard.parse(shard) if shard is not None else None
    target = open_target(chosen, output, resume=resume, overwrite=overwrite)
    only = Filter(tuple(include or ()), tuple(exclude or ()))
    found: Sequence[FoundVideo] = find_videos(paths, recursive=recursive, only=only, addresses=True)
    check_found(found, shard=part)
    everything, found = found, part.of(found) if part else found
    request = ClassifierRequest(
        name=model,
        revision=revision,
        device=device,
        engine=engine,
        dtype=dtype,
        compiled=compiled,
        resize=resize,
        batch_size=batch_size,
        heads=heads,
        top_k=top_k,
        labels=labels,
    )
    decoder = Decoder(timeout=timeout or None, workers=workers or auto_workers(len(found)), debug=debug)
    if dry_run:
        with decoder:
            say_plan(found, lambda: _plan(spec, request, everything, decoder), output)
        return
    page = open_report(report, output, "classify", paths, found, overwrite=overwrite, resume=resume)
    # The outputs first: one that can't be written is told before a model is loaded.
    with target, page as writer, decoder:
        batch = Batch(found, target, "classified", part, progress, ok_on_errors, report=writer)
        if part is None and all(video.error for video in found):
            # Nothing to classify, so nobody waits for a model; the records are written all the same.
            batch.run(settings_for("classify", {"model": model}), lambda left, _: _failures(left, model))
            return
        decoder.start()  # its process starts up while the model loads
        classifier, spec = _ready(spec, request, everything, decoder)
        batch.run(
            _settings(classifier, spec),
            lambda left, views: classifier(
                left,
                sampling=spec,
                decoder=decoder,
                offset=views,
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


def _settings(classifier: Classifier, spec: SamplingSpec) -> Settings:
    values = {
        "model": classifier.name,
        "revision": classifier.revision,
        **classifier.settings,
        "preprocessing": asdict(classifier.preprocessor.config),
        "sampling": asdict(spec),
    }
    return settings_for("classify", values)


def _ready(
    asked: SamplingSpec, request: ClassifierRequest, found: Sequence[FoundVideo], decoder: Decoder
) -> tuple[Classifier, SamplingSpec]:
    """The model, loaded, and the sampling asked for as this model needs it."""
    classifier, hints = load_classifier(request, calibration_on(found, asked, decoder))
    return classifier, with_hints(asked, hints)

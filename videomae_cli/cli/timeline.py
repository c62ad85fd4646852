"""`videomae timeline`: what happens when, in films of any length and in live sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.assembly import ClassifierRequest, calibration_on, settings_for
from videomae_cli.cli import console, options
from videomae_cli.cli.batch import Batch, Watch, check_progress
from videomae_cli.cli.finding import check_search, show_found
from videomae_cli.cli.inputs import find_inputs, pick_resize
from videomae_cli.cli.loading import fitted, load_classifier
from videomae_cli.cli.reporting import FRAMES, open_report
from videomae_cli.cli.retrying import Retry
from videomae_cli.cli.timeline_targets import open_timeline_target, pick_format
from videomae_cli.engines import check_engine
from videomae_cli.errors import OptionError
from videomae_cli.jobs import Settings, Shard
from videomae_cli.labels import read_labels
from videomae_cli.results import Failure, Timeline
from videomae_cli.segments import SegmentRules
from videomae_cli.video import (
    Decoder,
    FoundVideo,
    SamplingSpec,
    WindowSpec,
    parse_length,
    parse_time,
)

if TYPE_CHECKING:
    from videomae_cli.pipeline import TimelineMaker


def timeline(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Video files, folders to search for them, patterns, @LIST for the names in a file, - for names, or "
            "one video, on standard input; or one address of a live stream (rtsp://, http://, ...). " + options.A_LIST,
            metavar="PATH",
        ),
    ] = None,
    model: options.Model = options.DEFAULT_MODEL,
    revision: options.Revision = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="How long the model looks at once. Its frames are spread evenly over it. Default: as long as a clip "
            "at the checkpoint's stride.",
            metavar="2s|500ms",
        ),
    ] = None,
    hop: Annotated[
        str | None,
        typer.Option(help="From one window to the next. Default: half a window.", metavar="1s|250ms"),
    ] = None,
    start: options.Start = None,
    end: options.End = None,
    smooth: Annotated[
        str, typer.Option(help="Average scores over so long a time before they become segments.", metavar="0s|4s")
    ] = "0s",
    min_duration: Annotated[
        str | None,
        typer.Option(
            help="No segment is shorter: it goes to its neighbours. Default: as long as a window.", metavar="2s"
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="No label where none scores this. Default: 0, or 0.5 where labels are independent."),
    ] = None,
    windows: Annotated[bool, typer.Option("--windows", help="Also all windows, each with its best labels.")] = False,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", min=1, help="Labels a window [5]; with --find, places.")
    ] = None,
    find: Annotated[
        str | None, typer.Option(help="Where this label occurs, best first, instead of all segments.", metavar="LABEL")
    ] = None,
    cut: Annotated[
        Path | None,
        typer.Option(
            help="With --find: write these places as clips (H.264, frame by frame, without sound).", metavar="DIR"
        ),
    ] = None,
    camera: Annotated[
        int | None, typer.Option(min=0, help="A camera of this machine instead of files: 0 is the first.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="Default: as the output's name ends, else table.", metavar="table|json|jsonl|csv|srt|vtt|elan|png"
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to this file; srt, vtt, elan and png of several videos: into this folder (DIR/).",
            metavar="FILE|DIR/",
        ),
    ] = None,
    report: options.Report = None,
    resume: options.Resume = False,
    retry_errors: options.RetryErrors = None,
    overwrite: options.Overwrite = False,
    recursive: options.Recursive = True,
    include: options.Include = None,
    exclude: options.Exclude = None,
    shard: options.ShardOf = None,
    pixels: options.Pixels = None,
    resize: options.Resize = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds that the decoder may be silent; 0 for no limit. A film may take any time.")
    ] = 120.0,
    decoder_memory: options.DecoderMemory = None,
    device: options.Device = "auto",
    engine: options.Engine = "torch",
    dtype: options.Dtype = "auto",
    compiled: options.Compile = False,
    batch_size: options.BatchSize = None,
    heads: options.Heads = None,
    labels: options.Labels = None,
    ok_on_errors: options.OkOnErrors = False,
    progress: options.ProgressMode = "auto",
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Say what happens when: segments under one label, in films of any length and in live sources.

    Exit code 0 if every file was gone through, 1 if one was not, 2 for wrong options, 130 for Ctrl-C.
    """
    console.configure(debug=debug, quiet=quiet)
    spec = WindowSpec(
        window=parse_length(window, "--window") if window is not None else None,
        hop=parse_length(hop, "--hop") if hop is not None else None,
        start=parse_time(start) if start is not None else None,
        end=parse_time(end) if end is not None else None,
    )
    rules = SegmentRules(
        smooth=parse_length(smooth, "--smooth"),
        min_duration=parse_length(min_duration, "--min-duration") if min_duration is not None else None,
        threshold=threshold,
    )
    shape = SamplingSpec(pixels=pixels)  # checks itself
    check_progress(progress)
    retry = Retry(retry_errors, resume=resume)
    check_engine(engine, dtype, compiled)
    request = ClassifierRequest(
        name=model,
        revision=revision,
        device=device,
        engine=engine,
        dtype=dtype,
        compiled=compiled,
        resize=pick_resize(resize),
        batch_size=batch_size,
        heads=heads,
        top_k=top_k if top_k is not None and find is None else 5,
        labels=read_labels(labels) if labels else None,
    )
    search = check_search(find, cut, top_k=top_k, format=format, output=output, overwrite=overwrite)
    unfit = {"--windows": windows, "--resume": resume, "--report": report is not None}
    if search is not None and any(unfit.values()):
        name = next(name for name, given in unfit.items() if given)
        raise OptionError(f"{name} does not go with --find, which tells places at the end")
    if camera is not None or is_address(paths):
        refused = {
            "--find": find,
            "--output": output,
            "--start": start,
            "--end": end,
            "--shard": shard,
            "--report": report,
            "--resume": resume or None,
        }
        _live(paths, camera, request, spec, shape, rules, format, timeout, refused, debug)
        return
    if not paths:
        raise OptionError("what is there to look at? Give files, or --camera 0")
    chosen = pick_format(format, output) if search is None else "table"
    part = Shard.parse(shard) if shard is not None else None
    inputs = find_inputs(paths, recursive=recursive, include=include, exclude=exclude, shard=part)
    everything, found = inputs.everything, inputs.found
    decoder = Decoder(timeout=timeout or None, memory=options.memory_bytes(decoder_memory), debug=debug)
    watch = Watch(long_files=True)
    if search is not None:
        with decoder:
            maker = _ready(request, spec, shape, rules, everything, decoder)
            show_found(search, maker, found, decoder, watch, progress=progress, ok_on_errors=ok_on_errors)
        return
    target = open_timeline_target(chosen, output, resume=resume, overwrite=overwrite, videos=len(found), retry=retry)
    written = Path(output) if output is not None else None
    page = open_report(report, written, "timeline", paths, found, overwrite=overwrite, resume=resume)
    # The outputs first: one that can't be written is told before a model is loaded.
    with target.opened(), page as writer, decoder:
        batch = Batch(found, target, "gone through", part, progress, ok_on_errors, watch=watch, report=writer)
        if inputs.hopeless:
            # Nothing to look at, so nobody waits for a model; the records are written all the same.
            batch.run(settings_for("timeline", {"model": model}), lambda left, _: _failures(left, model))
            return
        decoder.start()  # its process starts up while the model loads
        maker = _ready(request, spec, shape, rules, everything, decoder)
        maker = replace(
            maker,
            classifier=watch.over(maker.classifier),
            keep_windows=windows,
            thumbnails=FRAMES if writer is not None else 0,
        )
        batch.run(
            timeline_settings(maker),
            lambda left, _: maker(left, decoder=decoder, moved=watch.moved),
            engine=maker.classifier.engine,
        )


def is_address(paths: Sequence[str] | None) -> bool:
    """Whether what is given is the address of a stream."""
    return bool(paths) and any("://" in path for path in paths or ())


def timeline_settings(maker: TimelineMaker) -> Settings:
    """What decides the results, for outputs to be comparable and resumed."""
    classifier = maker.classifier
    values = {
        "model": classifier.name,
        "revision": classifier.revision,
        **classifier.settings,
        "preprocessing": asdict(classifier.preprocessor.config),
        "windows": asdict(maker.windows),
        "pixels": maker.pixels,
        "segments": asdict(maker.rules),
        "all_windows": maker.keep_windows,
    }
    return settings_for("timeline", values)


def _failures(found: Sequence[FoundVideo], model: str) -> Iterable[Timeline]:
    return (Timeline(video.path, model, error=Failure.of(video.error)) for video in found if video.error)


def _ready(
    request: ClassifierRequest,
    asked: WindowSpec,
    shape: SamplingSpec,
    rules: SegmentRules,
    found: Sequence[FoundVideo],
    decoder: Decoder,
) -> TimelineMaker:
    from videomae_cli.pipeline import TimelineMaker

    sampling = shape.within(asked.start, asked.end)
    classifier = load_classifier(request, calibration_on(found, sampling, decoder))
    classifier.check_labels("timeline")
    pixels = fitted(sampling, classifier).resolved_pixels
    return TimelineMaker(classifier, classifier.fit_windows(asked), rules, pixels=pixels)


def _live(
    paths: Sequence[str] | None,
    camera: int | None,
    request: ClassifierRequest,
    spec: WindowSpec,
    shape: SamplingSpec,
    rules: SegmentRules,
    format: str | None,
    timeout: float,
    refused: Mapping[str, object],
    debug: bool,
) -> None:
    from videomae_cli.cli.live import watch_live

    given = [name for name, value in refused.items() if value is not None]
    if given:
        raise OptionError(f"{given[0]} does not go with a live source: its lines go to standard output")
    if (camera is not None and paths) or len(paths or ()) > 1:
        raise OptionError("one live source at a time: a camera or one address, and no files beside it")
    watch_live(
        camera if camera is not None else (paths or [""])[0], request, spec, shape, rules, format, timeout, debug
    )

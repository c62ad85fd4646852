"""`videomae timeline`: what happens when, in films of any length and in live sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import (
    ConsoleOptions,
    DecodingOptions,
    EngineOptions,
    FileOptions,
    JobOptions,
    ModelOptions,
    takes_groups,
)
from videomae_cli.errors import OptionError

if TYPE_CHECKING:
    from videomae_cli.assembly import ClassifierRequest
    from videomae_cli.cli.outputs.found_places import Search
    from videomae_cli.cli.run.batch import Batch
    from videomae_cli.cli.run.inputs import Inputs
    from videomae_cli.jobs import Settings
    from videomae_cli.pipeline import TimelineMaker
    from videomae_cli.results import Timeline
    from videomae_cli.segments import SegmentRules
    from videomae_cli.video import Decoder, FoundVideo, SamplingSpec, WindowSpec


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """Options for placing windows, and for turning their scores into segments."""

    window: Annotated[
        str | None,
        typer.Option(
            help="How much time one window covers; its frames are spread evenly over it. Default: as long as a clip "
            "at the checkpoint's stride.",
            metavar="2s|500ms",
        ),
    ] = None
    hop: Annotated[
        str | None,
        typer.Option(help="Time from one window to the next. Default: half a window.", metavar="1s|250ms"),
    ] = None
    start: options.Start = None
    end: options.End = None
    smooth: Annotated[
        str, typer.Option(help="Average scores over this much time before making segments.", metavar="0s|4s")
    ] = "0s"
    min_duration: Annotated[
        str | None,
        typer.Option(help="Merge shorter segments into their neighbours. Default: as long as a window.", metavar="2s"),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Leave a stretch unlabelled if no label scores this much. Default: 0, or 0.5 if labels are independent."
        ),
    ] = None
    unsure_below: Annotated[
        float | None,
        typer.Option(
            help="Mark a segment as unsure (?) if its score is lower; 0 marks none. Default: 0.45, measured with "
            "camera-motion."
        ),
    ] = None

    def windows(self) -> WindowSpec:
        """Return how windows are placed. Raises OptionError."""
        from videomae_cli.video import WindowSpec, parse_time

        return WindowSpec(
            window=_length(self.window, "--window"),
            hop=_length(self.hop, "--hop"),
            start=parse_time(self.start) if self.start is not None else None,
            end=parse_time(self.end) if self.end is not None else None,
        )

    def rules(self) -> SegmentRules:
        """Return the rules that turn scores into segments. Raises OptionError."""
        from videomae_cli.segments import UNSURE_BELOW, SegmentRules
        from videomae_cli.video import parse_length

        return SegmentRules(
            smooth=parse_length(self.smooth, "--smooth"),
            min_duration=_length(self.min_duration, "--min-duration"),
            threshold=self.threshold,
            unsure_below=UNSURE_BELOW if self.unsure_below is None else self.unsure_below,
        )


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Options for the parts of a timeline to show."""

    windows: Annotated[bool, typer.Option("--windows", help="Also list every window with its best labels.")] = False
    top_k: Annotated[int | None, options.TOP_K(help="Labels per window [5]; with --find, how many places to list.")] = (
        None
    )
    find: Annotated[
        str | None,
        typer.Option(help="List where this label occurs, best first, instead of all segments.", metavar="LABEL"),
    ] = None
    cut: Annotated[
        Path | None,
        typer.Option(
            help="With --find: write these places as clips (H.264, frame by frame, without sound).", metavar="DIR"
        ),
    ] = None

    def search(
        self, format: str | None, output: str | None, job: JobOptions, report: Path | None, *, wide: bool
    ) -> Search | None:
        """Return the requested search, or None. Raises OptionError for options that exclude it."""
        from videomae_cli.cli.outputs.found_places import check_search

        search = check_search(
            self.find, self.cut, top_k=self.top_k, format=format, output=output, wide=wide, overwrite=job.overwrite
        )
        unfit = {"--windows": self.windows, "--resume": job.resume, "--report": report is not None}
        for name, given in unfit.items():
            if search is not None and given:
                raise OptionError.about(name, "{subject} does not go with --find, which tells places at the end")
        return search


@dataclass(frozen=True)
class TimelineRequest:
    """The settings of a timeline: the model, how windows are placed and sampled, and how they become segments."""

    request: ClassifierRequest
    windows: WindowSpec
    shape: SamplingSpec
    rules: SegmentRules

    def maker(self, found: Sequence[FoundVideo], decoder: Decoder) -> TimelineMaker:
        """Load the model and return a timeline maker. found: the files of the job, for calibrating int8."""
        from videomae_cli.assembly import calibration_on
        from videomae_cli.cli.run.loading import fitted, load_classifier
        from videomae_cli.pipeline import TimelineMaker

        sampling = self.shape.within(self.windows.start, self.windows.end)
        classifier = load_classifier(self.request, calibration_on(found, sampling, decoder))
        classifier.check_labels("timeline")
        pixels = fitted(sampling, classifier).resolved_pixels
        return TimelineMaker(classifier, classifier.fit_windows(self.windows), self.rules, pixels=pixels)


@dataclass(frozen=True, kw_only=True)
class FilmDecodingOptions(DecodingOptions):
    """Limits on decoding a long video: there is no limit on the total time."""

    timeout: Annotated[
        float,
        options.TIMEOUT(
            help="Seconds to wait for the decoder's next frames; 0 for no limit. The whole film may take any time."
        ),
    ] = 120.0


@takes_groups
def timeline(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Video files, folders to search for them, patterns, @LIST for the names in a file, - for names, or "
            "one video, on standard input; or one address of a live stream (rtsp://, http://, ...). " + options.A_LIST,
            metavar="PATH",
        ),
    ] = None,
    *,
    model: ModelOptions,
    times: WindowOptions,
    show: ShowOptions,
    camera: Annotated[
        int | None, typer.Option(min=0, help="A camera of this machine instead of files: 0 is the first.")
    ] = None,
    format: Annotated[
        str | None,
        options.FORMAT(
            help="Default: as the output's name ends, else table.", metavar="table|json|jsonl|csv|srt|vtt|elan|png"
        ),
    ] = None,
    wide: options.Wide = False,
    output: Annotated[
        str | None,
        options.OUTPUT(
            help="Write to this file; for srt, vtt, elan or png of several videos, into this folder (DIR/).",
            metavar="FILE|DIR/",
        ),
    ] = None,
    report: options.Report = None,
    job: JobOptions,
    files: FileOptions,
    pixels: options.Pixels = None,
    resize: options.Resize = None,
    decoding: FilmDecodingOptions,
    engine: EngineOptions,
    heads: options.Heads = None,
    labels: options.Labels = None,
    ok_on_errors: options.OkOnErrors = False,
    terminal: ConsoleOptions,
) -> None:
    """Say what happens when: segments under one label, in films of any length and in live sources.

    Exit code 0 if every file was gone through, 1 if one was not, 2 for wrong options, 130 for Ctrl-C.
    """
    terminal.configure()
    from videomae_cli.cli.outputs.reporting import open_report
    from videomae_cli.cli.outputs.timeline_targets import open_timeline_target, pick_format
    from videomae_cli.cli.run.batch import Batch, Watch
    from videomae_cli.cli.run.inputs import find_inputs, make_decoder
    from videomae_cli.jobs.retry import Retry
    from videomae_cli.video import SamplingSpec

    windows, rules, shape = times.windows(), times.rules(), SamplingSpec(pixels=pixels)  # SamplingSpec checks the value
    retry = Retry(job.retry_errors, resume=job.resume)
    engine.check()
    asked = TimelineRequest(_classifier(model, engine, show, resize, heads, labels), windows, shape, rules)
    search = show.search(format, output, job, report, wide=wide)
    if camera is not None or is_address(paths):
        _check_live(times, show, job, output=output, shard=files.shard, report=report)
        _live(paths, camera, asked, format, decoding.timeout, terminal.debug)
        return
    if not paths:
        raise OptionError.about("videos", "nothing to look at: name video files or folders, or use --camera 0")
    chosen = pick_format(format, output) if search is None else "table"
    inputs = find_inputs(paths, files)
    decoder = make_decoder(decoding, debug=terminal.debug)
    if search is not None:
        _find(search, asked, inputs, decoder, terminal.progress, ok_on_errors=ok_on_errors)
        return
    target = open_timeline_target(
        chosen, output, wide=wide, resume=job.resume, overwrite=job.overwrite, videos=len(inputs.found), retry=retry
    )
    written = Path(output) if output is not None else None
    page = open_report(report, written, "timeline", paths, inputs.found, overwrite=job.overwrite, resume=job.resume)
    # Check outputs first, so that one that can't be written is reported before a model is loaded.
    with target.opened(), page as writer, decoder:
        watch = Watch(long_files=True)
        work = Batch(
            inputs.found, target, "gone through", inputs.part, terminal.progress, ok_on_errors, None, watch, writer
        )
        _go_through(work, asked, inputs, decoder, all_windows=show.windows)


def _classifier(
    model: ModelOptions,
    engine: EngineOptions,
    show: ShowOptions,
    resize: str | None,
    heads: int | None,
    labels: Path | None,
) -> ClassifierRequest:
    """Return the request for the classifier. Raises OptionError."""
    from videomae_cli.assembly import ClassifierRequest
    from videomae_cli.cli.run.inputs import pick_resize
    from videomae_cli.labels import read_labels

    return ClassifierRequest(
        name=model.model,
        revision=model.revision,
        **asdict(engine),
        resize=pick_resize(resize),
        heads=heads,
        top_k=show.top_k if show.top_k is not None and show.find is None else 5,
        labels=read_labels(labels) if labels else None,
    )


def _find(
    search: Search, asked: TimelineRequest, inputs: Inputs, decoder: Decoder, progress: str, *, ok_on_errors: bool
) -> None:
    """Load the model, search all files for a label, and output the places."""
    from videomae_cli.cli.run.batch import Watch
    from videomae_cli.cli.run.find_places import show_found

    watch = Watch(long_files=True)
    with decoder:
        maker = asked.maker(inputs.everything, decoder)
        show_found(search, maker, inputs.found, decoder, watch, progress=progress, ok_on_errors=ok_on_errors)


def _go_through(work: Batch, asked: TimelineRequest, inputs: Inputs, decoder: Decoder, *, all_windows: bool) -> None:
    """Load the model and process the files."""
    from videomae_cli.assembly import settings_for
    from videomae_cli.cli.outputs.reporting import FRAMES

    if inputs.hopeless:
        # No file can be opened, so don't load a model; write the failures.
        name = asked.request.name
        work.run(settings_for("timeline", {"model": name}), lambda left, _: _failures(left, name))
        return
    watch = work.watch
    assert watch is not None, "films are long"
    decoder.start()  # its process starts up while the model loads
    maker = asked.maker(inputs.everything, decoder)
    maker = replace(
        maker,
        classifier=watch.over(maker.classifier),
        keep_windows=all_windows,
        thumbnails=FRAMES if work.report is not None else 0,
    )
    work.run(
        timeline_settings(maker),
        lambda left, _: maker(left, decoder=decoder, moved=watch.moved),
        engine=maker.classifier.engine,
    )


def is_address(paths: Sequence[str] | None) -> bool:
    """Return whether the input is the address of a stream."""
    return bool(paths) and any("://" in path for path in paths or ())


def timeline_settings(maker: TimelineMaker) -> Settings:
    """Return the settings that determine the results, to compare and resume outputs."""
    from videomae_cli.assembly import settings_for

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
    from videomae_cli.results import Failure, Timeline

    return (Timeline(video.path, model, error=Failure.of(video.error)) for video in found if video.error)


def _length(asked: str | None, option: str) -> float | None:
    """Parse a length of time to seconds, None if not given. Raises OptionError."""
    from videomae_cli.video import parse_length

    return parse_length(asked, option) if asked is not None else None


def _check_live(
    times: WindowOptions,
    show: ShowOptions,
    job: JobOptions,
    *,
    output: str | None,
    shard: str | None,
    report: Path | None,
) -> None:
    """Raise OptionError for options that don't apply to a live source."""
    refused = {
        "--find": show.find,
        "--output": output,
        "--start": times.start,
        "--end": times.end,
        "--shard": shard,
        "--report": report,
        "--resume": job.resume or None,
    }
    for name, value in refused.items():
        if value is not None:
            raise OptionError.about(name, "{subject} does not go with a live source: its lines go to standard output")


def _live(
    paths: Sequence[str] | None,
    camera: int | None,
    asked: TimelineRequest,
    format: str | None,
    timeout: float,
    debug: bool,
) -> None:
    from videomae_cli.cli.run.live_timeline import watch_live

    if (camera is not None and paths) or len(paths or ()) > 1:
        raise OptionError.about("videos", "one live source at a time: a camera or one address, and no files beside it")
    source = camera if camera is not None else (paths or [""])[0]
    watch_live(source, asked.request, asked.windows, asked.shape, asked.rules, format, timeout, debug)

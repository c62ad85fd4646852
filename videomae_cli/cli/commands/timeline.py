"""`videomae timeline`: what happens when, in films of any length and in live sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import (
    ClipOptions,
    ConsoleOptions,
    DecodingOptions,
    EngineOptions,
    FileOptions,
    JobOptions,
    ModelOptions,
    RunOptions,
    takes_groups,
)
from videomae_cli.errors import OptionError

if TYPE_CHECKING:
    from videomae_cli.cli.outputs.found_places import Search
    from videomae_cli.cli.run.timeline_jobs import TimelineRequest
    from videomae_cli.segments import SegmentRules
    from videomae_cli.video import Decoder, SamplingSpec, WindowSpec


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """Options for placing windows, and for turning their scores into segments."""

    window: Annotated[
        str | None,
        options.WINDOW(
            help="How much time, or how many of the file's frames, one window covers; its frames are spread evenly over it. "
            "Default: as long as a clip at the checkpoint's stride."
        ),
    ] = None
    hop: options.Hop = None
    from_features: Annotated[
        str | None,
        typer.Option(
            help="Score the vectors that videomae embed --window wrote, instead of videos: only the last layer of the model "
            "runs, and nothing is decoded. Its encoder must have made them.",
            metavar="FEATURES",
        ),
    ] = None
    start: options.Start = None
    end: options.End = None
    fps: Annotated[
        float | None, options.FPS(help="Frame rate of folders of frames, which have none of their own. Default 30.")
    ] = None
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
        from videomae_cli.video import WindowSpec, parse_time, parse_window

        return WindowSpec(
            window=parse_window(self.window, "--window") if self.window is not None else None,
            hop=parse_window(self.hop, "--hop") if self.hop is not None else None,
            start=parse_time(self.start, "start") if self.start is not None else None,
            end=parse_time(self.end, "end") if self.end is not None else None,
        )

    def shape(self, pixels: str | None) -> SamplingSpec:
        """Return how frames are read. Raises OptionError."""
        from videomae_cli.video import SamplingSpec

        return SamplingSpec(pixels=pixels, fps=self.fps)

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

    @property
    def labels(self) -> int:
        """How many labels to show for each window."""
        return self.top_k if self.top_k is not None and self.find is None else 5

    def search(
        self, format: str | None, output: str | None, job: JobOptions, report: Path | None, *, wide: bool
    ) -> Search | None:
        """Return the requested search, or None. Raises OptionError for options that exclude it."""
        if self.find is None:
            if self.cut is not None:
                raise OptionError.about("cut", "--cut writes what --find finds: say what with --find LABEL")
            return None
        from videomae_cli.cli.outputs.found_places import Search, pick_format
        from videomae_cli.writers import widened

        for name, given in {"--windows": self.windows, "--resume": job.resume, "--report": report is not None}.items():
            if given:
                raise OptionError.about(name, "{subject} does not go with --find, which lists places at the end")
        path = Path(output) if output is not None else None
        return Search(self.find, self.top_k, self.cut, widened(pick_format(format, path), wide), path, job.overwrite)


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
    """Say what happens when in long videos and live streams, as labelled segments.

    Exit code 0 if every file was analysed, 1 if one was not, 2 for wrong options, 130 for Ctrl-C.
    """
    terminal.configure()
    from videomae_cli.api.loaded import label_names
    from videomae_cli.api.report_pages import open_report
    from videomae_cli.assembly import ClassifierRequest
    from videomae_cli.cli.outputs.timeline_targets import open_timeline_target
    from videomae_cli.cli.run.inputs import find_inputs, make_decoder, model_request
    from videomae_cli.cli.run.live_timeline import watch_live
    from videomae_cli.cli.run.timeline_jobs import TimelineRequest, find_places, make_timelines
    from videomae_cli.jobs.documents import pick_timeline_format

    windows, rules, shape = times.windows(), times.rules(), times.shape(pixels)
    _ = job.retry  # raises OptionError for what can't be retried
    engine.check()
    run = RunOptions(sampling=ClipOptions(), resize=resize, decoding=decoding, engine=engine, heads=heads)
    request = model_request(ClassifierRequest, model, run, top_k=show.labels, labels=label_names(labels))
    asked, decoder = TimelineRequest(request, windows, shape, rules), make_decoder(decoding, debug=terminal.debug)
    search = show.search(format, output, job, report, wide=wide)
    if camera is not None or is_live(paths):
        _check_live(times, show, job, files, output=output, wide=wide, report=report)
        watch_live(_live_source(paths, camera), asked, format, decoding, terminal.debug)
        return
    if (made := _features(paths, times, files, run, pixels=pixels, report=report)) is not None:
        features = _Stored(made, asked, show, terminal.progress, ok_on_errors)
        features.run(search, decoder, format, output, job, wide=wide)
        return
    paths = _named(paths)
    chosen = pick_timeline_format(format, output) if search is None else "table"
    inputs = find_inputs(paths, files, addresses=True)
    if search is not None:
        find_places(asked, search, inputs, decoder, progress=terminal.progress, ok_on_errors=ok_on_errors)
        return
    target = open_timeline_target(chosen, output, job, wide=wide, videos=len(inputs.found))
    page = open_report(report, Path(output) if output else None, "timeline", paths, inputs.found, job)
    # Check outputs first, so that one that can't be written is reported before a model is loaded.
    with target.opened(), page as writer, decoder:
        progress = terminal.progress
        make_timelines(
            asked, inputs, target, writer, decoder, windows=show.windows, progress=progress, ok_on_errors=ok_on_errors
        )


@dataclass(frozen=True)
class _Stored:
    """Timelines of films whose vectors are in `file`."""

    file: str
    asked: TimelineRequest
    show: ShowOptions
    progress: str
    ok_on_errors: bool

    def run(
        self,
        search: Search | None,
        decoder: Decoder,
        format: str | None,
        output: str | None,
        job: JobOptions,
        *,
        wide: bool,
    ) -> None:
        """Make the timelines, or search for the places of one label; `decoder` cuts these out. Raises EmbeddingsError."""
        from videomae_cli.api.stored_features import StoredFeatures
        from videomae_cli.cli.outputs.timeline_targets import open_timeline_target
        from videomae_cli.cli.run.timeline_jobs import find_places, make_from_features
        from videomae_cli.jobs.documents import pick_timeline_format

        features = StoredFeatures(self.file)
        how: dict[str, Any] = {"progress": self.progress, "ok_on_errors": self.ok_on_errors}
        if search is not None:
            find_places(self.asked, search, features, decoder, **how)
            return
        chosen = pick_timeline_format(format, output)
        target = open_timeline_target(chosen, output, job, wide=wide, videos=len(features.videos))
        make_from_features(self.asked, features, target, windows=self.show.windows, **how)


def is_live(paths: Sequence[str] | None) -> bool:
    """Return whether the input is the address of a stream, or of a recording behind http; objects in storage are files."""
    from videomae_cli.storage import is_address

    return any("://" in path and not is_address(path.removeprefix("@")) for path in paths or ())


def _named(paths: list[str] | None) -> list[str]:
    """Return what is named. Raises OptionError if that is nothing."""
    if not paths:
        raise OptionError.about("videos", "nothing to look at: name video files or folders, or use --camera 0")
    return paths


def _length(asked: str | None, option: str) -> float | None:
    """Parse a length of time to seconds, None if not given. Raises OptionError."""
    from videomae_cli.video import parse_length

    return parse_length(asked, option) if asked is not None else None


def _check_live(
    times: WindowOptions,
    show: ShowOptions,
    job: JobOptions,
    files: FileOptions,
    *,
    output: str | None,
    wide: bool,
    report: Path | None,
) -> None:
    """Raise OptionError for options that don't apply to a live source."""
    refused = {
        "--from-features": times.from_features,
        "--find": show.find,
        "--output": output,
        "--wide": wide,
        "--start": times.start,
        "--end": times.end,
        "--fps": times.fps,
        "--smooth": times.smooth != WindowOptions.smooth,
        "--min-duration": times.min_duration,
        "--include": files.include,
        "--exclude": files.exclude,
        "--shard": files.shard,
        "--report": report,
        "--resume": job.resume,
        "--overwrite": job.overwrite,
    }
    for name, value in refused.items():
        if value not in (None, False):
            raise OptionError.about(name, "{subject} does not go with a live source, which prints one line per window")


def _features(
    paths: Sequence[str] | None,
    times: WindowOptions,
    files: FileOptions,
    run: RunOptions,
    *,
    pixels: str | None,
    report: Path | None,
) -> str | None:
    """Return the file of vectors that timelines are made of, None for videos. Raises OptionError for options in which vectors
    that are there already leave no choice."""
    if times.from_features is None:
        return None
    if paths:
        raise OptionError.about(
            "videos", "--from-features takes the films whose vectors are there: leave out {path}", path=paths[0]
        )
    refused = {
        "--window": times.window,
        "--hop": times.hop,
        "--start": times.start,
        "--end": times.end,
        "--fps": times.fps,
        "--pixels": pixels,
        "--resize": run.resize,
        "--include": files.include,
        "--exclude": files.exclude,
        "--shard": files.shard,
        "--device": run.engine.device != EngineOptions.device,
        "--engine": run.engine.engine != EngineOptions.engine,
        "--dtype": run.engine.dtype != EngineOptions.dtype,
        "--compile": run.engine.compiled,
        "--batch-size": run.engine.batch_size,
        "--report": report,
    }
    for name, value in refused.items():
        if value not in (None, False):
            why = "which has no frames" if name == "--report" else "whose vectors are made already"
            raise OptionError.about(name, "{subject} does not go with --from-features, {why}", why=why)
    return times.from_features


def _live_source(paths: Sequence[str] | None, camera: int | None) -> str | int:
    """Return the one live source: a stream's address, or the number of a camera. Raises OptionError if there are more."""
    if (camera is not None and paths) or len(paths or ()) > 1:
        raise OptionError.about("videos", "one live source at a time: a camera or one address, and no files beside it")
    return camera if camera is not None else (paths or [""])[0]

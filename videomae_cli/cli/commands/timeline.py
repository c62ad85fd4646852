"""`videomae timeline`: what happens when, in films of any length and in live sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import (
    BatchOptions,
    ClipOptions,
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
    from videomae_cli.assembly import TimelineFilms
    from videomae_cli.cli.outputs.found_places import Search
    from videomae_cli.cli.run.file_jobs import FileJob
    from videomae_cli.cli.run.timeline_jobs import TimelineRequest
    from videomae_cli.segments import SegmentRules
    from videomae_cli.video import Decoder


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

    def films(self, pixels: str | None, *, keep_windows: bool) -> TimelineFilms:
        """Return how windows are placed, read and made into segments. Raises OptionError."""
        from videomae_cli.assembly import TimelineFilms
        from videomae_cli.video import SamplingSpec, WindowSpec, parse_time, parse_window

        windows = WindowSpec(
            window=parse_window(self.window, "--window") if self.window is not None else None,
            hop=parse_window(self.hop, "--hop") if self.hop is not None else None,
            start=parse_time(self.start, "start") if self.start is not None else None,
            end=parse_time(self.end, "end") if self.end is not None else None,
        )
        sampling = SamplingSpec(pixels=pixels, fps=self.fps, start=windows.start, end=windows.end)
        return TimelineFilms(windows, sampling, self._rules(), keep_windows)

    def _rules(self) -> SegmentRules:
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
        self,
        format: str | None,
        output: str | None,
        job: JobOptions,
        report: Path | None,
        batch: BatchOptions,
        *,
        wide: bool,
    ) -> Search | None:
        """Return the requested search, or None. Raises OptionError for options that exclude it."""
        if self.find is None:
            if self.cut is not None:
                raise OptionError.about("cut", "--cut writes what --find finds: say what with --find LABEL")
            return None
        from videomae_cli.cli.outputs.found_places import Search, pick_format
        from videomae_cli.writers import widened

        refused = {
            "--windows": self.windows,
            "--resume": job.resume,
            "--report": report is not None,
            "--cluster": batch.cluster.kind,
            "--dry-run": batch.dry_run,
        }
        for name, given in refused.items():
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
            help="Default: as the output's name ends, else table.",
            metavar="table|json|jsonl|csv|parquet|srt|vtt|elan|png",
        ),
    ] = None,
    wide: options.Wide = False,
    output: Annotated[
        str | None,
        options.OUTPUT(
            help="Write to this file; for srt, vtt, elan or png of several videos, into this folder (DIR/); with --cluster also a "
            "folder of shards (DIR/, s3://...).",
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
    batch: BatchOptions,
) -> None:
    """Say what happens when in long videos and live streams, as labelled segments.

    Exit code 0 if every file was analysed, 1 if one was not, 2 for wrong options, 130 for Ctrl-C.
    """
    batch.terminal.configure()
    from videomae_cli.api.loaded import label_names
    from videomae_cli.assembly import ClassifierRequest
    from videomae_cli.cli.run.cluster_command import check_cluster
    from videomae_cli.cli.run.inputs import make_decoder, model_request
    from videomae_cli.cli.run.live_timeline import watch_live
    from videomae_cli.cli.run.timeline_jobs import TimelineRequest

    check_cluster(batch.cluster, output)
    films = times.films(pixels, keep_windows=show.windows)
    _ = job.retry  # raises OptionError for what can't be retried
    engine.check()
    run = RunOptions(sampling=ClipOptions(), resize=resize, decoding=decoding, engine=engine, heads=heads)
    request = model_request(ClassifierRequest, model, run, top_k=show.labels, labels=label_names(labels))
    asked, decoder = TimelineRequest(request, films), make_decoder(decoding, debug=batch.terminal.debug)
    search = show.search(format, output, job, report, batch, wide=wide)
    if camera is not None or is_live(paths):
        _check_live(times, show, job, files, batch, output=output, wide=wide, report=report)
        watch_live(_live_source(paths, camera), asked, format, decoding, batch.terminal.debug)
        return
    made = _features(paths, times, files, run, batch, pixels=pixels, report=report)
    what = _Job(
        asked=asked,
        decoder=decoder,
        run=run,
        job=job,
        batch=batch,
        format=format,
        output=output,
        wide=wide,
        report=report,
        search=search,
    )
    if made is not None:
        what.of_features(made)
    else:
        what.of_files(_named(paths), files)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What is made of recorded films, and where it goes. search: the places of one label that are looked for, None for timelines."""

    asked: TimelineRequest
    decoder: Decoder
    run: RunOptions
    job: JobOptions
    batch: BatchOptions
    format: str | None
    output: str | None
    wide: bool
    report: Path | None
    search: Search | None

    def of_features(self, file: str) -> None:
        """Take the films whose vectors are in a file; videos are needed to cut places out. Raises EmbeddingsError."""
        from videomae_cli.api.stored_features import StoredFeatures
        from videomae_cli.cli.outputs.timeline_targets import open_timeline_target
        from videomae_cli.cli.run.timeline_jobs import find_places, make_from_features
        from videomae_cli.jobs.documents import pick_timeline_format

        features = StoredFeatures(file)
        if self.search is not None:
            find_places(self.asked, self.search, features, self.decoder, **self._how)
            return
        chosen = pick_timeline_format(self.format, self.output)
        target = open_timeline_target(chosen, self.output, self.job, wide=self.wide, videos=len(features.videos))
        make_from_features(self.asked, features, target, **self._how)

    def of_files(self, paths: Sequence[str], files: FileOptions) -> None:
        """Take video files, here or on a cluster, or say what that would do (`--dry-run`)."""
        from videomae_cli.api.report_pages import open_report
        from videomae_cli.cli.outputs.timeline_targets import open_timeline_target
        from videomae_cli.cli.run.file_jobs import FileJob
        from videomae_cli.cli.run.inputs import find_inputs
        from videomae_cli.cli.run.timeline_jobs import find_places, make_timelines
        from videomae_cli.jobs.documents import pick_timeline_format

        asked, output, clustered = self.asked, self.output, self.batch.cluster.kind is not None
        chosen = "table" if self.search or clustered else pick_timeline_format(self.format, output)
        inputs = find_inputs(paths, files, addresses=True)
        if self.search is not None:
            find_places(asked, self.search, inputs, self.decoder, **self._how)
            return
        work = FileJob(sampling=asked.films.sampling, inputs=inputs, job=self.job, run=self.run, batch=self.batch)
        if clustered:
            self._on_cluster(work)
            return
        target = open_timeline_target(chosen, output, self.job, wide=self.wide, videos=len(inputs.found))
        if self.batch.dry_run:
            work.say_film_plan(asked.request, self.decoder, target, target.output, asked.films)
            return
        page = open_report(self.report, Path(output) if output else None, "timeline", paths, inputs.found, self.job)
        # Check outputs first, so that one that can't be written is reported before a model is loaded.
        with target.opened(), page as writer, self.decoder:
            make_timelines(asked, inputs, target, writer, self.decoder, **self._how)

    def _on_cluster(self, work: FileJob) -> None:
        from videomae_cli.cli.outputs.next_steps import with_shards
        from videomae_cli.cli.run.cluster_command import run_on_cluster

        if self.report is not None:
            raise OptionError.about("report", "--report does not go with --cluster")
        run_on_cluster(
            work,
            self.asked.request,
            output=self.output,
            format=self.format,
            films=self.asked.films,
            wide=self.wide,
            then=with_shards(self.output, "timelines.jsonl"),
        )

    @property
    def _how(self) -> dict[str, Any]:
        return {"progress": self.batch.terminal.progress, "ok_on_errors": self.batch.ok_on_errors}


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
    batch: BatchOptions,
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
        "--cluster": batch.cluster.kind,
        "--dry-run": batch.dry_run,
    }
    for name, value in refused.items():
        if value not in (None, False):
            raise OptionError.about(name, "{subject} does not go with a live source, which prints one line per window")


def _features(
    paths: Sequence[str] | None,
    times: WindowOptions,
    files: FileOptions,
    run: RunOptions,
    batch: BatchOptions,
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
        "--cluster": batch.cluster.kind,
        "--dry-run": batch.dry_run,
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

"""Jobs on a Ray cluster: what `classify`, `embed` and `timeline` do with `--cluster ray`, as an object that plans the job and runs it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from videomae_cli.api.classifier import TimelineOptions, timeline_films
from videomae_cli.api.embedder import dense_films, has_windows
from videomae_cli.api.footage import SamplingOptions, each_video, find_videos, sampling_spec
from videomae_cli.api.loaded import LoadOptions, label_names, split_options
from videomae_cli.api.output_jobs import options_of
from videomae_cli.arguments import at_least, checked
from videomae_cli.assembly import (
    ClassifierRequest,
    DecoderOptions,
    DenseFilms,
    EmbedderRequest,
    TimelineFilms,
    divide,
    find_model,
    pixels_note,
)
from videomae_cli.cluster.session import check_workers
from videomae_cli.errors import OptionError, VideoNotFoundError, check_choice, say
from videomae_cli.hub import DownloadListener, ResolvedSource
from videomae_cli.jobs import Part, Shard
from videomae_cli.jobs.retry import Retry, earlier_failures
from videomae_cli.jobs.settings import Begun, vector_layout
from videomae_cli.jobs.work import FinishedJob
from videomae_cli.video import FoundVideo, SamplingSpec
from videomae_cli.video.file_list import Paths, spread
from videomae_cli.writers import VectorLayout

if TYPE_CHECKING:
    from videomae_cli.cluster import (
        Cluster,
        ClusterPlan,
        Description,
        Estimate,
        ModelSpec,
        Output,
        Requirements,
        Trial,
        Workers,
    )
    from videomae_cli.cluster.inference import PieceReport
    from videomae_cli.cluster.output import Past

    OnPiece = Callable[[PieceReport], object]

_TRIED_FILES = 8
_CALIBRATED_FILES = 64
# Rough estimates: bytes per video in an output file (its labels and frame indices), and clips per video if not given, and
# windows.
_RECORD_BYTES, _CLIPS, _WINDOWS = 4096, 4, 1000


class ClusterJobOptions(LoadOptions, SamplingOptions, total=False):
    """The optional arguments of `load_classifier` or `load_embedder`, of sampling and of windows, for `cluster_job`."""

    labels: Sequence[str] | os.PathLike[str] | None
    top_k: int
    pool: str
    layer: int | None
    normalize: bool
    per_clip: bool
    storage: str
    window: float | str | None
    hop: float | str | None
    smooth: float | str
    min_duration: float | str | None
    threshold: float | None
    unsure_below: float
    windows: bool


_POOLING = frozenset({"pool", "layer", "normalize", "per_clip", "storage"})
# The options of each command besides those of loading a model.
_OPTIONS = {
    "classify": {"labels", "top_k", *SamplingOptions.__annotations__},
    "embed": {*_POOLING, "window", "hop", *SamplingOptions.__annotations__},
    "timeline": {"labels", *TimelineOptions.__annotations__},
}


@dataclass(frozen=True)
class JobProgress:
    """A running job. files: of the whole job; kept: the folder or address that has its results until it is complete."""

    files: int
    kept: str
    _plan: ClusterPlan
    _past: Past

    @property
    def done(self) -> int:
        """The number of files done so far, including those of earlier runs."""
        return self._past.done(self._plan)


class ClusterListener(DownloadListener):
    """Receives the progress of a job on a cluster, and of the model's download before it.

    By default every method does little: override as needed.

    Methods that are context managers enclose a stage of the work. downloads: receives the progress of the download instead.
    """

    downloads: DownloadListener | None = None

    def find_model(self, name: str, revision: str | None) -> ResolvedSource:
        """Find the job's model, downloading it if necessary."""
        return find_model(name, revision, self.downloads or self)

    def note(self, text: str) -> None:
        """Receive one line, such as that the cluster has no machine free yet."""

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Enclose a wait; `what` is for example "connecting to the cluster"."""
        return nullcontext()

    @contextmanager
    def pieces(self, progress: JobProgress) -> Iterator[OnPiece]:
        """Enclose the work itself. Yields what is called with each finished piece: `stop - first` files, `failed` ones by kind,
        `notes` on them."""
        yield lambda report: None


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """What a job would do, and about how long it would take.

    files: of this job; unusable: those of them that can't be opened, by kind of error; machines, cpus, gpus: of the
    whole cluster; tasks: that decode `task_files` files each, `tasks_at_once` of them at a time; workers: models, each
    with `gpus_per_worker` GPUs or `threads` threads, that take `batch_size` clips at once; shards: output files of at
    most `shard_files` videos; trial: measurements with some files on a worker, and estimate: the whole time, both None
    if no file can be opened, and the estimate also if all tried files failed; films: whether tasks take whole films, from which
    `clips` are windows, and workers decode them; retried: failures of earlier runs that would be done again, by kind.
    """

    files: int
    unusable: Counter[str]
    machines: int
    cpus: int
    gpus: float
    tasks: int
    task_files: int
    tasks_at_once: int
    workers: int
    gpus_per_worker: float
    threads: int
    model: str
    batch_size: int
    shards: int
    shard_files: int
    trial: Trial | None
    estimate: Estimate | None
    films: bool
    retried: Counter[str]


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """A job on a cluster, as returned by `cluster_job`: `plan` tries a few files, `run` does them all.

    found: the files that this job does; part: its shard, if the list is split; sample: the files to
    calibrate int8 on; films: what is made of whole films, None for clips; bars: show Ray's own progress bars.
    """

    command: str
    request: ClassifierRequest | EmbedderRequest
    sampling: SamplingSpec
    found: Sequence[FoundVideo]
    sample: Sequence[FoundVideo]
    output: str
    films: DenseFilms | TimelineFilms | None = None
    part: Part | None = None
    format: str | None = None
    wide: bool = False
    resume: bool = False
    overwrite: bool = False
    retry: frozenset[str] = frozenset()
    address: str = "auto"
    num_workers: int | None = None
    gpus_per_worker: float | None = None
    shard_files: int | None = None
    decoding: DecoderOptions = field(default_factory=DecoderOptions)
    listener: ClusterListener = field(default_factory=ClusterListener)
    bars: bool = False
    debug: bool = False

    def __post_init__(self) -> None:
        at_least(1, shard_files=self.shard_files)
        check_workers(self.num_workers, self.gpus_per_worker)

    def plan(self) -> JobPlan:
        """Look at the cluster, try a few files on it, and return what `run` would do; writes nothing. Raises as `run` does."""
        from videomae_cli.cluster import Form

        output = self._open()
        with self._connected() as (cluster, workers):
            sample = spread(self.found, _TRIED_FILES)
            _, expected, trial = self._look(cluster, workers, self._required(output), output, sample)
        plan, tasks = self._divide(expected, workers), self.decoding.workers
        unusable = Counter(video.error.kind for video in self.found if video.error)
        usable = len(self.found) - unusable.total()
        return JobPlan(
            files=len(self.found),
            unusable=unusable,
            machines=len(cluster.nodes),
            cpus=cluster.cpus,
            gpus=cluster.gpus,
            tasks=plan.tasks,
            task_files=plan.task,
            tasks_at_once=min(workers.count if self.films else min(cluster.cpus, tasks or cluster.cpus), plan.tasks),
            workers=workers.count,
            gpus_per_worker=workers.gpus,
            threads=workers.threads,
            model=expected.settings.values["model"],
            batch_size=plan.batch,
            shards=plan.shards,
            shard_files=plan.shard,
            trial=trial,
            estimate=None if trial is None else trial.whole(usable, cluster, workers, tasks),
            films=self.films is not None,
            retried=output.failures(Form(self._layout(expected))) if self.retry else Counter(),
        )

    def run(self) -> FinishedJob:
        """Do all files, or what earlier runs left with `resume=True`, and return how many failed.

        What is done stays where the output is to be if the job ends early. Raises ClusterError, DependencyError without Ray,
        OutputError, OptionError, and what loading the model raises.
        """
        from videomae_cli.cluster import ClusterJob, Form

        output = self._open()
        with self._connected() as (cluster, workers), ExitStack() as owned:
            with self.listener.waiting("taking over the output"):
                owned.enter_context(output)
            seen = [] if output.folder.remote else [output.folder.location]
            needed = self._required(output, seen)
            spec, expected, _ = self._look(cluster, workers, needed, output)
            form, names = Form(self._layout(expected)), Paths(self.found)
            plan, past = output.begin(
                expected.settings, names, self._divide(expected, workers), shard=self._shard, form=form
            )
            if (changed := output.changes) is not None:
                reason = "{count} of the videos have changed since the job began, such as {first}: what is done stays as it is"
                self.listener.note(
                    say(reason + "; {@overwrite:True} begins anew", count=changed.count, first=changed.first)
                )
            if words := earlier_failures(sum(past.shards.values(), Counter())):
                self.listener.note(words)
            job = ClusterJob(
                found=self.found if output.names is names else self._in_order(output.names),
                model=spec,
                expected=expected,
                plan=plan,
                form=form,
                output=output,
                workers=workers,
                cluster=cluster,
                decoding=self.decoding,
                needed=needed,
                note=self.listener.note,
                part=self.part,
                bars=self.bars,
                debug=self.debug,
            )
            with self.listener.pieces(JobProgress(plan.files, output.kept, plan, past)) as on_piece:
                failed = job.run(past, on_piece)
        return FinishedJob(plan.files, failed, self.output)

    def _open(self) -> Output:
        from videomae_cli.cluster import open_output

        return open_output(
            self.output,
            vectors=isinstance(self.request, EmbedderRequest),
            timelines=isinstance(self.films, TimelineFilms),
            format=self.format,
            wide=self.wide,
            resume=self.resume,
            overwrite=self.overwrite,
            retry=self.retry,
        )

    @contextmanager
    def _connected(self) -> Iterator[tuple[Cluster, Workers]]:
        """Connect to the cluster for the block; yields it and its workers: without GPUs for a model that runs on
        another device."""
        from videomae_cli.cluster import connect

        gpus = self.gpus_per_worker
        if gpus is None and self.request.device in ("cpu", "mps"):
            gpus = 0.0
        with ExitStack() as session:
            with self.listener.waiting("starting Ray" if self.address == "local" else "connecting to the cluster"):
                cluster = session.enter_context(connect(self.address, debug=self.debug))
            yield cluster, cluster.workers(self.num_workers, gpus)

    def _look(
        self,
        cluster: Cluster,
        workers: Workers,
        needed: Requirements,
        output: Output,
        sample: Sequence[FoundVideo] = (),
    ) -> tuple[ModelSpec, Description, Trial | None]:
        """Check that every machine has what it needs, and have a worker describe the model, and try it on `sample`."""
        from videomae_cli.cluster import look_at_model, visit_nodes

        spec = self._spec(workers, needed.home, output.begun())
        needs = f"{workers.gpus:g} GPU" if workers.gpus else "a machine"
        with self.listener.waiting("looking at the machines and the model"):
            visit_nodes(cluster, needed)
            expected, trial = look_at_model(
                spec, workers, sample, lambda: self.listener.note(f"waiting for the cluster to have {needs} free")
            )
        if expected.slow:
            self.listener.note(f"on a worker: {expected.slow}")
        group = self._divide(expected, workers).group * expected.view_bytes
        if self.films is None and (words := cluster.crowded(group)):
            self.listener.note(words)
        if note := pixels_note(expected.settings.values["model"], expected.trained_on, expected.pixels):
            self.listener.note(note)
        return spec, expected, trial

    def _spec(self, workers: Workers, home: str, begun: Begun | None) -> ModelSpec:
        from videomae_cli.cluster import ModelSpec, pack

        request = self.request
        if request.is_open:  # the same on all machines: that with which the job began, else PyTorch
            engine, dtype = (begun and begun.engine) or ("torch", "auto")
            request = replace(request, engine=engine, dtype=dtype)
        if request.device == "auto":
            request = replace(request, device=workers.device)
        elif (request.device == "cuda") != (workers.gpus > 0):
            reason = "{@device:{device}} does not go with {gpus:g} GPUs a worker"
            raise OptionError.about("device", reason, device=request.device, gpus=workers.gpus)
        source = self.listener.find_model(request.name, request.revision)
        sample = spread(self.sample, _CALIBRATED_FILES) if request.dtype == "int8" else []
        return ModelSpec(
            self.command, request, pack(source), self.sampling, tuple(sample), home, workers.threads, self.films
        )

    def _required(self, output: Output, seen: Sequence[str] = ()) -> Requirements:
        """Return what each machine needs. seen: paths that it must see, besides files of the job."""
        from videomae_cli.cluster import Requirements

        names = (video.path for video in chain(self.found, self.sample) if video.error is None)
        return Requirements.of(names, str(Path.cwd()), output.folder, seen)

    def _in_order(self, names: Sequence[str]) -> Sequence[FoundVideo]:
        """Return the files in the order of the output, which an earlier run with another list may have begun."""
        if len(names) == len(self.found) and all(
            video.path == name for video, name in zip(self.found, names, strict=True)
        ):
            return self.found
        known = {video.path: video for video in self.found}
        gone = sum(name not in known for name in names)
        if gone:
            self.listener.note(f"{gone} files are no longer listed: what is known of them stays as it is")
        return [known.get(name) or FoundVideo(name) for name in names]

    def _divide(self, expected: Description, workers: Workers) -> ClusterPlan:
        from videomae_cli.cluster import make_plan

        clips = _WINDOWS if self.films is not None else self.sampling.clips or _CLIPS
        each = expected.vectors * expected.dimensions * 4 * clips if expected.dimensions else _RECORD_BYTES
        return make_plan(
            len(self.found),
            batch=expected.batch,
            view_bytes=expected.view_bytes,
            file_bytes=max(1, each),
            shard_files=self.shard_files,
            gpus=workers.gpus > 0,
            films=self.films is not None,
        )

    @property
    def _shard(self) -> str | None:
        return str(self.part) if self.part else None

    def _layout(self, expected: Description) -> VectorLayout | None:
        if not isinstance(self.request, EmbedderRequest):
            return None
        return vector_layout(expected.dimensions, self.request.storage, expected.settings, self.part)


@checked
def cluster_job(
    command: str,
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    address: str = "auto",
    num_workers: int | None = None,
    gpus_per_worker: float | None = None,
    shard_files: int | None = None,
    shard: str | None = None,
    format: str | None = None,
    wide: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    retry_errors: str | Iterable[str] | None = None,
    frame_folders: str = "auto",
    **options: Unpack[ClusterJobOptions],
) -> VideoJob:
    """Prepare a job on a Ray cluster; what `videomae classify`, `embed` and `timeline` do with `--cluster ray`.

    command: "classify", "embed" or "timeline"; videos: as `find_videos` takes them, under names that all machines know; output: for
    Parquet shards an address or a folder, either ending in / (which `Path` drops: give text, or a folder that exists),
    else a file; address: "auto" (the cluster of this machine, or RAY_ADDRESS), "local" for this machine's cores, or
    HOST:PORT; num_workers: models (one per GPU, or per machine without GPUs); gpus_per_worker: such as 0.5, 0 for CPUs;
    shard_files: videos per shard at most; shard: the part of the list to do, such as "2/8"; wide: every column of a
    CSV; retry_errors: "all", or kinds of error, with `resume`; frame_folders: as in `find_videos`; options: those of `load_classifier` or `load_embedder`,
    such as top_k=3 or pool="time", and `SamplingOptions`, for vectors of windows also window="16f", hop="4f", and for timelines
    `TimelineOptions`; workers: files decoded at once on the whole cluster;
    listener: a `ClusterListener`, or one of downloads only.

    The job's `plan()` says what it would do, and `run()` does it. Raises OptionError, and VideoNotFoundError if there is no file.
    """
    check_choice("command", command, tuple(_OPTIONS), last=" or ")
    given: dict[str, Any] = {**options}
    if strange := next(
        (name for name in given if name not in {*LoadOptions.__annotations__, *_OPTIONS[command]}), None
    ):
        raise OptionError.about(strange, "{subject} does not go with {command!r}", command=command)
    films, sampling = _asked(command, given)
    fields = {name: given[name] for name in ("top_k", *_POOLING) if name in given}
    kind: Any = EmbedderRequest
    if command != "embed":
        kind, fields["labels"] = ClassifierRequest, label_names(given.get("labels"))
    loading = options_of(LoadOptions, given)
    request, decoding, calibration, listener = split_options(kind, model, loading, **fields)
    request.check()
    if isinstance(films, DenseFilms):
        request.pooling.check_windows(getattr(films.windows, "protocol", None))
    if not isinstance(listener, ClusterListener):
        downloads, listener = listener, ClusterListener()
        listener.downloads = downloads
    chosen = Shard.parse(shard) if shard is not None else None
    found, sample, part = divide(each_video(videos, frame_folders=frame_folders), chosen)
    if not found and part is None:
        raise VideoNotFoundError.about("videos", "no files: no name refers to a video")
    return VideoJob(
        command=command,
        request=request,
        sampling=sampling,
        found=found,
        sample=sample if calibration is None else find_videos(calibration),
        output=os.fspath(output),
        films=films,
        part=part,
        format=format,
        wide=wide,
        resume=resume,
        overwrite=overwrite,
        retry=Retry(retry_errors, resume=resume).kinds,
        address=address,
        num_workers=num_workers,
        gpus_per_worker=gpus_per_worker,
        shard_files=shard_files,
        decoding=decoding,
        listener=listener,
    )


def _asked(command: str, given: Mapping[str, Any]) -> tuple[DenseFilms | TimelineFilms | None, SamplingSpec]:
    """Return what options ask for of whole films, None for clips, and how frames are chosen. Raises OptionError."""
    films: DenseFilms | TimelineFilms
    if command == "timeline":
        films = timeline_films(options_of(TimelineOptions, given))
    elif command == "embed" and has_windows(given):
        films = dense_films(given)
    else:
        return None, sampling_spec(**options_of(SamplingOptions, given))
    return films, films.sampling

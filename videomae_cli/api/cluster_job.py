"""Jobs on a Ray cluster: what `classify` and `embed` do with `--cluster ray`, as an object that plans the job and runs it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from videomae_cli.api.footage import SamplingOptions, find_videos, sampling_spec
from videomae_cli.api.loaded import DecoderOptions, LoadOptions, find_model, label_names, split_options
from videomae_cli.arguments import at_least, checked
from videomae_cli.assembly import ClassifierRequest, EmbedderRequest, pixels_note, spread
from videomae_cli.cluster.session import check_workers
from videomae_cli.errors import OptionError, VideoNotFoundError
from videomae_cli.hub import DownloadListener, ResolvedSource
from videomae_cli.jobs import Shard
from videomae_cli.jobs.retry import Retry
from videomae_cli.video import FoundVideo, SamplingSpec
from videomae_cli.writers import VectorLayout

if TYPE_CHECKING:
    from videomae_cli.cluster import Cluster, ClusterPlan, Description, Estimate, ModelSpec, Output, Trial, Workers
    from videomae_cli.cluster.inference import PieceReport
    from videomae_cli.cluster.output import Past

    OnPiece = Callable[[PieceReport], object]

_TRIED_FILES = 8
_CALIBRATED_FILES = 64
# Rough estimates: bytes per video in an output file (its labels and frame indices), and clips per video if not given.
_RECORD_BYTES, _CLIPS = 4096, 4


class ClusterJobOptions(LoadOptions, SamplingOptions, total=False):
    """The optional arguments of `load_classifier` or `load_embedder` and of sampling, for `cluster_job`."""

    labels: Sequence[str] | os.PathLike[str] | None
    top_k: int
    pool: str
    layer: int | None
    normalize: bool
    per_clip: bool
    storage: str


@dataclass(frozen=True)
class JobProgress:
    """A running job. files: of the whole job; kept: the folder or address that has its results until it is complete."""

    files: int
    kept: str
    _plan: ClusterPlan
    _past: Past

    @property
    def done(self) -> int:
        """How many files are done and kept, also by earlier runs."""
        return self._past.done(self._plan)


class ClusterListener(DownloadListener):
    """Receives the progress of a job on a cluster, and of the model's download before it.

    By default every method does little: override as needed.

    Methods that are context managers enclose a stage of the work.
    """

    def find_model(self, name: str, revision: str | None) -> ResolvedSource:
        """Find the job's model, downloading it if necessary."""
        return find_model(name, revision, self)

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


class _OfDownloads(ClusterListener):
    """Passes on what concerns the download alone."""

    def __init__(self, listener: DownloadListener | None) -> None:
        self._listener = listener

    def find_model(self, name: str, revision: str | None) -> ResolvedSource:
        return find_model(name, revision, self._listener)


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """What a job would do, and about how long it would take.

    files: of this job; unusable: those of them that can't be opened, by kind of error; machines, cpus, gpus: of the whole cluster;
    tasks: that decode `task_files` files each, `tasks_at_once` of them at a time; workers: models, each with `gpus_per_worker` GPUs
    or `threads` threads, that take `batch_size` clips at once; shards: output files of at most `shard_files` videos; trial: how some
    files went on a worker, and estimate: the whole time, both None if no file can be opened; retried: failures of earlier runs that
    would be done again, by kind.
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
    retried: Counter[str]


@dataclass(frozen=True)
class FinishedJob:
    """What a job came to: the number of its `files`, the `failed` ones by kind of error, and its `output`."""

    files: int
    failed: Counter[str]
    output: str


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """A job on a cluster, as returned by `cluster_job`: `plan` tries a few files, `run` does them all.

    everything: all files, of which this job does `found`, its `part`; sample: the files to calibrate int8 on; bars: show Ray's own
    progress bars.
    """

    command: str
    request: ClassifierRequest | EmbedderRequest
    sampling: SamplingSpec
    found: Sequence[FoundVideo]
    sample: Sequence[FoundVideo]
    output: str
    part: Shard | None = None
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
            _, expected, trial = self._look(cluster, workers, self._seen(), sample)
        plan, tasks = self._divide(expected), self.decoding.workers
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
            tasks_at_once=min(cluster.cpus, tasks or cluster.cpus, plan.tasks),
            workers=workers.count,
            gpus_per_worker=workers.gpus,
            threads=workers.threads,
            model=expected.settings.values["model"],
            batch_size=plan.batch,
            shards=plan.shards,
            shard_files=plan.shard,
            trial=trial,
            estimate=None if trial is None else trial.whole(usable, cluster, workers, tasks),
            retried=output.failures(Form(self._layout(expected))) if self.retry else Counter(),
        )

    def run(self) -> FinishedJob:
        """Do all files, or what earlier runs left with `resume=True`, and return how many failed.

        What is done stays where the output is to be if the job ends early. Raises ClusterError, DependencyError without Ray,
        OutputError, OptionError, and what loading the model raises.
        """
        from videomae_cli.cluster import ClusterJob, Form

        output = self._open()
        with self._connected() as (cluster, workers), output:
            folder = [] if output.folder.remote else [output.folder.location]
            spec, expected, _ = self._look(cluster, workers, self._seen() + folder)
            form, shard = Form(self._layout(expected)), str(self.part) if self.part else None
            names = (video.path for video in self.found)
            plan, past = output.begin(expected.settings, names, self._divide(expected), shard=shard, form=form)
            job = ClusterJob(
                found=self.found,
                model=spec,
                expected=expected,
                plan=plan,
                form=form,
                output=output,
                workers=workers,
                timeout=self.decoding.timeout,
                memory=self.decoding.memory,
                shard=self.part,
                tasks_at_once=self.decoding.workers,
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
            format=self.format,
            wide=self.wide,
            resume=self.resume,
            overwrite=self.overwrite,
            retry=self.retry,
        )

    @contextmanager
    def _connected(self) -> Iterator[tuple[Cluster, Workers]]:
        """Connect to the cluster for the block; yields it and its workers: without GPUs for a model that runs on another device."""
        from videomae_cli.cluster import connect

        gpus = self.gpus_per_worker
        if gpus is None and self.request.device in ("cpu", "mps"):
            gpus = 0.0
        with ExitStack() as session:
            with self.listener.waiting("starting Ray" if self.address == "local" else "connecting to the cluster"):
                cluster = session.enter_context(connect(self.address, debug=self.debug))
            yield cluster, cluster.workers(self.num_workers, gpus)

    def _look(
        self, cluster: Cluster, workers: Workers, seen: Sequence[str], sample: Sequence[FoundVideo] = ()
    ) -> tuple[ModelSpec, Description, Trial | None]:
        """Check that every machine sees these paths, and have a worker describe the model, and try it on `sample`."""
        from videomae_cli.cluster import look_at_model, visit_nodes

        spec = self._spec(workers)
        needs = f"{workers.gpus:g} GPU" if workers.gpus else "a machine"
        with self.listener.waiting("looking at the machines and the model"):
            visit_nodes(cluster, spec.home, seen)
            expected, trial = look_at_model(
                spec, workers, sample, lambda: self.listener.note(f"waiting for the cluster to have {needs} free")
            )
        if expected.slow:
            self.listener.note(f"on a worker: {expected.slow}")
        values = expected.settings.values
        if note := pixels_note(values["model"], expected.trained_on, values["sampling"]["pixels"]):
            self.listener.note(note)
        return spec, expected, trial

    def _spec(self, workers: Workers) -> ModelSpec:
        from videomae_cli.cluster import ModelSpec, pack

        request = self.request
        if request.device == "auto":
            request = replace(request, device=workers.device)
        elif (request.device == "cuda") != (workers.gpus > 0):
            raise OptionError.about(
                "device",
                "{@device:{device}} does not go with {gpus:g} GPUs a worker",
                device=request.device,
                gpus=workers.gpus,
            )
        source = self.listener.find_model(request.name, request.revision)
        sample = spread(self.sample, _CALIBRATED_FILES) if request.dtype == "int8" else []
        home = str(Path.cwd())
        return ModelSpec(self.command, request, pack(source), self.sampling, tuple(sample), home, workers.threads)

    def _seen(self) -> list[str]:
        """Return a file of the job that every machine must see, unless it is in object storage."""
        return [video.path for video in spread(self.found, 1) if "://" not in video.path]

    def _divide(self, expected: Description) -> ClusterPlan:
        from videomae_cli.cluster import make_plan

        clips = self.sampling.clips or _CLIPS
        each = expected.vectors * expected.dimensions * 4 * clips if expected.dimensions else _RECORD_BYTES
        return make_plan(
            len(self.found),
            batch=expected.batch,
            view_bytes=expected.view_bytes,
            file_bytes=max(1, each),
            shard_files=self.shard_files,
        )

    def _layout(self, expected: Description) -> VectorLayout | None:
        if not isinstance(self.request, EmbedderRequest):
            return None
        about = {**expected.settings.as_dict(), "fingerprint": expected.settings.fingerprint}
        shard = str(self.part) if self.part else None
        return VectorLayout(expected.dimensions, self.request.storage, about, shard)


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
    **options: Unpack[ClusterJobOptions],
) -> VideoJob:
    """Prepare a job on a Ray cluster; what `videomae classify` and `embed` do with `--cluster ray`.

    command: "classify" or "embed"; videos: as `find_videos` takes them, under names that all machines know; output: a folder or
    address that ends in / for Parquet shards, or a file; address: "auto" (the cluster of this machine, or RAY_ADDRESS), "local" for
    this machine's cores, or HOST:PORT; num_workers: models (one per GPU, or per machine without GPUs); gpus_per_worker: such as 0.5,
    0 for CPUs; shard_files: videos per shard at most; shard: the part of the list to do, such as "2/8"; wide: every column of a CSV; retry_errors: "all", or
    kinds of error, with `resume`; options: those of `load_classifier` or `load_embedder`, such as top_k=3 or pool="time", and
    `SamplingOptions`; workers: files decoded at once on the whole cluster; listener: a `ClusterListener`, or one of downloads only.

    The job's `plan()` says what it would do, and `run()` does it. Raises OptionError, and VideoNotFoundError if there is no file.
    """
    if command not in ("classify", "embed"):
        raise OptionError.about("command", "unknown {subject} {command!r}: choose classify or embed", command=command)
    request, sampling, decoding, calibration, listener = _split(command, model, dict(options))
    part = Shard.parse(shard) if shard is not None else None
    everything = find_videos(videos)
    if not everything and part is None:
        raise VideoNotFoundError.about("videos", "no files: no name refers to a video")
    return VideoJob(
        command=command,
        request=request,
        sampling=sampling,
        found=part.of(everything) if part else everything,
        sample=everything if calibration is None else find_videos(calibration),
        output=os.fspath(output),
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
        listener=listener if isinstance(listener, ClusterListener) else _OfDownloads(listener),
    )


def _split(
    command: str, model: str | os.PathLike[str], options: dict[str, Any]
) -> tuple[ClassifierRequest | EmbedderRequest, SamplingSpec, DecoderOptions, Any, DownloadListener | None]:
    """Sort `ClusterJobOptions`; the fourth is the videos for calibration, or None. Raises OptionError."""
    from videomae_cli.pipeline import Pooling

    sampling = {name: options.pop(name) for name in SamplingOptions.__annotations__.keys() & options.keys()}
    own = ClusterJobOptions.__annotations__.keys() - LoadOptions.__annotations__.keys() & options.keys()
    fields = {name: options.pop(name) for name in own}
    request: ClassifierRequest | EmbedderRequest
    if command == "classify":
        fields["labels"] = label_names(fields.get("labels"))
        request, decoding, calibration, listener = split_options(ClassifierRequest, model, options, **fields)
    else:
        embedder, decoding, calibration, listener = split_options(EmbedderRequest, model, options, **fields)
        Pooling(embedder.pool, embedder.layer, embedder.normalize, embedder.per_clip)  # validates the options
        request = embedder
    return request, sampling_spec(**sampling), decoding, calibration, listener

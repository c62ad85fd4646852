"""Runs `classify` and `embed` on a cluster (`--cluster ray`)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from videomae_cli.assembly import ClassifierRequest, EmbedderRequest, spread
from videomae_cli.cli.options.groups import BatchOptions, ClusterOptions, JobOptions, RunOptions
from videomae_cli.cli.run.batch import say_summary
from videomae_cli.cli.run.inputs import Inputs
from videomae_cli.cli.run.interrupts import terminable
from videomae_cli.cli.run.loading import say_pixels
from videomae_cli.cli.run.retrying import Retry, said_again
from videomae_cli.cli.terminal import console, streams
from videomae_cli.cli.terminal.progress import BatchProgress
from videomae_cli.cli.terminal.transfers import bring
from videomae_cli.errors import OptionError, VideoMAEError
from videomae_cli.storage import is_address
from videomae_cli.video import SamplingSpec
from videomae_cli.video.decoder import check_timeout
from videomae_cli.writers import VectorLayout

if TYPE_CHECKING:
    from videomae_cli.cluster import Cluster, ClusterPlan, Description, Estimate, ModelSpec, Output, Trial, Workers
    from videomae_cli.cluster.inference import PieceReport

KINDS = ("ray",)
_TRIED_FILES = 8
_CALIBRATED_FILES = 64
# Rough estimates: bytes per video in an output file (its labels and frame indices), and clips per video if not given.
_RECORD_BYTES, _CLIPS = 4096, 4


def check_cluster(asked: ClusterOptions, output: str | None) -> None:
    """Raise OptionError for an unknown cluster, and for cluster options without a cluster."""
    if asked.kind is not None:
        if asked.kind not in KINDS:
            raise OptionError(f"unknown cluster {asked.kind!r}: choose {' or '.join(KINDS)}")
        return
    given = {
        "--address": asked.address,
        "--num-workers": asked.num_workers,
        "--gpus-per-worker": asked.gpus_per_worker,
        "--shard-files": asked.shard_files,
    }
    for name, value in given.items():
        if value is not None:
            raise OptionError(f"{name} is of a cluster: give --cluster ray too")
    if output is not None and is_address(output):
        raise OptionError(f"one machine writes to its disk, not to {output}: give a file, or --cluster ray too")


@dataclass(frozen=True, kw_only=True)
class ClusterCommand:
    """A command as it was given. name: "classify" or "embed"; done_word: "classified"; unfit: options that don't go with a
    cluster, and whether they were given."""

    name: str
    done_word: str
    request: ClassifierRequest | EmbedderRequest
    sampling: SamplingSpec
    inputs: Inputs
    output: str | None
    format: str | None
    job: JobOptions
    retry: Retry
    run: RunOptions
    batch: BatchOptions
    wide: bool = False
    unfit: dict[str, bool] = field(default_factory=dict)

    def start(self) -> None:
        """Run the command on the cluster and report how it went. Raises typer.Exit(1) if files failed."""
        from videomae_cli.cluster import connect, open_output

        for name, given in self.unfit.items():
            if given:
                raise OptionError(f"{name} does not go with --cluster")
        check_timeout(self.run.decoding.seconds)
        memory = self.run.decoding.memory
        if self.output is None:
            raise OptionError("a cluster needs a place to write to: --output DIR/ for shards, or a file")
        vectors = isinstance(self.request, EmbedderRequest)
        output = open_output(
            self.output,
            vectors=vectors,
            format=self.format,
            wide=self.wide,
            resume=self.job.resume,
            overwrite=self.job.overwrite,
            retry=self.retry.kinds,
        )
        with self._connected(connect) as cluster:
            workers = cluster.workers(self.batch.cluster.num_workers, self._gpus)
            if self.batch.dry_run:
                spec = self._spec(workers)
                self._say_plan(output, cluster, workers, spec)
                return
            with output:
                self._work(output, cluster, workers, memory)

    @property
    def _gpus(self) -> float | None:
        """GPUs per worker as requested: none for a model that runs on another device."""
        if self.batch.cluster.gpus_per_worker is None and self.request.device in ("cpu", "mps"):
            return 0.0
        return self.batch.cluster.gpus_per_worker

    @contextmanager
    def _connected(self, connect: Callable[..., Any]) -> Iterator[Cluster]:
        from videomae_cli.cli.terminal.display import consoles, waiting

        address = self.batch.cluster.address or "auto"
        with ExitStack() as session:
            with waiting("starting Ray" if address == "local" else "connecting to the cluster", consoles()[1]):
                cluster = session.enter_context(connect(address, debug=self.batch.terminal.debug))
            yield cluster

    def _spec(self, workers: Workers) -> ModelSpec:
        from videomae_cli.cluster import ModelSpec, pack

        request = self.request
        if request.device == "auto":
            request = replace(request, device=workers.device)
        elif (request.device == "cuda") != (workers.gpus > 0):
            raise OptionError(f"--device {request.device} does not go with {workers.gpus:g} GPUs a worker")
        source = bring(request.name, request.revision)
        sample = spread(self.inputs.everything, _CALIBRATED_FILES) if request.dtype == "int8" else []
        return ModelSpec(
            self.name, request, pack(source), self.sampling, tuple(sample), str(Path.cwd()), workers.threads
        )

    def _work(self, output: Output, cluster: Cluster, workers: Workers, memory: int | None) -> None:
        from videomae_cli.cli.terminal.display import consoles, waiting
        from videomae_cli.cluster import ClusterJob, Form, look_at_model, make_plan, visit_nodes

        spec = self._spec(workers)
        with waiting("looking at the machines and the model", consoles()[1]):
            visit_nodes(cluster, spec.home, self._marks(output))
            expected, _ = look_at_model(spec, workers, waiting=lambda: _say_waiting(workers))
        _say_noted(expected)
        part, found = self.inputs.part, self.inputs.found
        shard = str(part) if part else None
        form = Form(self._layout(expected, shard))
        plan, past = output.begin(
            expected.settings, (video.path for video in found), self._plan(expected, make_plan), shard=shard, form=form
        )
        job = ClusterJob(
            found=found,
            model=spec,
            expected=expected,
            plan=plan,
            form=form,
            output=output,
            workers=workers,
            timeout=self.run.decoding.seconds,
            memory=memory,
            shard=part,
            tasks_at_once=self.run.workers,
            bars=self._bars,
            debug=self.batch.terminal.debug,
        )
        done = past.done(plan)
        if done:
            console.note(f"{done} of {plan.files} files are done already")
        listener = _ClusterListener(BatchProgress(plan.files, done=done))
        try:
            with (
                terminable(),
                listener.progress.shown("none" if self._bars else self.batch.terminal.progress, consoles()[1]),
            ):
                failed = job.run(past, listener)
        except KeyboardInterrupt as error:
            raise type(error)("interrupted" + _kept(": ", past.done(plan), plan, output)) from None
        except VideoMAEError as error:
            error.add_note(_kept("; ", past.done(plan), plan, output))
            raise
        self._summarise(plan, failed, output)

    @property
    def _bars(self) -> bool:
        """Whether Ray should draw its own progress bars.

        It decides by whether standard output is a terminal, but draws on standard error.
        """
        loud = not console.loudness.quiet and self.batch.terminal.progress == "auto"
        return loud and console.is_terminal(sys.stdout) and console.is_terminal(sys.stderr)

    def _marks(self, output: Output) -> list[str]:
        """Return what every machine must see: a file to read, and the folder to write to."""
        first = [video.path for video in spread(self.inputs.found, 1) if "://" not in video.path]
        return first + ([] if output.folder.remote else [output.folder.location])

    def _plan(self, expected: Description, make_plan: Callable[..., ClusterPlan]) -> ClusterPlan:
        clips = self.sampling.clips or _CLIPS
        each = expected.vectors * expected.dimensions * 4 * clips if expected.dimensions else _RECORD_BYTES
        return make_plan(
            len(self.inputs.found),
            batch=expected.batch,
            view_bytes=expected.view_bytes,
            file_bytes=max(1, each),
            shard_files=self.batch.cluster.shard_files,
        )

    def _layout(self, expected: Description, shard: str | None) -> VectorLayout | None:
        if not isinstance(self.request, EmbedderRequest):
            return None
        about = {**expected.settings.as_dict(), "fingerprint": expected.settings.fingerprint}
        return VectorLayout(expected.dimensions, self.request.storage, about, shard)

    def _summarise(self, plan: ClusterPlan, failed: Counter[str], output: Output) -> None:
        say_summary(plan.files, failed, self.done_word, always=console.is_terminal(sys.stderr))
        if failed.total() and not self.batch.ok_on_errors:
            raise typer.Exit(1)

    def _say_plan(self, output: Output, cluster: Cluster, workers: Workers, spec: ModelSpec) -> None:
        from videomae_cli.cluster import Form, look_at_model, make_plan, visit_nodes

        found = self.inputs.found
        bad = Counter(video.error.kind for video in found if video.error)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(bad.items()))
        lines = [("files", f"{len(found):,}" + (f" ({kinds})" if bad else ""))]
        sample = spread(found, _TRIED_FILES)
        visit_nodes(cluster, spec.home, [video.path for video in sample[:1] if "://" not in video.path])
        expected, trial = look_at_model(spec, workers, sample, lambda: _say_waiting(workers))
        _say_noted(expected)
        plan = self._plan(expected, make_plan)
        lines += _plan_lines(plan, cluster, workers, expected, self.run.workers)
        if trial is not None:
            guess = trial.whole(len(found) - bad.total(), cluster, workers, self.run.workers)
            lines += _time_lines(guess, trial, workers)
        lines.append(("output", f"{self.output}"))
        if self.retry.kinds:
            lines += said_again(output.failures(Form(self._layout(expected, None))))
        for name, text in lines:
            streams.put(f"{name:<9}{text}")


@dataclass
class _ClusterListener:
    """Shows the progress of the workers, with a line per failure and per warning, as a batch on one machine does."""

    progress: BatchProgress

    def piece(self, report: PieceReport) -> None:
        """Show what a worker reports of some files: failures, warnings and their number."""
        for line, bad in report.notes:
            (console.error if bad else console.note)(line)
        self.progress.advance_many(report.stop - report.first, views=report.views, failed=report.failed.total())


def _kept(comma: str, done: int, plan: ClusterPlan, output: Output) -> str:
    if not done:
        return ""
    return f"{comma}{done} of {plan.files} files are kept in {output.kept}; --resume goes on from them"


def _say_waiting(workers: Workers) -> None:
    needs = f"{workers.gpus:g} GPU" if workers.gpus else "a machine"
    console.note(f"waiting for the cluster to have {needs} free")


def _say_noted(expected: Description) -> None:
    """Print the notes that loading the model on this machine would print."""
    if expected.slow:
        console.note(f"on a worker: {expected.slow}")
    values = expected.settings.values
    say_pixels(values["model"], expected.trained_on, values["sampling"]["pixels"])


def _plan_lines(
    plan: ClusterPlan, cluster: Cluster, workers: Workers, expected: Description, tasks: int | None
) -> list[tuple[str, str]]:
    slots = min(cluster.cpus, tasks or cluster.cpus, plan.tasks)
    gpus = f", {cluster.gpus:g} GPUs" if cluster.gpus else ", no GPU"
    machines = console.counted(len(cluster.nodes), "machine")
    each = (
        f"{workers.gpus:g} GPU each" if workers.gpus else f"on CPUs, {console.counted(workers.threads, 'thread')} each"
    )
    shards = console.counted(plan.shards, "shard")
    return [
        ("cluster", f"{machines}, {cluster.cpus} CPUs{gpus}"),
        ("tasks", f"{plan.tasks:,} that decode {console.counted(plan.task, 'file')} each, {slots} at once"),
        ("workers", f"{workers.count} with {expected.settings.values['model']}, {each}, {plan.batch} clips at once"),
        ("shards", f"{shards} of at most {plan.shard:,} files"),
    ]


def _time_lines(guess: Estimate, trial: Trial, workers: Workers) -> list[tuple[str, str]]:
    parts = f"decoding alone {console.duration(guess.decoding)}, the model alone {console.duration(guess.model)}"
    beside = "beside each other" if workers.gpus else "on the same cores"
    lines = [
        ("clips", f"about {guess.clips:,}"),
        ("time", f"about {console.duration(guess.seconds)}: {parts}, {beside} ({trial.files} files tried)"),
    ]
    if trial.failed:
        lines.append(("failed", f"{trial.failed} of the {trial.files} files tried"))
    return lines

"""Runs `classify`, `embed` and `timeline` on a cluster (`--cluster ray`): checks the options, shows the progress, prints the plan."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import typer

from videomae_cli.api.cluster_job import ClusterListener, JobPlan, JobProgress, VideoJob
from videomae_cli.assembly import ClassifierRequest, DecoderOptions, DenseFilms, EmbedderRequest, TimelineFilms
from videomae_cli.cli.options.groups import ClusterOptions
from videomae_cli.cli.outputs.next_steps import Words
from videomae_cli.cli.run.batch import say_failures
from videomae_cli.cli.run.dry_run import said_again
from videomae_cli.cli.run.file_jobs import FileJob
from videomae_cli.cli.run.interrupts import terminable
from videomae_cli.cli.terminal import console, streams
from videomae_cli.cli.terminal.transfers import bring
from videomae_cli.errors import OptionError, VideoMAEError, check_choice
from videomae_cli.hub import ResolvedSource
from videomae_cli.storage import is_address

if TYPE_CHECKING:
    from videomae_cli.api.cluster_job import OnPiece
    from videomae_cli.cli.terminal.progress import BatchProgress
    from videomae_cli.cluster.inference import PieceReport

KINDS = ("ray",)
_DONE = {"classify": "classified", "embed": "embedded", "timeline": "analysed"}


def check_cluster(asked: ClusterOptions, output: str | None) -> None:
    """Raise OptionError for an unknown cluster, and for cluster options without a cluster."""
    if asked.kind is not None:
        check_choice("cluster", asked.kind, KINDS, last=" or ")
        return
    given = {
        "--address": asked.address,
        "--num-workers": asked.num_workers,
        "--gpus-per-worker": asked.gpus_per_worker,
        "--shard-files": asked.shard_files,
    }
    for name, value in given.items():
        if value is not None:
            raise OptionError.about(name, "{subject} is for clusters: give --cluster ray too")
    if output is not None and is_address(output):
        raise OptionError.about(
            output, "one machine writes to its disk, not to {subject}: give a file, or --cluster ray too"
        )


def run_on_cluster(
    files: FileJob,
    request: ClassifierRequest | EmbedderRequest,
    *,
    output: str | None,
    format: str | None,
    films: DenseFilms | TimelineFilms | None = None,
    wide: bool = False,
    then: Sequence[Words] = (),
) -> None:
    """Classify or embed the files on a cluster, or make their timelines, and report how it went. Raises typer.Exit(1) if files failed.

    films: what is made of whole films, None for clips; then: commands that go on from the output.
    """
    if output is None:
        raise OptionError.about("output", "a cluster needs a place to write to: --output DIR/ for shards, or a file")
    labels = "classify" if films is None else "timeline"
    command = labels if isinstance(request, ClassifierRequest) else "embed"
    asked, limits, terminal = files.batch.cluster, files.run.decoding, files.batch.terminal
    # Ray decides by standard output whether to draw its bars, and draws them on standard error.
    bars = terminal.progress == "auto" and not console.loudness.quiet
    bars = bars and console.redraws(sys.stdout) and console.redraws(sys.stderr)
    job = VideoJob(
        command=command,
        request=request,
        sampling=files.sampling,
        found=files.inputs.found,
        sample=files.inputs.sample,
        output=output,
        films=films,
        part=files.inputs.part,
        format=format,
        wide=wide,
        resume=files.job.resume,
        overwrite=files.job.overwrite,
        retry=files.job.retry.kinds,
        address=asked.address or "auto",
        num_workers=asked.num_workers,
        gpus_per_worker=asked.gpus_per_worker,
        shard_files=asked.shard_files,
        decoding=DecoderOptions(timeout=limits.seconds, memory=limits.memory, workers=files.run.workers),
        listener=_Shown("none" if bars else terminal.progress),
        bars=bars,
        debug=terminal.debug,
    )
    if files.batch.dry_run:
        for name, text in _lines(job.plan(), job):
            streams.put(f"{name:<9}{text}")
        return
    done = job.run()
    done_word = _DONE[command]
    say_failures(done.files, done.failed, done_word)
    count = console.counted(done.files, "file")
    console.wrote(job.output, "" if done.failed.total() else f"{count} {done_word}", piped=False)
    if done.failed.total() < done.files:
        console.suggest(*then)
    if done.failed.total() and not files.batch.ok_on_errors:
        raise typer.Exit(1)


@dataclass
class _Shown(ClusterListener):
    """Shows the progress of the workers, with a line per failure and per warning, as a batch on one machine does."""

    bars: str

    def find_model(self, name: str, revision: str | None) -> ResolvedSource:
        return bring(name, revision)

    def note(self, text: str) -> None:
        console.note(text)

    def waiting(self, what: str) -> AbstractContextManager[object]:
        from videomae_cli.cli.terminal.display import consoles, waiting

        return waiting(what, consoles()[1])

    @contextmanager
    def pieces(self, progress: JobProgress) -> Iterator[OnPiece]:
        from videomae_cli.cli.terminal.display import consoles
        from videomae_cli.cli.terminal.progress import BatchProgress

        done = progress.done
        if done:
            console.note(f"{done} of {progress.files} files are done already")
        drawn = BatchProgress(progress.files, done=done)
        try:
            with terminable(), drawn.shown(self.bars, consoles()[1]):
                yield partial(_show_piece, drawn)
        except KeyboardInterrupt as error:
            raise type(error)("interrupted" + _kept(": ", progress)) from None
        except VideoMAEError as error:
            error.add_note(_kept("; ", progress))
            raise


def _show_piece(drawn: BatchProgress, report: PieceReport) -> None:
    """Show what a worker reports of some files: failures, warnings and their number."""
    for line, bad in report.notes:
        (console.error if bad else console.note)(line)
    drawn.advance_many(report.stop - report.first, views=report.views, failed=report.failed.total())


def _kept(comma: str, progress: JobProgress) -> str:
    if not progress.done:
        return ""
    return (
        f"{comma}{progress.done} of {progress.files} files are kept in {progress.kept}; --resume continues from there"
    )


def _lines(plan: JobPlan, job: VideoJob) -> list[tuple[str, str]]:
    """Return the lines of `--dry-run`: names and texts."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(plan.unusable.items()))
    gpus = f", {plan.gpus:g} GPUs" if plan.gpus else ", no GPU"
    each = (
        f"{plan.gpus_per_worker:g} GPU each"
        if plan.gpus_per_worker
        else f"on CPUs, {console.counted(plan.threads, 'thread')} each"
    )
    what = "take {} each from beginning to end" if plan.films else "decode {} each"
    what = what.format(console.counted(plan.task_files, "file"))
    tasks = f"{plan.tasks:,} that {what}, {plan.tasks_at_once} at once"
    return [
        ("files", f"{plan.files:,}" + (f" ({kinds})" if kinds else "")),
        ("cluster", f"{console.counted(plan.machines, 'machine')}, {plan.cpus} CPUs{gpus}"),
        ("tasks", tasks),
        ("workers", f"{plan.workers} with {plan.model}, {each}, {plan.batch_size} clips at once"),
        ("shards", f"{console.counted(plan.shards, 'shard')} of at most {plan.shard_files:,} files"),
        *_time_lines(plan),
        ("output", job.output),
        *(said_again(plan.retried) if job.retry else []),
    ]


def _time_lines(plan: JobPlan) -> list[tuple[str, str]]:
    guess, trial = plan.estimate, plan.trial
    if trial is None:
        return []
    failed = [("failed", f"{trial.failed} of the {trial.files} files tried ({trial.reason})")] if trial.failed else []
    if guess is None:
        return failed
    if plan.films:
        how = "decoding and the model together"
    else:
        parts = f"decoding alone {console.duration(guess.decoding)}, the model alone {console.duration(guess.model)}"
        how = f"{parts}, {'beside each other' if plan.gpus_per_worker else 'on the same cores'}"
    return [
        ("windows" if plan.films else "clips", f"about {guess.clips:,}"),
        ("time", f"about {console.duration(guess.seconds)}: {how} ({console.counted(trial.files, 'file')} tried)"),
        *failed,
    ]

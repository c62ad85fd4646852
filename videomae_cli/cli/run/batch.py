"""Runs a batch: processes files with a model, writes the results, and reports progress, failures and a summary."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import typer

from videomae_cli import system
from videomae_cli.api.report_pages import tell_report
from videomae_cli.assembly import settings_for
from videomae_cli.cli.outputs.next_steps import Words, on_video, with_page
from videomae_cli.cli.run.hints import faster_here
from videomae_cli.cli.run.interrupts import looked_after, terminable
from videomae_cli.cli.terminal import console
from videomae_cli.errors import DependencyError, MachineError
from videomae_cli.jobs import JobTally, Part, Settings
from videomae_cli.jobs.retry import earlier_failures
from videomae_cli.jobs.targets import Target
from videomae_cli.jobs.work import Work
from videomae_cli.results import Failure, Result
from videomae_cli.video import FoundVideo
from videomae_cli.writers import VectorLayout

if TYPE_CHECKING:
    from videomae_cli.cli.terminal.progress import BatchProgress
    from videomae_cli.engines import Engine
    from videomae_cli.pipeline import Classifier, Embedder
    from videomae_cli.report import ReportWriter

    Model = TypeVar("Model", Classifier, Embedder)

# After a longer job, a hint says what would be faster.
LONG_SECONDS = 900.0
# A job of more files than this lists its failures again at the end, up to a maximum number.
FAR_APART, MOST_REPEATED = 20, 10
# Of one warning about many files, so many are printed one by one.
MOST_ALIKE = 3
# How often to check that the job's folder still exists.
LOOK_SECONDS = 2.0


def watched(model: Model, progress: BatchProgress) -> Model:
    """Return the model with a network that reports each batch to the progress."""
    from videomae_cli.engines import WatchedNetwork

    assert model.network is not None, "made where none was given"
    network = WatchedNetwork(model.network, begun=progress.batch_begun, ended=progress.batch_ended)
    return replace(model, network=network)


@dataclass(frozen=True)
class Batch:
    """One batch: the files of its part of the list, where results go, and how to report on it. done_word: such as "classified";
    films: whether a single file is long enough to show progress; report: the HTML report, if requested; then: commands that
    go on from the output."""

    found: Sequence[FoundVideo]
    target: Target
    done_word: str
    part: Part | None = None
    progress: str = "auto"
    ok_on_errors: bool = False
    vectors: VectorLayout | None = None
    films: bool = False
    report: ReportWriter | None = None
    then: Sequence[Words] = ()
    _failed: Counter[str] = field(default_factory=Counter)
    _failures: list[str] = field(default_factory=list)
    _done: list[str] = field(default_factory=list)
    _noted: Counter[str] = field(default_factory=Counter)
    _parts: Counter[str] = field(default_factory=Counter)

    @cached_property
    def shown(self) -> BatchProgress:
        """The progress, to which the model's batches and the position in a film are reported."""
        from videomae_cli.cli.terminal.progress import BatchProgress

        return BatchProgress(len(self.found), watched=True)

    def run(
        self,
        settings: Settings,
        results: Callable[[Sequence[FoundVideo], Sequence[int | None]], Iterable[Result]],
        *,
        engine: Engine | None = None,
    ) -> None:
        """Start or resume, write every result, and end with a summary. Raises typer.Exit(1) if files failed.

        results: turns the remaining files, and the offsets of their views in the job (`JobTally.starts`), into results;
        engine: the engine of the model, for a hint at a faster one.
        """
        work = Work(
            names=[video.path for video in self.found],
            target=self.target,
            settings=settings,
            part=self.part,
            vectors=self.vectors,
            report=self.report,
            tell=tell_report,
            failed=self._failed,
        )
        tally = work.begin()
        self._say_earlier(tally)
        total, resumed = len(self.found), bool(tally.done)
        try:
            with terminable(), looked_after(self.target.check_kept, seconds=LOOK_SECONDS):
                if tally.left(total):
                    each = work.each(lambda left, starts: results([self.found[place] for place in left], starts))
                    self._show(each, tally, faster_here(engine, settings.values.get("weights")) if engine else None)
                work.finish()
        except KeyboardInterrupt as error:
            raise type(error)("interrupted" + self._kept(total, ": ")) from None
        except (MachineError, DependencyError) as error:
            error.add_note(self._kept(total, "; "))
            raise
        self._summarise(total, resumed=resumed, reported=work.report is not None)

    def fail(self, command: str, model: str, kind: type[Result]) -> None:
        """Write the errors of all files, none of which can be opened, without loading the model; ends as `run` does."""
        self.run(
            settings_for(command, {"model": model}),
            lambda left, _: (kind(file.path, model, error=Failure.of(file.error)) for file in left if file.error),
        )

    def _say_earlier(self, tally: JobTally) -> None:
        """Say what earlier runs have done."""
        if tally.damaged:
            lines = console.counted(tally.damaged, "kept result")
            console.note(f"{lines} changed or damaged: done again from there on")
        if tally.again:
            files = console.counted(len(tally.again), "file")
            console.note(f"{files} done again, which failed or whose result was removed")
        if tally.done:
            console.note(f"{tally.done} of {len(self.found)} files are done already")
        if words := earlier_failures(tally.failed):
            console.note(words)
        if tally.gone:
            console.note(
                f"{console.counted(tally.gone, 'file')} no longer listed: what is known of them stays as it is"
            )
        if tally.unknown_settings:
            console.note("the CSV does not say with which settings they were made, so these were not compared (--wide)")

    def _show(self, results: Iterable[Result], tally: JobTally, hint: str | None) -> None:
        """Show progress while results are stored, and report failures and warnings on stderr. hint: said if it takes long."""
        from videomae_cli.cli.terminal.display import consoles

        # A table and the bar share one console, which hides the bar while it prints. Data written to the same terminal
        # without that console would end up inside the bar, so there is no bar then.
        bars, mode = self.target.console, self.progress
        if bars is None and (self.target.resumable or not console.is_terminal(sys.stdout)):
            bars = consoles()[1]
            if mode == "auto" and not self.target.resumable and system.is_pipe(sys.stdout):
                # What reads the pipe (`| cat`, `| jq`) may write to the same terminal, into the bar: lines don't mind.
                mode = "plain" if console.redraws(sys.stderr) and not console.loudness.quiet else "none"
        progress = self.shown
        progress.resume(tally.done, tally.failed.total())
        with progress.shown(mode, bars, single=self.films):
            for result in results:
                self._report(result)
                progress.advance(result.path, views=result.views, failed=result.error is not None)
                if hint and (left := progress.seconds_left or 0.0) > LONG_SECONDS:
                    console.note(f"about {console.duration(left)} to go; {hint}")
                    hint = None

    def _report(self, result: Result) -> None:
        if result.error:
            line = result.error.naming(result.path)
            console.error(line)
            if len(self._failures) < MOST_REPEATED:
                self._failures.append(line)
        elif not self._done and result.path != "-":
            self._done.append(result.path)
        for warning in result.warnings:
            self._noted[warning] += 1
            if self._noted[warning] <= MOST_ALIKE:
                console.note(f"{result.path}: {warning}")
        self._parts["windows"] += result.views if self.films else 0
        segments = getattr(result, "segments", ())
        self._parts.update("unsure" if segment.unsure else "sure" for segment in segments)

    def _summarise(self, total: int, *, resumed: bool, reported: bool) -> None:
        for warning, count in self._noted.items():
            if count > MOST_ALIKE:
                console.note(f"{console.counted(count - MOST_ALIKE, 'more file')}: {warning}")
        if console.is_terminal(sys.stderr) and total > FAR_APART:  # they have scrolled away
            for line in self._failures:
                console.error(line)
        say_failures(total, self._failed, self.done_word)
        if self.target.output is not None:
            console.wrote(self.target.output, *self._facts(total, resumed=resumed), piped=False)
        if reported and self.report is not None:
            console.wrote(self.report.output, console.counted(total, "file"), piped=False)
        if self._failed.total() < total:
            steps = on_video(self.then, next(iter(self._done), None))
            console.suggest(*steps, *(with_page(self.report.output) if self.report is not None else ()))
        if self._failed.total() and not self.ok_on_errors:
            raise typer.Exit(1)

    def _facts(self, total: int, *, resumed: bool) -> list[str]:
        """Say what the output holds: the files, if none failed, and the segments or windows, if all were made in this run."""
        windows, unsure = self._parts["windows"], self._parts["unsure"]
        counts = [console.counted(windows, "window")] if windows else []
        if segments := unsure + self._parts["sure"]:
            counts = [console.counted(segments, "segment"), f"{unsure} unsure" if unsure else ""]
        counts = [] if resumed else counts
        done = (
            []
            if self._failed.total() or (counts and total == 1)
            else [f"{console.counted(total, 'file')} {self.done_word}"]
        )
        return done + counts

    def _kept(self, total: int, before: str) -> str:
        """Say at the end of a message where an interrupted job's results are kept; empty if there are none."""
        if self.target.kept is None:
            return ""
        return (
            f"{before}{self.target.done} of {total} files are kept in {self.target.kept}; --resume continues from there"
        )


def say_failures(total: int, failed: Counter[str], done_word: str) -> None:
    """Say how many files of a batch were done and how many failed, by kind, if any did."""
    count = failed.total()
    if count and total > 1:
        # One kind needs no number of its own: "2 failed (not_a_video)".
        kinds = f" ({next(iter(failed))})" if len(failed) == 1 else f": {_by_kind(failed)}"
        console.note(f"{total - count} of {total} files {done_word}, {count} failed{kinds}")


def _by_kind(failed: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(failed.items()))

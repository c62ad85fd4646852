"""Runs a batch: processes files with a model, writes the results, and reports progress, failures and a summary."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import typer

from videomae_cli.cli.outputs.next_steps import Words, with_page
from videomae_cli.cli.outputs.reporting import tell_report
from videomae_cli.cli.outputs.targets import Target
from videomae_cli.cli.run.hints import faster_here
from videomae_cli.cli.run.interrupts import looked_after, terminable
from videomae_cli.cli.terminal import console
from videomae_cli.engines import Engine
from videomae_cli.errors import DependencyError, MachineError
from videomae_cli.jobs import JobTally, Settings, Shard
from videomae_cli.results import Result, Stamp
from videomae_cli.video import FoundVideo
from videomae_cli.writers import VectorLayout

if TYPE_CHECKING:
    from videomae_cli.cli.terminal.progress import BatchProgress
    from videomae_cli.pipeline import Classifier, Embedder
    from videomae_cli.report import ReportWriter

    Model = TypeVar("Model", Classifier, Embedder)

# After a longer job, a hint says what would be faster.
LONG_SECONDS = 900.0
# A job of more files than this lists its failures again at the end, up to a maximum number.
FAR_APART, MOST_REPEATED = 20, 10
# How often to check that the job's folder still exists.
LOOK_SECONDS = 2.0


class Watch:
    """Reports the model's batches, and the position in the current file, to the progress display.

    long_files: whether files are long enough to show progress within one.
    """

    def __init__(self, *, long_files: bool = False) -> None:
        self.long_files = long_files
        self.progress: BatchProgress | None = None

    def over(self, model: Model) -> Model:
        """Return the model with a network that reports each batch to the progress."""
        from videomae_cli.engines import WatchedNetwork

        assert model.network is not None, "made where none was given"
        return replace(model, network=WatchedNetwork(model.network, begun=self._begun, ended=self._ended))

    def _begun(self) -> None:
        if self.progress is not None:
            self.progress.batch_begun()

    def _ended(self, clips: int) -> None:
        if self.progress is not None:
            self.progress.batch_ended(clips)

    def moved(self, path: str, at: float, total: float) -> None:
        """Report the position in the current video. at, total: seconds; a total of 0 means unknown."""
        if self.progress is not None:
            self.progress.within(path, at, total)


@dataclass(frozen=True)
class Batch:
    """One batch: the files of its shard, where results go, and how to report on it. done_word: such as "classified";
    watch: reports the model's batches; report: the HTML report, if requested; then: commands that go on from the output."""

    found: Sequence[FoundVideo]
    target: Target
    done_word: str
    shard: Shard | None = None
    progress: str = "auto"
    ok_on_errors: bool = False
    vectors: VectorLayout | None = None
    watch: Watch | None = None
    report: ReportWriter | None = None
    then: Sequence[Words] = ()
    _failed: Counter[str] = field(default_factory=Counter)
    _failures: list[str] = field(default_factory=list)

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
        names = [video.path for video in self.found]
        tally = self.target.begin(settings, names, shard=str(self.shard) if self.shard else None, vectors=self.vectors)
        self._failed.update(tally.failed)
        if tally.damaged:
            lines = console.counted(tally.damaged, "kept result")
            console.note(f"{lines} changed or damaged: done again from there on")
        if tally.again:
            files = console.counted(len(tally.again), "file")
            console.note(f"{files} done again, which failed or whose result was removed")
        if tally.done:
            console.note(f"{tally.done} of {len(names)} files are done already")
        if tally.unknown_settings:
            console.note("the CSV does not say with which settings they were made, so these were not compared (--wide)")
        report = self.target.begin_report(self.report) if self.report is not None else None
        try:
            with terminable(), looked_after(self.target.check_kept, seconds=LOOK_SECONDS):
                if left := tally.left(len(names)):
                    rest = [self.found[place] for place in left]
                    self._write(results(rest, tally.starts(len(names))), left, settings, tally, engine)
                # The report first: if writing it fails, the job keeps its results for another try.
                if report is not None:
                    if tally.again:
                        self.target.retell(report)
                    report.finish()
                self.target.finish()
        except KeyboardInterrupt as error:
            raise type(error)("interrupted" + self._kept(len(names), ": ")) from None
        except (MachineError, DependencyError) as error:
            error.add_note(self._kept(len(names), "; "))
            raise
        self._summarise(len(names))

    def _write(
        self,
        results: Iterable[Result],
        places: Sequence[int],
        settings: Settings,
        tally: JobTally,
        engine: Engine | None,
    ) -> None:
        """Write all results, and report failures and warnings on stderr."""
        from videomae_cli.cli.terminal.display import consoles
        from videomae_cli.cli.terminal.progress import BatchProgress

        # A table and the bar share one console, which hides the bar while it prints. Data written to the same terminal
        # without that console would end up inside the bar, so there is no bar then.
        bars = self.target.console
        if bars is None and (self.target.resumable or not console.is_terminal(sys.stdout)):
            bars = consoles()[1]
        progress = BatchProgress(
            len(self.found), done=tally.done, failed=tally.failed.total(), watched=self.watch is not None
        )
        hint = faster_here(engine, settings.values.get("weights")) if engine is not None else None
        if self.watch is not None:
            self.watch.progress = progress
        with progress.shown(self.progress, bars, single=self.watch is not None and self.watch.long_files):
            for place, result in zip(places, results, strict=True):
                self._report(result)
                record = result.as_dict(self._stamp(place, settings))
                if self.report is not None and not tally.again:
                    # before the record is stored, or a kill could lose the filmstrip
                    tell_report(self.report, result, record)
                self.target.append(record, result.seconds)
                progress.advance(result.path, views=result.views, failed=result.error is not None)
                if hint and (left := progress.seconds_left or 0.0) > LONG_SECONDS:
                    console.note(f"about {console.duration(left)} to go; {hint}")
                    hint = None

    def _stamp(self, place: int, settings: Settings) -> Stamp:
        shard = self.shard or Shard()
        return Stamp(
            index=shard.index(place),
            fingerprint=settings.fingerprint,
            version=settings.version,
            shard=str(shard) if self.shard else None,
        )

    def _report(self, result: Result) -> None:
        if result.error:
            self._failed[result.error.kind] += 1
            line = result.error.naming(result.path)
            console.error(line)
            if len(self._failures) < MOST_REPEATED:
                self._failures.append(line)
        for warning in result.warnings:
            console.note(f"{result.path}: {warning}")

    def _summarise(self, total: int) -> None:
        on_terminal = console.is_terminal(sys.stderr)
        if on_terminal and total > FAR_APART:  # they have scrolled away
            for line in self._failures:
                console.error(line)
        say_summary(total, self._failed, self.done_word, always=False)
        if on_terminal and self.target.output is not None:
            all_done = [f"{console.counted(total, 'file')} {self.done_word}"]
            console.wrote(self.target.output, *([] if self._failed.total() else all_done))
        if self._failed.total() < total:
            console.suggest(*self.then, *(with_page(self.report.output) if self.report is not None else ()))
        if self._failed.total() and not self.ok_on_errors:
            raise typer.Exit(1)

    def _kept(self, total: int, before: str) -> str:
        """Say at the end of a message where an interrupted job's results are kept; empty if there are none."""
        if self.target.kept is None:
            return ""
        return f"{before}{self.target.done} of {total} files are kept in {self.target.kept}; --resume goes on from them"


def say_summary(total: int, failed: Counter[str], done_word: str, *, always: bool) -> None:
    """Print the last line of a batch: the number of files, and failures by kind. always: even if nothing failed."""
    count = failed.total()
    if count and total > 1:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(failed.items()))
        console.note(f"{total - count} of {total} files {done_word}, {count} failed: {kinds}")
    elif total > 1 and always:
        console.note(f"{total} files {done_word}")

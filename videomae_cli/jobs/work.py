"""Works through the files of a job on this machine, and stores each result as it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from videomae_cli.jobs.job import JobTally
from videomae_cli.jobs.settings import Settings
from videomae_cli.jobs.shards import Part
from videomae_cli.jobs.targets import Target
from videomae_cli.results import Record, Result
from videomae_cli.writers import VectorLayout

if TYPE_CHECKING:
    from videomae_cli.report import ReportWriter

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class FinishedJob:
    """What a job came to: the number of its `files`, the `failed` ones by kind of error, and its `output`, empty if none was
    written."""

    files: int
    failed: Counter[str]
    output: str


@dataclass(kw_only=True)
class Work:
    """The files of a job and the target of their records, which is open: call `begin`, take all of `each`, then `finish`.

    names: the files of this run, which are those of `part` if the job is split; vectors: the layout of the records'
    vectors, if they have any; report: a page about the files, to which `tell` adds a result and its record; failed:
    counts the failures by kind, with those of earlier runs.
    """

    names: Sequence[str]
    target: Target
    settings: Settings
    part: Part | None = None
    vectors: VectorLayout | None = None
    report: ReportWriter | None = None
    tell: Callable[[ReportWriter, Result, Record], None] | None = None
    failed: Counter[str] = field(default_factory=Counter)
    tally: JobTally = field(init=False)

    def begin(self) -> JobTally:
        """Start, or resume an earlier run, and return what that has done. Raises OutputError."""
        self.tally = self.target.begin(self.settings, self.names, part=self.part, vectors=self.vectors)
        self.failed.update(self.tally.failed)
        self.report = self.target.begin_report(self.report) if self.report is not None else None
        return self.tally

    def each(self, results: Callable[[Sequence[int], Sequence[int | None]], Iterable[R]]) -> Iterator[R]:
        """Yield the result of each remaining file, in order, once it is stored.

        results: makes them, from the files' positions in `names` and the numbers of views before them (`JobTally.starts`).
        """
        left = self.tally.left(len(self.names))
        if not left:
            return
        for place, result in zip(left, results(left, self.tally.starts(len(self.names))), strict=True):
            record = result.as_dict(self.settings.stamp(place, self.part))
            if self.report is not None and self.tell is not None and not self.tally.again:
                # before the record is stored, or a kill could lose the filmstrip
                self.tell(self.report, result, record)
            self.target.append(record, result.seconds)
            if result.error:
                self.failed[result.error.kind] += 1
            yield result

    def finish(self) -> None:
        """Complete the report and the output."""
        # The report first: if writing it fails, the job keeps its results for another try.
        if self.report is not None:
            if self.tally.again:
                self.target.retell(self.report)
            self.report.finish()
        self.target.finish()

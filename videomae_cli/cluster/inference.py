"""The actors: each holds a model, runs it on groups of decoded files, writes their records as pieces, and reports."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from videomae_cli import storage, system
from videomae_cli.cluster.attempts import Attempt, Witness, here
from videomae_cli.cluster.clip_rows import Group, Outcome, Refusal, from_table
from videomae_cli.cluster.job_log import Effort, Stopwatch
from videomae_cli.cluster.models import Description, ModelSpec, describe
from videomae_cli.cluster.output import Form, WorkPlace
from videomae_cli.errors import ModelMemoryError, OutputUnavailableError
from videomae_cli.jobs import Part
from videomae_cli.results import Result, as_utf8

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier, Embedder

# See decoding: of what runs on a machine without memory, a model is the last that Linux kills.
_KILLED_LAST = 500


@dataclass(frozen=True)
class InferenceWork:
    """What every actor receives. expected: the job's description of the model; part: of a list that was split; attempts: what is
    told which work begins and ends."""

    model: ModelSpec
    expected: Description
    batch: int
    place: WorkPlace
    form: Form
    attempts: Witness
    part: Part | None = None


@dataclass(frozen=True)
class PieceReport:
    """What an actor reports about a piece. notes: (line, whether it is an error); failed: files by kind of error; refusal: why
    there is no piece, and another machine should try; efforts: what the piece took, of decoding first."""

    first: int
    stop: int
    views: int
    failed: Counter[str] = field(default_factory=Counter)
    notes: tuple[tuple[str, bool], ...] = ()
    refusal: Refusal | None = None
    efforts: tuple[Effort, ...] = ()

    def to_json(self) -> str:
        """Encode the report as JSON; bytes of names that are not UTF-8 are replaced."""
        notes = [(as_utf8(line), bad) for line, bad in self.notes]
        refusal = self.refusal and astuple(replace(self.refusal, reason=as_utf8(self.refusal.reason)))
        return json.dumps(
            [self.first, self.stop, self.views, dict(self.failed), notes, refusal, [*map(astuple, self.efforts)]]
        )

    @classmethod
    def from_json(cls, text: str) -> PieceReport:
        """Decode a report that `to_json` encoded."""
        first, stop, views, failed, notes, refusal, efforts = json.loads(text)
        lines = tuple((line, bad) for line, bad in notes)
        refused = Refusal(*refusal) if refusal else None
        return cls(first, stop, views, Counter(failed), lines, refused, tuple(Effort(*effort) for effort in efforts))


class InferenceWorker:
    """A class for Ray Data's actor pool that turns tables of groups (`clip_rows`) into tables of reports.

    Raises what loading the model raises, or ClusterError if this machine would give different results.
    """

    def __init__(self, work: InferenceWork) -> None:
        self._work, self._model = work, ready_model(work)

    def __call__(self, batch: Any) -> Any:
        """Write a piece for each group; return a table of their reports."""
        import pyarrow as pa

        return pa.table({"report": [self._piece(group).to_json() for group in from_table(batch)]})

    def _piece(self, group: Group[Outcome]) -> PieceReport:
        if group.refusal is not None:
            return PieceReport(group.first, group.stop, 0, refusal=group.refusal)
        key = ("model", group.first)
        attempt, watch = self._work.attempts.begin(key, here()), Stopwatch()
        report = write_piece(self._work, group, _timed(self._results(group, key, attempt), watch), watch)
        self._work.attempts.end(key)
        return report

    def _results(self, group: Group[Outcome], key: Hashable, attempt: Attempt) -> Iterator[Result]:
        """Yield the results of a group; one file at a time if it has cost two processes, because a file of it may be to blame.

        Not after the first: a process may die of anything, and batches of one file change the last bits of results.
        """
        if attempt.deaths < 2:
            yield from self._model.results(group.files)
            return
        for place, (path, outcome) in enumerate(group.files, group.first):
            if count := attempt.convicted.get(place):
                outcome = convicted(path, count)
            self._work.attempts.hold(key, place)
            yield from self._model.results([(path, outcome)])
        self._work.attempts.hold(key, None)


def ready_model(work: InferenceWork) -> Classifier | Embedder:
    """Load the model in an actor. Raises what loading raises, or ClusterError if this machine would give different results."""
    system.be_first_killed(_KILLED_LAST)
    if work.place.folder.remote:
        storage.expect(work.place.folder.location)
        storage.on_wait(lambda error: work.attempts.wait(here(), str(error)))
    model, sampling = work.model.ready()
    work.expected.check(describe(work.model, model, sampling))
    # Use the plan's batch size: another one, chosen for this machine, would change the last bits of results.
    return replace(model, batch_size=work.batch)


def convicted(path: str, count: int) -> ModelMemoryError:
    """Make the error for a file that costs the process that holds the model. count: of processes."""
    reason = "the process that ran the model on {subject!r} died, {count} times one after the other"
    return ModelMemoryError.about(path, reason, count=count)


def write_piece(
    work: InferenceWork, group: Group[Any], results: Iterator[Result], model: Stopwatch | None = None
) -> PieceReport:
    """Write the results of a group's files as a piece; if that is impossible here, the report hands the files back.

    model: counts the time that the model takes as results are asked for, if it does so then.
    """
    try:
        return _written(work, group, results, model)
    except OutputUnavailableError as error:
        refusal = Refusal(here(), group.stop, f"can't write the output ({error})", lost=True)
        return PieceReport(group.first, group.stop, 0, refusal=refusal)


def _written(work: InferenceWork, group: Group[Any], results: Iterator[Result], model: Stopwatch | None) -> PieceReport:
    settings = work.expected.settings
    failed, views, notes, writing = Counter[str](), 0, list[tuple[str, bool]](), Stopwatch()
    work.place.check_seen()
    with writing.running(), work.place.folder.writing(work.place.piece_name(group.first, group.stop)) as sink:
        writer = work.form.writer("parquet", sink)
        for place, result in enumerate(results, group.first):
            writer.write(result.as_dict(settings.stamp(place, work.part)))
            views += result.views
            if result.error:
                failed[result.error.kind] += 1
                notes.append((result.error.naming(result.path), True))
            notes += [(f"{result.path}: {warning}", False) for warning in result.warnings]
        writer.finish()
        size = sink.tell()
    files, asked = group.stop - group.first, model.seconds if model is not None else 0.0
    efforts = (
        *([group.effort] if group.effort is not None else []),
        *([Effort("model", here(), asked, files, views)] if model is not None else []),
        Effort("write", here(), max(0.0, writing.seconds - asked), files, views, size),
    )
    return PieceReport(group.first, group.stop, views, failed, tuple(notes), efforts=efforts)


def _timed(results: Iterator[Result], watch: Stopwatch) -> Iterator[Result]:
    """Yield results, and count the time that it takes to make them."""
    while True:
        with watch.running():
            result = next(results, None)
        if result is None:
            return
        yield result


def reports(table: Any) -> Iterator[PieceReport]:
    """Yield the reports in a table that an actor returned."""
    for text in table.column("report").to_pylist():
        yield PieceReport.from_json(text)

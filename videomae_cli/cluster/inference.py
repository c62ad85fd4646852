"""The actors: each holds a model, runs it on groups of decoded files, writes their records as pieces, and reports."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from videomae_cli.cluster.clip_rows import Group, from_table
from videomae_cli.cluster.models import Description, ModelSpec, describe
from videomae_cli.cluster.output import Form, piece_name
from videomae_cli.jobs import Shard
from videomae_cli.results import Stamp, as_utf8
from videomae_cli.storage.folders import Folder


@dataclass(frozen=True)
class InferenceWork:
    """What every actor receives. expected: the job's description of the model; shard: if the list was split."""

    model: ModelSpec
    expected: Description
    batch: int
    folder: Folder
    form: Form
    shard: Shard | None = None


@dataclass(frozen=True)
class PieceReport:
    """What an actor reports about a piece. notes: (line, whether it is an error); failed: files by kind of error."""

    first: int
    stop: int
    views: int
    failed: Counter[str] = field(default_factory=Counter)
    notes: tuple[tuple[str, bool], ...] = ()

    def to_json(self) -> str:
        """Encode the report as JSON; bytes of names that are not UTF-8 are replaced."""
        notes = [(as_utf8(line), bad) for line, bad in self.notes]
        return json.dumps([self.first, self.stop, self.views, dict(self.failed), notes])

    @classmethod
    def from_json(cls, text: str) -> PieceReport:
        """Decode a report that `to_json` encoded."""
        first, stop, views, failed, notes = json.loads(text)
        return cls(first, stop, views, Counter(failed), tuple((line, bad) for line, bad in notes))


class InferenceWorker:
    """A class for Ray Data's actor pool that turns tables of groups (`clip_rows`) into tables of reports.

    Raises what loading the model raises, or ClusterError if this machine would give different results.
    """

    def __init__(self, work: InferenceWork) -> None:
        self._work = work
        model, sampling = work.model.ready()
        work.expected.check(describe(work.model, model, sampling))
        # Use the plan's batch size: another one, chosen for this machine, would change the last bits of results.
        self._model = replace(model, batch_size=work.batch)

    def __call__(self, batch: Any) -> Any:
        """Write a piece for each group; return a table of their reports."""
        import pyarrow as pa

        return pa.table({"report": [self._piece(group).to_json() for group in from_table(batch)]})

    def _piece(self, group: Group) -> PieceReport:
        work, settings = self._work, self._work.expected.settings
        part = work.shard or Shard()
        report = PieceReport(group.first, group.stop, 0)
        views, notes = 0, []
        with work.folder.writing(piece_name(group.first, group.stop)) as sink:
            writer = work.form.writer("parquet", sink)
            for place, result in enumerate(self._model.results(group.files), group.first):
                stamp = Stamp(
                    index=part.index(place),
                    fingerprint=settings.fingerprint,
                    version=settings.version,
                    shard=str(part) if work.shard else None,
                )
                writer.write(result.as_dict(stamp))
                views += result.views
                if result.error:
                    report.failed[result.error.kind] += 1
                    notes.append((result.error.naming(result.path), True))
                notes += [(f"{result.path}: {warning}", False) for warning in result.warnings]
            writer.finish()
        return PieceReport(group.first, group.stop, views, report.failed, tuple(notes))


def reports(table: Any) -> Iterator[PieceReport]:
    """Yield the reports in a table that an actor returned."""
    for text in table.column("report").to_pylist():
        yield PieceReport.from_json(text)

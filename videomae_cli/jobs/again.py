"""Records that are done again beside those they replace, which stay where they are until the output is whole."""

from __future__ import annotations

from pathlib import Path

from videomae_cli.errors import OutputError, Wording
from videomae_cli.jobs.journal import Journal
from videomae_cli.results import Record
from videomae_cli.writers import VectorLayout


class Replacements:
    """New records by their index in the list, on disk like the others; of several with one index the last counts.

    Only where each begins is in memory: vectors may be large.
    """

    def __init__(self, file: Path, vectors: VectorLayout | None) -> None:
        self.journal = Journal(file, vectors)
        self._begins: dict[int, tuple[int, int]] = {}

    def recover(self) -> None:
        """Find those that earlier runs kept; a torn end is cut off."""
        if not self.journal.is_there:
            return
        begin = self.journal.end
        for record in self.journal.recover(None):
            self._begins[record["index"]] = begin
            begin = self.journal.end

    def append(self, record: Record) -> None:
        """Add one. Raises OSError: a full disk, say."""
        begin = self.journal.end
        self.journal.append(record)
        self._begins[record["index"]] = begin

    def of(self, record: Record) -> Record:
        """What is in the place of a record now: another one, or itself. Raises OutputError where that is damaged."""
        begin = self._begins.get(record["index"])
        if begin is None:
            return record
        there = next(self.journal.records(begin), None)
        if there is None or there["index"] != record["index"]:
            raise OutputError(
                f"{self.journal.file} was changed or damaged", remedy=Wording("{@resume:True} does what is lost again")
            )
        return there

"""Records that replace earlier ones, such as retried failures; both are kept until the output is complete."""

from __future__ import annotations

from pathlib import Path

from videomae_cli.errors import OutputError, Wording
from videomae_cli.jobs.journal import Journal
from videomae_cli.results import Record
from videomae_cli.writers import VectorLayout


class Replacements:
    """Replacement records in a journal of their own; if several have the same index, the last one counts.

    Only their positions in the file are held in memory, since vectors may be large.
    """

    def __init__(self, file: Path, vectors: VectorLayout | None) -> None:
        self.journal = Journal(file, vectors)
        self._begins: dict[int, tuple[int, int]] = {}

    def recover(self) -> None:
        """Index the replacements that earlier runs left; a truncated last one is cut off."""
        if not self.journal.is_there:
            return
        begin = self.journal.end
        for record in self.journal.recover(None):
            self._begins[record["index"]] = begin
            begin = self.journal.end

    def append(self, record: Record) -> None:
        """Append a replacement. Raises OSError, for example on a full disk."""
        begin = self.journal.end
        self.journal.append(record)
        self._begins[record["index"]] = begin

    def of(self, record: Record) -> Record:
        """Return the replacement of a record, or the record itself if it has none. Raises OutputError if it is damaged."""
        begin = self._begins.get(record["index"])
        if begin is None:
            return record
        replacement = next(self.journal.records(begin), None)
        if replacement is None or replacement["index"] != record["index"]:
            raise OutputError.about(
                self.journal.file,
                "{subject} was changed or damaged",
                remedy=Wording("{@resume:True} does what is lost again"),
            )
        return replacement

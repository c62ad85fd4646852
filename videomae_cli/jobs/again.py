"""Records that replace earlier ones, such as retried failures; both are kept until the output is complete."""

from __future__ import annotations

from pathlib import Path

from videomae_cli.jobs.journal import Journal, damaged
from videomae_cli.results import Record, path_of
from videomae_cli.writers import VectorLayout


class Replacements:
    """Replacement records in a journal of their own; if several are of the same file, the last one counts.

    Only their positions in the file are held in memory, since vectors may be large.
    """

    def __init__(self, file: Path, vectors: VectorLayout | None) -> None:
        self.journal = Journal(file, vectors)
        self._begins: dict[str, tuple[int, int]] = {}

    def recover(self) -> None:
        """Index the replacements that earlier runs left; a truncated last one is cut off."""
        if not self.journal.is_there:
            return
        begin = self.journal.end
        for record in self.journal.recover():
            self._begins[path_of(record)] = begin
            begin = self.journal.end

    def append(self, record: Record) -> None:
        """Append a replacement. Raises OSError, for example on a full disk."""
        begin = self.journal.end
        self.journal.append(record)
        self._begins[path_of(record)] = begin

    def of(self, record: Record) -> Record:
        """Return the replacement of a record, or the record itself if it has none. Raises OutputError if it is damaged."""
        begin = self._begins.get(path_of(record)) if self._begins else None
        if begin is None:
            return record
        replacement = next(self.journal.records_at([begin]), None)
        if replacement is None or path_of(replacement) != path_of(record):
            raise damaged(self.journal.file)
        return replacement

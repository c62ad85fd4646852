"""The folder `OUTPUT.partial` of a job: who owns it, who may write to it, and what may be removed from it.

A user may have a folder of the same name. Only files that a job made are ever removed, then the folder if it is empty;
the lock is held until that is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from videomae_cli import filesystem
from videomae_cli.errors import OutputError, Wording
from videomae_cli.files import Lock, lock_output

HEADER, RECORDS, VECTORS, LOCK, REPLACED = "job.json", "records.jsonl", "vectors.bin", "lock", "replaced.json"
AGAIN, AGAIN_VECTORS, LIST = "again.jsonl", "again.bin", "list.parquet"
STARTS_AGAIN = Wording("{@overwrite:True} starts again")
# The last one is the spool of a report.
_OWN = frozenset({HEADER, RECORDS, VECTORS, AGAIN, AGAIN_VECTORS, LIST, LOCK, REPLACED, "report.jsonl"})
_TEMPORARY = re.compile(r"\..*\.part", re.DOTALL)
# Header of a cluster job (`cluster.output`), whose folder has the same name but other contents.
CLUSTER_HEADER = "_job.json"


class JobFolder:
    """A job's folder and its lock. Raises OutputError if the folder isn't a job's or another process uses it, or OSError."""

    def __init__(self, path: Path, output: Path) -> None:
        self.path, self._output = path, output
        self._lock: Lock | None = None

    def check(self) -> None:
        """Raise OutputError if the folder contains anything that no job made."""
        if not os.path.lexists(self.path):
            return
        if not filesystem.is_folder(self.path):
            raise OutputError.about(
                self.path,
                "{subject} is in the way, where results are kept until {output} is complete: move it",
                output=self._output,
            )
        entries = {entry.name: entry for entry in os.scandir(self.path)}
        if CLUSTER_HEADER in entries:
            raise OutputError.about(
                self.path, "{subject} keeps results of a run with {@cluster}: go on with that, or remove the folder"
            )
        for name, entry in sorted(entries.items()):
            if not self._is_ours(entry):
                raise self._foreign(name)
        if HEADER in entries and self._is_foreign_header():
            raise self._foreign(HEADER)
        if RECORDS in entries and HEADER not in entries and not self._begins_like_records():
            raise self._foreign(RECORDS)

    def enter(self) -> None:
        """Create the folder if it is missing, and lock it."""
        self._lock = lock_output(self.path / LOCK, self._output)

    @property
    def is_locked(self) -> bool:
        """Whether this process holds the lock."""
        return self._lock is not None

    def clear(self) -> None:
        """Remove a job's files except the lock and the list of failures to retry."""
        # The header first, so that after a kill half way the rest can't be mistaken for a job to resume.
        for entry in sorted(os.scandir(self.path), key=lambda entry: entry.name != HEADER):
            if entry.name not in (LOCK, REPLACED) and self._is_ours(entry):
                Path(entry.path).unlink()

    def leave(self, *, remove: bool) -> None:
        """Release the lock. remove: first remove the job's files, and afterwards the folder if it is empty."""
        held, self._lock = self._lock, None
        if held is None:
            return
        if remove:
            with contextlib.suppress(OSError):
                self.clear()
                (self.path / REPLACED).unlink(missing_ok=True)
        held.release(remove=remove)
        if remove:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def header(self) -> dict[str, Any] | None:
        """Read the job's header; None if it is damaged. Raises OSError if it is missing."""
        try:
            content = json.loads((self.path / HEADER).read_bytes())
            return content if isinstance(content, dict) and isinstance(content.get("settings"), dict) else None
        except (ValueError, RecursionError):
            return None

    def _is_ours(self, entry: os.DirEntry[str]) -> bool:
        known = entry.name in _OWN or _TEMPORARY.fullmatch(entry.name) is not None
        return known and entry.is_file(follow_symlinks=False)

    def _is_foreign_header(self) -> bool:
        """Return whether the header is another program's JSON; a file that is not JSON counts as a damaged header."""
        try:
            content = json.loads((self.path / HEADER).read_bytes())
        except (OSError, ValueError, RecursionError):
            return False
        return not isinstance(content, dict) or "layout_version" not in content

    def _begins_like_records(self) -> bool:
        with (self.path / RECORDS).open("rb") as stream:
            first = stream.readline()
        return not first or (first.startswith(b"{") and b'"schema_version"' in first[:100]) or not first.strip(b"\0\n")

    def _foreign(self, name: str) -> OutputError:
        return OutputError.about(
            self.path,
            "{subject} holds {name!r}, which no job made: move it away, or give another name than {output}",
            name=name,
            output=self._output,
        )

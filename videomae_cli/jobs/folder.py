"""The folder in which a job keeps what it has: whose it is, who writes in it, and what may be removed from it.

A user's own folder may have the name of one. Only files that a job makes are ever removed, then the folder if it is empty, and
the lock is held until the end of that.
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
from videomae_cli.files import FileLockedError, Lock, lock_removed

HEADER, RECORDS, VECTORS, LOCK, REPLACED = "job.json", "records.jsonl", "vectors.bin", "lock", "replaced.json"
AGAIN, AGAIN_VECTORS = "again.jsonl", "again.bin"
# The spool of a report; and hidden files that a kill left.
_OWN = frozenset({HEADER, RECORDS, VECTORS, AGAIN, AGAIN_VECTORS, LOCK, REPLACED, "report.jsonl"})
_TEMPORARY = re.compile(r"\..*\.part", re.DOTALL)
# Of a job on a cluster (`cluster.output`), which keeps other things in a folder of the same name.
CLUSTER_HEADER = "_job.json"


class JobFolder:
    """Raises OutputError where the folder isn't a job's, or another process writes in it; OSError where the disk fails."""

    def __init__(self, path: Path, output: Path) -> None:
        self.path, self._output = path, output
        self._lock: Lock | None = None

    def check(self) -> None:
        """Raise OutputError where it holds anything that no job made."""
        if not os.path.lexists(self.path):
            return
        if not filesystem.is_folder(self.path):
            raise OutputError(
                f"{self.path} is in the way, where results are kept until {self._output} is complete: move it"
            )
        entries = {entry.name: entry for entry in os.scandir(self.path)}
        if CLUSTER_HEADER in entries:
            raise OutputError(
                Wording(
                    "{path} keeps results of a run with {@cluster}: go on with that, or remove the folder",
                    path=self.path,
                )
            )
        for name, entry in sorted(entries.items()):
            ours = name in _OWN or _TEMPORARY.fullmatch(name)
            if not ours or not entry.is_file(follow_symlinks=False):
                raise self._foreign(name)
        if HEADER in entries and self._is_foreign_header():
            raise self._foreign(HEADER)
        if RECORDS in entries and HEADER not in entries and not self._begins_like_records():
            raise self._foreign(RECORDS)

    def enter(self) -> None:
        """Make it, where it isn't there, and lock it."""
        try:
            self._lock = lock_removed(self.path / LOCK)
        except FileLockedError:
            raise OutputError(f"another process is writing {self._output}: wait for it or stop it first") from None

    @property
    def is_locked(self) -> bool:
        """Whether this process holds it."""
        return self._lock is not None

    def clear(self) -> None:
        """Remove what jobs keep in it, but for the lock and the list of what is to be replaced."""
        # The header first: killed in the middle, what is left is no job that somebody could go on with.
        for entry in sorted(os.scandir(self.path), key=lambda entry: entry.name != HEADER):
            if entry.name not in (LOCK, REPLACED) and self._is_ours(entry):
                Path(entry.path).unlink()

    def leave(self, *, remove: bool) -> None:
        """Release it. remove: what jobs keep in it, and the folder where nothing else is there."""
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
        """What was written of the job, or None where that is damaged. Raises OSError where it isn't there."""
        try:
            content = json.loads((self.path / HEADER).read_bytes())
            return content if isinstance(content, dict) and isinstance(content.get("settings"), dict) else None
        except (ValueError, RecursionError):
            return None

    def _is_ours(self, entry: os.DirEntry[str]) -> bool:
        known = entry.name in _OWN or _TEMPORARY.fullmatch(entry.name) is not None
        return known and entry.is_file(follow_symlinks=False)

    def _is_foreign_header(self) -> bool:
        """Whether it is JSON of somebody else. One that is no JSON at all is taken for a damaged one of ours."""
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
        return OutputError(
            f"{self.path} holds {name!r}, which no job made: move it away, or give another name than {self._output}"
        )

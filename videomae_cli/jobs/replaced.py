"""Lists an earlier job's files in a folder until the job that replaces it is complete, and then removes them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from videomae_cli.files import whole_file
from videomae_cli.jobs.folder import REPLACED
from videomae_cli.made import is_inside, remove_inside


class Replaced:
    """A list of an earlier job's files, stored in the job's folder, so that it survives a kill. Its names come from an
    index, which isn't trusted: only regular files below `folder` whose names end in `ending` are ever removed."""

    def __init__(self, job: Path, folder: Path, ending: str) -> None:
        self._file, self._folder, self._ending = job / REPLACED, folder, ending

    def keep(self, names: Iterable[str | None]) -> None:
        """Add to the list, which may already exist if an earlier overwriting job was interrupted."""
        listed = self._read() | {os.fsencode(name).hex() for name in names if name is not None}
        if listed:
            with whole_file(self._file) as sink:
                sink.write(json.dumps(sorted(listed)).encode())

    def remove_but(self, names: set[str]) -> None:
        """Remove the listed files except `names`, and then folders that are empty."""
        for text in self._read():
            name = os.fsdecode(bytes.fromhex(text))
            if name not in names and name.endswith(self._ending) and is_inside(self._folder, name):
                remove_inside(self._folder, name)
        with contextlib.suppress(OSError):
            self._file.unlink()

    def _read(self) -> set[str]:
        try:
            listed = json.loads(self._file.read_bytes())
            return {text for text in listed if bytes.fromhex(text) is not None}
        except (OSError, ValueError, TypeError, RecursionError):
            return set()

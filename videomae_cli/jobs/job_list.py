"""The list of a job's files, and which of them have records, whatever the list was when these were made.

A record belongs to a file by its path. The list may grow, shrink and change its order between two runs of a job: files
that are new are done, and records of files that are no longer listed are kept, after all others.
"""

from __future__ import annotations

from collections.abc import Sequence

from videomae_cli.jobs.shards import Part, Shard
from videomae_cli.results import Record, path_of


class JobList:
    """The names of a job's files; `place` says where in the list the file of a record is.

    part: of a list that was split. relisted: whether a record is of another list than `part`.
    """

    def __init__(self, names: Sequence[str], part: Part | None = None) -> None:
        self.names, self.part = names, part
        self.relisted = False
        self._found = 0
        self._index: dict[str, int] | None = None
        self._has = bytearray(len(names))

    @property
    def in_order(self) -> bool:
        """Whether the records so far are those of the first files of the list, in order."""
        return self._index is None

    @property
    def listed(self) -> str:
        """The number of files and a digest of their names; for a part, those of the whole list."""
        return self.part.listed if self.part is not None else Shard().part_of(self.names).listed

    def place(self, record: Record) -> int | None:
        """Return the place of a record's file in the list, and note that it has one; None if it isn't listed."""
        path = path_of(record)
        self.relisted |= self.part is not None and record.get("list") != self.part.listed
        if self._index is None and self._is_next(path, record):
            place: int | None = self._found
        else:
            place = self.find(path)
        if place is None:
            return None
        self._has[place] = 1
        self._found += 1
        return place

    def _is_next(self, path: str, record: Record) -> bool:
        """Whether the file is the next of the list, and the record says so: one of another list may name another place."""
        if self._found >= len(self.names) or self.names[self._found] != path:
            return False
        index = self._found if self.part is None else self.part.places[self._found]
        return bool(record.get("index", index) == index)

    def find(self, path: str) -> int | None:
        """Return the place of a file in the list, None if it isn't listed."""
        if self._index is None:
            self._index = {name: place for place, name in enumerate(self.names)}
        return self._index.get(path)

    def left(self) -> list[int]:
        """Return the places of the files without a record."""
        return [place for place, has in enumerate(self._has) if not has]

    def stamped(self, record: Record, place: int) -> Record:
        """Return the record with its file's place in the list as it is now."""
        return self._stamped(record, place if self.part is None else self.part.places[place])

    def stamped_gone(self, record: Record, number: int) -> Record:
        """Return a record whose file isn't listed, with a place after the list that no other has, in no other shard either.

        number: counts these records, from 0.
        """
        if self.part is None:
            return self._stamped(record, len(self.names) + number)
        shard = self.part.shard
        return self._stamped(record, self.part.files + number * shard.count + shard.number - 1)

    def _stamped(self, record: Record, index: int) -> Record:
        return {**record, "index": index, **({"list": self.part.listed} if self.part is not None else {})}

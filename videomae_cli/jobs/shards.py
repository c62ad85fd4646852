"""Splits a list over machines that don't communicate, and merges their outputs.

A hash of a file's name chooses its shard, wherever the name stands in the list: if the list grows between two shards, no
file moves from one to the other. Each record names the list that its shard saw, by the number of its files and a digest,
so merging needs no list to find out what is missing. Records of earlier versions name no list: there, shard I of N has
every N-th file, starting with the I-th.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from videomae_cli.errors import OptionError, OutputError
from videomae_cli.results import Record, path_of
from videomae_cli.writers import is_part

T = TypeVar("T")
# The hashes of a list's names are added up in this range, so that their order doesn't matter.
_DIGESTS = 2**64


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `count`, numbered from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read a shard written as "I/N". Raises OptionError."""
        number, slash, count = text.partition("/")
        if not slash or not (number.isascii() and number.isdigit()) or not (count.isascii() and count.isdigit()):
            raise OptionError.about("shard", "a shard is I/N, such as 2/8, not {text!r}", text=text)
        shard = cls(int(number), int(count))
        if not 1 <= shard.number <= shard.count:
            raise OptionError.about("shard", "shard {text} makes no sense: I goes from 1 to N", text=text)
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def part_of(self, names: Iterable[str]) -> Part:
        """Choose this shard's part of a list of names, which are the same on all machines that have a shard of it."""
        return self.choose(names, str, lambda name: None)

    def choose(self, items: Iterable[T], name_of: Callable[[T], str], keep: Callable[[T], object]) -> Part:
        """Choose this shard's part of a list of items by their names; `keep` is called with each that is in it, in order."""
        places, files, digest = array("q"), 0, 0
        for files, item in enumerate(items, 1):
            value = hash_of(name_of(item))
            digest = (digest + value) % _DIGESTS
            if value % self.count == self.number - 1:
                places.append(files - 1)
                keep(item)
        return Part(self, places, f"{files}:{digest:016x}")


@dataclass(frozen=True)
class Part:
    """The files of a shard. places: their positions in the whole list; listed: "COUNT:DIGEST", the number of files in the
    whole list and a digest, equal for all lists of the same names in any order."""

    shard: Shard
    places: Sequence[int]
    listed: str

    def __str__(self) -> str:
        return str(self.shard)

    @property
    def files(self) -> int:
        """The number of files in the whole list."""
        return _files(self.listed)

    def of(self, items: Sequence[T]) -> list[T]:
        """Return this part of the whole list."""
        return [items[place] for place in self.places]


def hash_of(name: str) -> int:
    """Return 64 bits that depend on the name alone: on no machine, nor on how it separates folders or composes accents."""
    if os.sep != "/":
        name = name.replace(os.sep, "/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big")


@dataclass
class Joined:
    """What a merge found: counts, the numbers of missing files ("12", "40 to 55"), and missing shards.

    listed: the number of files in the list that was split, the largest if there are several; stale: for each of the other
    lists, its number of files and the shards that saw it; gone: the number of files that were no longer listed when their
    shard was done again.
    """

    outputs: int = 0
    files: int = 0
    failed: int = 0
    missing: int = 0
    gaps: list[str] = field(default_factory=list)
    missing_shards: list[str] = field(default_factory=list)
    listed: int = 0
    stale: list[tuple[int, list[str]]] = field(default_factory=list)
    gone: int = 0

    @property
    def complete(self) -> bool:
        """Whether all shards are of one list, and no file and no shard is known to be missing."""
        return not self.missing and not self.missing_shards and not self.stale

    def miss(self, first: int, stop: int, step: int = 1) -> None:
        """Note that the files at range(first, stop, step) are missing."""
        count = len(range(first, stop, step))
        if count:
            last = first + (count - 1) * step
            self.missing += count
            every = f" in steps of {step}" if step > 1 and count > 1 else ""
            self.gaps.append(f"{first + 1} to {last + 1}{every}" if count > 1 else str(first + 1))


def merge_records(sources: Iterable[tuple[Path, Callable[[], Iterator[Record]]]], joined: Joined) -> Iterator[Record]:
    """Merge the records of one job's outputs in the order of its list, filling in `joined` along the way.

    sources: each output and what opens it. Only one record of each is in memory at a time, and of the files in a
    cluster's folder, which follow one another, only one is open. Raises OutputError if outputs belong to different jobs, if
    one is out of order, or if two contain the same file or are of the same shard.
    """
    seen = _Seen()
    outputs: dict[Path, list[tuple[Path, Callable[[], Iterator[Record]]]]] = {}
    for file, opened in sources:
        outputs.setdefault(_output_of(file), []).append((file, opened))
    streams = [_checked(sorted(parts, key=itemgetter(0)), seen) for parts in outputs.values()]
    ledger: _ByPosition | _ByList | None = None
    for index, shard, record in heapq.merge(*streams, key=lambda entry: entry[0]):
        ledger = ledger or (_ByList if record.get("list") else _ByPosition)(joined, seen.count)
        joined.files += 1
        joined.failed += record["status"] != "ok"
        yield ledger.take(index, shard, record)
    if ledger is not None:
        ledger.finish(len(streams))


class _ByPosition:
    """Finds out what is missing where shard I of N has every N-th file, as in a job that isn't split and in those of earlier
    versions."""

    def __init__(self, joined: Joined, count: int) -> None:
        self._joined, self._count, self._latest = joined, count, -1
        self._ends: dict[int, int] = {}  # shard -> the index that its next record should have

    def take(self, index: int, shard: Shard, record: Record) -> Record:
        """Note the record that is next in the order of the list, and return it. Raises OutputError if it is there twice."""
        if index == self._latest:
            raise OutputError.about(
                path_of(record),
                "{subject!r} (number {number}) is in two of the outputs: give each shard once",
                number=index + 1,
            )
        self._joined.miss(self._ends.get(shard.number, shard.number - 1), index, shard.count)
        self._ends[shard.number], self._latest = index + shard.count, index
        return record

    def finish(self, outputs: int) -> None:
        """Note what is missing at the end, and which shards are. outputs: the number of outputs given."""
        for _, end in sorted(self._ends.items()):
            self._joined.miss(end, self._latest + 1, self._count)
        # If the list is shorter than N, some outputs have no records, so nothing tells which shard they are: they count as
        # present.
        empty = range(self._latest + 2, self._count + 1) if outputs >= self._count else range(0)
        shards = (n for n in range(1, self._count + 1) if n not in self._ends and n not in empty)
        self._joined.missing_shards = [f"{n}/{self._count}" for n in shards]
        self._joined.listed = self._latest + 1


class _ByList:
    """Finds out what is missing where each record says how many files the list of its shard had."""

    def __init__(self, joined: Joined, count: int) -> None:
        self._joined, self._count = joined, count
        self._lists: dict[str, Counter[int]] = {}  # list -> the number of its files that each shard has
        self._gaps = Joined()
        self._next = self._free = 0

    def take(self, index: int, shard: Shard, record: Record) -> Record:
        """Note the next record, and return it with an index that no earlier one has, though lists may differ in their order."""
        listed = record["list"]
        is_listed = index < _files(listed)
        self._lists.setdefault(listed, Counter())[shard.number] += is_listed
        if is_listed:
            self._gaps.miss(self._next, index)
            self._next = index + 1
        else:
            self._joined.gone += 1
        place, self._free = max(index, self._free), max(index, self._free) + 1
        return record if place == index else {**record, "index": place}

    def finish(self, outputs: int) -> None:
        """Note which files and shards are missing, and which are of another list. outputs: the number of outputs given."""
        joined = self._joined
        unseen = set(range(1, self._count + 1)).difference(*self._lists.values())
        largest = max(self._lists, key=lambda one: (_files(one), len(self._lists[one])))
        joined.listed = _files(largest)
        for listed, shards in self._lists.items():
            if listed != largest:
                joined.stale.append((_files(listed), self._named(shards)))
        if joined.stale:
            joined.missing_shards = self._named(unseen) if outputs < self._count else []
        elif self._lists[largest].total() < joined.listed:
            # Shards that aren't among the records may have no files, but not all of them if files are missing.
            joined.missing_shards = self._named(unseen)
            if not unseen:
                self._gaps.miss(self._next, joined.listed)
                joined.missing, joined.gaps = self._gaps.missing, self._gaps.gaps

    def _named(self, numbers: Iterable[int]) -> list[str]:
        return [f"{number}/{self._count}" for number in sorted(numbers)]


def _files(listed: str) -> int:
    """Return the number of files of a list. Raises ValueError if it isn't written as `Part.listed`."""
    return int(listed.partition(":")[0])


class _Seen:
    """Checks that all outputs belong to the same job."""

    def __init__(self) -> None:
        self.first: tuple[Path, dict[str, Any]] | None = None
        self.count = 1
        self._places: dict[int, Path] = {}  # shard -> its output

    def note(self, file: Path, record: Record) -> Shard:
        now = {name: record.get(name) for name in ("model", "revision", "fingerprint", "version", "schema_version")}
        shard = Shard.parse(record["shard"]) if record.get("shard") else Shard()
        now["number of shards"] = shard.count
        now["way to split the list"] = "by name" if record.get("list") else "by position"
        if self.first is None:
            self.first, self.count = (file, now), shard.count
        for name, value in now.items():
            if self.first[1][name] != value:
                raise OutputError.about(
                    file,
                    "{subject} is of another job than {first}: its {name} is {value}, not {expected}",
                    first=self.first[0],
                    name=name,
                    value=value,
                    expected=self.first[1][name],
                )
        if record.get("list"):
            _files(str(record["list"]))
            self._check_once(file, shard)
        elif record["index"] % shard.count != shard.number - 1:
            raise OutputError.about(
                file,
                "{subject} is damaged: number {number} does not belong to shard {shard}",
                number=record["index"] + 1,
                shard=shard,
            )
        return shard

    def _check_once(self, file: Path, shard: Shard) -> None:
        """Raise OutputError if another output is of the same shard. The files of a cluster's folder are one output."""
        place = _output_of(file)
        if (other := self._places.setdefault(shard.number, place)) != place:
            raise OutputError.about(
                file, "{subject} is shard {shard}, and so is {other}: give each shard once", shard=shard, other=other
            )


def _output_of(file: Path) -> Path:
    """Return the output that a file belongs to: the folder of a cluster's shard, else the file itself."""
    return file.parent if is_part(file) else file


def _checked(
    parts: Sequence[tuple[Path, Callable[[], Iterator[Record]]]], seen: _Seen
) -> Iterator[tuple[int, Shard, Record]]:
    before = -1
    for file, record in ((file, record) for file, opened in parts for record in opened()):
        try:
            shard = seen.note(file, record)
            index = int(record["index"])
        except (KeyError, TypeError, ValueError, OptionError):
            raise OutputError.about(file, "{subject} holds records that are not of this version of videomae") from None
        if index <= before:
            raise OutputError.about(
                file,
                "{subject} is not in order: number {number} comes after {before}",
                number=index + 1,
                before=before + 1,
            )
        before = index
        yield index, shard, record

"""Splits a list over machines that don't communicate, and merges their outputs.

Shard I of N takes every N-th name, starting with the I-th, so that long and short videos are spread evenly. Each record
has its index in the whole list and its shard, so merging needs no list to find out what is missing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from videomae_cli.errors import OptionError, OutputError
from videomae_cli.results import Record, path_of

T = TypeVar("T")


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

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Return this shard's part of a list."""
        return items[self.number - 1 :: self.count]

    def index(self, place: int) -> int:
        """Return the index in the whole list of item `place` of this shard."""
        return self.number - 1 + place * self.count


@dataclass
class Joined:
    """What a merge found: counts, the numbers of missing files ("12", "40 to 55"), and missing shards."""

    outputs: int = 0
    files: int = 0
    failed: int = 0
    missing: int = 0
    gaps: list[str] = field(default_factory=list)
    missing_shards: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether no file and no shard is known to be missing."""
        return not self.missing and not self.missing_shards

    def miss(self, first: int, stop: int, step: int) -> None:
        """Note that the files at range(first, stop, step) are missing."""
        count = len(range(first, stop, step))
        if count:
            last = first + (count - 1) * step
            self.missing += count
            every = f" in steps of {step}" if step > 1 and count > 1 else ""
            self.gaps.append(f"{first + 1} to {last + 1}{every}" if count > 1 else str(first + 1))


def merge_records(sources: Iterable[tuple[Path, Iterator[Record]]], joined: Joined) -> Iterator[Record]:
    """Merge the records of one job's outputs in the order of its list, filling in `joined` along the way.

    Only one record of each output is in memory at a time. Raises OutputError if outputs belong to different jobs, if
    one is out of order, or if two contain the same file.
    """
    seen = _Seen()
    streams = [_checked(file, records, seen) for file, records in sources]
    latest = -1
    ends: dict[int, int] = {}  # shard -> the index that its next record should have
    for index, shard, record in heapq.merge(*streams, key=lambda entry: entry[0]):
        if index == latest:
            raise OutputError.about(
                path_of(record),
                "{subject!r} (number {number}) is in two of the outputs: give each shard once",
                number=index + 1,
            )
        joined.miss(ends.get(shard.number, shard.number - 1), index, shard.count)
        joined.files += 1
        joined.failed += record["status"] != "ok"
        ends[shard.number], latest = index + shard.count, index
        yield record
    for _, end in sorted(ends.items()):
        joined.miss(end, latest + 1, seen.count)
    # If the list is shorter than N, some outputs have no records, so nothing tells which shard they are: they count as
    # present.
    all_given = len(streams) >= seen.count
    joined.missing_shards = [
        f"{n}/{seen.count}" for n in range(1, seen.count + 1) if n not in ends and not (all_given and n > latest + 1)
    ]


class _Seen:
    """Checks that all outputs belong to the same job."""

    def __init__(self) -> None:
        self.first: tuple[Path, dict[str, Any]] | None = None
        self.count = 1

    def note(self, file: Path, record: Record) -> Shard:
        now = {name: record.get(name) for name in ("model", "revision", "fingerprint", "version", "schema_version")}
        shard = Shard.parse(record["shard"]) if record.get("shard") else Shard()
        now["number of shards"] = shard.count
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
        if record["index"] % shard.count != shard.number - 1:
            raise OutputError.about(
                file,
                "{subject} is damaged: number {number} does not belong to shard {shard}",
                number=record["index"] + 1,
                shard=shard,
            )
        return shard


def _checked(file: Path, records: Iterator[Record], seen: _Seen) -> Iterator[tuple[int, Shard, Record]]:
    before = -1
    for record in records:
        try:
            shard = seen.note(file, record)
            index = int(record["index"])
        except (KeyError, TypeError, OptionError):
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

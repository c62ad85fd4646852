"""How a list of files is cut: into tasks that decode, groups of views that travel together, and output files.

    files   0 1 2 3 4 5 6 7 8 9 ...
    tasks   [0 1 2 3] [4 5 6 7] ...           `task` files each, decoded one after the other
    pieces  [0 1 2][3] [4 5][6 7] ...         as many files of a task as have `group` views together
    shards  [0 1 2 3  4 5 6 7] ...            `shard` files each, a multiple of `task`

A plan depends on the list, the model and the batch, never on the machines: so does every last bit of the results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Tasks that a long list is cut into: enough for a thousand cores to end at nearly the same time.
_TASKS = 4096
_MAX_TASK = 256
# Bytes of pixels that travel together at least: below, what a message costs would count; much above, memory would.
_GROUP_BYTES = 32 * 2**20
# An output file: not so large that one is long in the making, nor so small that there are many thousands.
_SHARD_FILES = 16384
_SHARD_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ClusterPlan:
    """files: of the whole job; task, shard: files each; batch: views through the model at once; group: views that travel
    together, a multiple of it."""

    files: int
    task: int
    shard: int
    batch: int
    group: int

    @property
    def tasks(self) -> int:
        """The number of tasks that decode."""
        return -(-self.files // self.task)

    @property
    def shards(self) -> int:
        """How many output files there will be; one for an empty list too."""
        return max(1, -(-self.files // self.shard))

    def task_files(self, number: int) -> range:
        """The places in the list of task `number`, from 0."""
        return range(number * self.task, min((number + 1) * self.task, self.files))

    def shard_files(self, number: int) -> range:
        """The places in the list of output file `number`, from 0."""
        return range(number * self.shard, min((number + 1) * self.shard, self.files))

    def shard_of(self, place: int) -> int:
        """The output file that a place in the list belongs to."""
        return place // self.shard

    def shard_name(self, number: int) -> str:
        """The name of output file `number`."""
        return f"part-{number:05}-of-{self.shards:05}.parquet"

    def as_dict(self) -> dict[str, int]:
        """Return the plan as plain numbers, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClusterPlan:
        """Rebuild a plan from what `as_dict` returned. Raises KeyError, TypeError or ValueError for anything else."""
        plan = cls(**{name: int(values[name]) for name in ("files", "task", "shard", "batch", "group")})
        if plan.files < 0 or min(plan.task, plan.shard, plan.batch, plan.group) < 1 or plan.shard % plan.task:
            raise ValueError("a plan that makes no sense")
        return plan


def make_plan(
    files: int, *, batch: int, view_bytes: int, file_bytes: int, shard_files: int | None = None
) -> ClusterPlan:
    """The plan for a list. batch: views through the model at once; view_bytes: pixels of one; file_bytes: about what an
    output file holds of one video; shard_files: how many videos that should be, None for what is handy."""
    group = batch * max(1, _GROUP_BYTES // (batch * view_bytes))
    # A file has one view at least: so many files fill a group, where there are enough for several tasks.
    filling = min(group, max(1, files // 16))
    task = min(_MAX_TASK, max(filling, -(-files // _TASKS)))
    wanted = shard_files or max(1, min(_SHARD_FILES, _SHARD_BYTES // file_bytes))
    task = min(task, wanted)
    shard = wanted // task * task
    return ClusterPlan(files, task, shard, batch, group)


class Pieces:
    """Which stretches of the list are done, each (first, stop). Some may overlap, where work was done twice."""

    def __init__(self, stretches: Iterable[tuple[int, int]] = ()) -> None:
        self._stops: dict[int, set[int]] = {}
        for first, stop in stretches:
            self.add(first, stop)

    def add(self, first: int, stop: int) -> None:
        """Note a piece that covers the files from `first` up to `stop`."""
        self._stops.setdefault(first, set()).add(stop)

    def chain(self, places: range) -> list[tuple[int, int]] | None:
        """Pieces that together are exactly `places`, in order, or None where some are missing."""
        chain: list[tuple[int, int]] = []
        at, tried = places.start, [iter(sorted(self._stops.get(places.start, ()), reverse=True))]
        while at != places.stop:
            stop = next((stop for stop in tried[-1] if stop <= places.stop), None)
            if stop is not None:
                chain.append((at, stop))
                at = stop
                tried.append(iter(sorted(self._stops.get(at, ()), reverse=True)))
                continue
            if not chain:
                return None
            tried.pop()
            at, _ = chain.pop()
        return chain

    def within(self, places: range) -> Iterator[tuple[int, int]]:
        """Those that begin in a stretch."""
        for first in places:
            yield from ((first, stop) for stop in sorted(self._stops.get(first, ())))

    def forget(self, places: range) -> None:
        """Drop those that begin in a stretch."""
        for first in places:
            self._stops.pop(first, None)


def tasks_left(
    plan: ClusterPlan, shards: Iterable[int], pieces: Pieces, again: Mapping[int, Sequence[int]] | None = None
) -> list[int]:
    """The tasks that still have to be done. shards: the output files that are there; again: of some that are made again, by
    number, the only tasks that are."""
    there, only = set(shards), again or {}

    def wanted(number: int) -> bool:
        shard = plan.shard_of(number * plan.task)
        return shard not in there and number in only.get(shard, (number,))

    return [number for number in range(plan.tasks) if wanted(number) and pieces.chain(plan.task_files(number)) is None]

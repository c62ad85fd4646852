"""Plans how a list of files is divided into tasks that decode, groups that are transferred together, and output files.

    files   0 1 2 3 4 5 6 7 8 9 ...
    tasks   [0 1 2 3] [4 5 6 7] ...           `task` files each, decoded one after the other
    pieces  [0 1 2][3] [4 5][6 7] ...         the results of one group: files of a task with up to `group` views, or a film
    shards  [0 1 2 3  4 5 6 7] ...            `shard` files each, a multiple of `task`

A plan depends on the list, the model and the batch size, never on the machines; therefore the results are bit for bit
the same on any cluster.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Number of tasks for a long list: enough for a thousand cores to finish at nearly the same time.
_TASKS = 4096
_MAX_TASK = 256
# Minimum bytes of pixels per group: with less, the overhead of messages would matter, with much more, the memory. A GPU takes
# so many clips that groups cost the process that gives the command more than anything else: 11 ms each.
_GROUP_BYTES, _GPU_GROUP_BYTES = 32 * 2**20, 256 * 2**20
# Whole films: the most to a task, all of which is done again if its process dies, and windows to a piece, if one film has fewer.
_MAX_FILMS, _FILM_GROUP = 16, 1024
# Limits of an output file: small enough to be written quickly, large enough that there are not many thousands.
_SHARD_FILES = 16384
_SHARD_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ClusterPlan:
    """Sizes of a job's parts. files: in the whole job; task, shard: files per task and output file; batch: views per model
    call; group: views that are transferred together, a multiple of batch; of whole films, windows that are written together."""

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
        """The number of output files; 1 even for an empty list."""
        return max(1, -(-self.files // self.shard))

    def task_files(self, number: int) -> range:
        """Return the indices in the list of task `number`, from 0."""
        return range(number * self.task, min((number + 1) * self.task, self.files))

    def shard_files(self, number: int) -> range:
        """Return the indices in the list of output file `number`, from 0."""
        return range(number * self.shard, min((number + 1) * self.shard, self.files))

    def shard_of(self, place: int) -> int:
        """Return the number of the output file for an index in the list."""
        return place // self.shard

    def shard_name(self, number: int) -> str:
        """Return the name of output file `number`."""
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
    files: int,
    *,
    batch: int,
    view_bytes: int,
    file_bytes: int,
    shard_files: int | None = None,
    gpus: bool = False,
    films: bool = False,
) -> ClusterPlan:
    """Make the plan for a list. batch: views per model call; view_bytes: size of a view's pixels; file_bytes: approximate output
    size per video; shard_files: videos per output file, None to choose a suitable number; gpus: whether models run on them;
    films: whether videos are done from beginning to end, where they are decoded."""
    if films:
        group, most, filling = _FILM_GROUP, _MAX_FILMS, 1
    else:
        group, most = batch * -(-(_GPU_GROUP_BYTES if gpus else _GROUP_BYTES) // (batch * view_bytes)), _MAX_TASK
        # With at least one view per file, `group` files fill a group; fewer for a short list, so that it makes several tasks.
        filling = min(group, max(1, files // 16))
    task = min(most, max(filling, -(-files // _TASKS)))
    per_shard = shard_files or max(1, min(_SHARD_FILES, _SHARD_BYTES // file_bytes))
    task = min(task, per_shard)
    shard = per_shard // task * task
    return ClusterPlan(files, task, shard, batch, group)


class Pieces:
    """The finished ranges (first, stop) of the list; they may overlap if work was done twice."""

    def __init__(self, stretches: Iterable[tuple[int, int]] = ()) -> None:
        self._stops: dict[int, set[int]] = {}
        self._starts: list[int] = []  # the keys of the above, in order
        for first, stop in stretches:
            self.add(first, stop)

    def add(self, first: int, stop: int) -> None:
        """Add a piece that covers the files first, ..., stop - 1."""
        if first not in self._stops:
            insort(self._starts, first)
        self._stops.setdefault(first, set()).add(stop)

    def chain(self, places: range) -> list[tuple[int, int]] | None:
        """Find pieces that together cover exactly `places`, in order; None if there are none."""
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

    def gaps(self, places: range) -> list[range]:
        """Return what is left to do of `places`: with pieces for these ranges, there is a chain."""
        if self.chain(places) is not None:
            return []
        if not self._stops:
            return [places]
        found: list[range] = []
        begin = places.start
        for first, stop in self.apart(places):
            if begin < first:
                found.append(range(begin, first))
            begin = stop
        return [*found, range(begin, places.stop)] if begin < places.stop else found

    def apart(self, places: range) -> list[tuple[int, int]]:
        """Return pieces within `places` that don't overlap, in order, the longest of those that begin at one file."""
        found, at = list[tuple[int, int]](), places.start
        for first in self._within(places):
            stop = max((stop for stop in self._stops[first] if stop <= places.stop), default=None)
            if first >= at and stop is not None:
                found.append((first, stop))
                at = stop
        return found

    def within(self, places: range) -> Iterator[tuple[int, int]]:
        """Yield the pieces that begin in a range."""
        for first in self._within(places):
            yield from ((first, stop) for stop in sorted(self._stops[first]))

    def forget(self, places: range) -> None:
        """Drop the pieces that begin in a range."""
        for first in self._within(places):
            del self._stops[first], self._starts[bisect_left(self._starts, first)]

    def _within(self, places: range) -> list[int]:
        """Return where pieces begin within `places`, in order; what has no pieces takes no time, however long it is."""
        return self._starts[bisect_left(self._starts, places.start) : bisect_left(self._starts, places.stop)]


def ranges_left(
    plan: ClusterPlan, shards: Iterable[int], pieces: Pieces, again: Mapping[int, Sequence[int]] | None = None
) -> list[range]:
    """Return what is left of each task. shards: finished output files; again: output file -> the only tasks to repeat for it."""
    finished, only = set(shards), again or {}

    def is_left(number: int) -> bool:
        shard = plan.shard_of(number * plan.task)
        return shard not in finished and number in only.get(shard, (number,))

    return [gap for number in range(plan.tasks) if is_left(number) for gap in pieces.gaps(plan.task_files(number))]


def bundled(ranges: Iterable[range], most: int) -> Iterator[list[range]]:
    """Put ranges together for tasks of up to `most` files."""
    bundle, files = list[range](), 0
    for one in ranges:
        if bundle and files + len(one) > most:
            yield bundle
            bundle, files = [], 0
        bundle.append(one)
        files += len(one)
    if bundle:
        yield bundle

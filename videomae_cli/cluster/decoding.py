"""The tasks that decode files, one after the other, in the same decoder process as on a single machine."""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from videomae_cli import filesystem, storage, system
from videomae_cli.assembly import DecoderOptions
from videomae_cli.cluster.attempts import Attempt, Witness, here
from videomae_cli.cluster.clip_rows import Group, Item, Outcome, Refusal, to_table
from videomae_cli.cluster.job_log import Effort, Stage, Stopwatch
from videomae_cli.cluster.models import enter, monitored_memory
from videomae_cli.cluster.plan import ClusterPlan
from videomae_cli.cluster.requirements import Requirements
from videomae_cli.errors import (
    DecoderKilledError,
    DependencyError,
    MachineError,
    VideoFetchError,
    VideoMAEError,
    VideoNotFoundError,
    Vocabulary,
    speak,
    vocabulary,
)
from videomae_cli.results import Result
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, FoundVideo
from videomae_cli.video.file_list import FileList

# Where memory runs out, Linux kills a decoder first (1000), then what waits for it, then a model.
_KILLED_SECOND = 900


@dataclass(frozen=True)
class DecodingWork:
    """What every task receives. clips: what to decode of a file that isn't done from beginning to end; home: the folder that
    relative names start from; decoding: the limits for each file; attempts: what is told which work begins and ends, so that
    no file is tried for ever; needed: what a machine must reach to be believed that a file can't be fetched, None to believe
    it; last: whether such a file fails here instead of being handed to another machine."""

    plan: ClusterPlan
    clips: ClipRequest
    home: str
    decoding: DecoderOptions
    attempts: Witness
    needed: Requirements | None = None
    last: bool = False
    debug: bool = False
    words: Vocabulary = field(default_factory=vocabulary)

    def refusal(self, video: FoundVideo, error: VideoMAEError | None, place: int) -> Refusal | None:
        """Return why this machine hands a file back instead of calling it a failure; None if the outcome stands."""
        if self.needed is None or video.error is not None or not _may_be_the_machines(video.path, error):
            return None
        lacking = self.needed.unread()
        if lacking is None and self.last:
            return None
        return Refusal(here(), place + 1, lacking or f"failed with {video.path}: {error}", lacking is not None)


def task_table(found: Sequence[FoundVideo], ranges: Sequence[range]) -> Any:
    """Make what `tasks` reads: the index of the first file of each range, and its files, in the columns `first` and `videos`.

    Only these travel with a task: each reference to something that all share would be told of by Ray in every task.
    """
    import pyarrow as pa

    files = [pickle.dumps(FileList(found[one.start : one.stop])) for one in ranges]
    return pa.table({"first": [one.start for one in ranges], "videos": files})


def decode_tasks(batch: Any, *, work: DecodingWork) -> Iterator[Any]:
    """Decode ranges of the list, given as a `task_table`: a function for Ray Data's `map_batches`.

    Each range is a task or what is left of one. Yields a table with one row for each group of files.
    """
    _return_memory()
    enter(work.home)
    speak(work.words)
    for first, videos, attempt in tasks(batch, work):
        for group in groups(first, videos, work, attempt):
            yield to_table(group)


def tasks(batch: Any, work: DecodingWork) -> Iterator[tuple[int, list[FoundVideo], Attempt]]:
    """Yield the ranges of a `task_table`: the index of the first file, the files, and how earlier tries went.

    A range counts as done when the next one is asked for.
    """
    storage.on_wait(lambda error: work.attempts.wait(here(), str(error)))
    for first, files in zip(batch.column("first").to_pylist(), batch.column("videos").to_pylist(), strict=True):
        videos = list(pickle.loads(files))  # made by the process that gave the command
        for video in videos:
            if storage.is_address(video.path):
                storage.expect(video.path)
        attempt = work.attempts.begin(task_key(first), here())
        yield first, videos, attempt
        work.attempts.end(task_key(first))


def task_key(first: int) -> tuple[str, int]:
    """Return what `Attempts` knows a task by, from the index of its first file."""
    return "task", first


@lru_cache(maxsize=1)
def _return_memory() -> None:
    """Make freed arrays go back to the system; otherwise fragmentation grows the process with every task.

    `benchmarks/cluster.py memory` measures this.
    """
    system.return_freed_memory()
    system.be_first_killed(_KILLED_SECOND)


def groups(first: int, videos: Sequence[FoundVideo], work: DecodingWork, attempt: Attempt) -> Iterator[Group[Outcome]]:
    """Decode the files of a task, and yield them in groups of up to `plan.group` views."""
    decoder = _decoder(work.decoding, work.debug)
    if attempt.careful:
        decoded = _one_by_one(decoder, first, videos, work, attempt)
    else:
        decoded = _outcomes(decoder, [replace(work.clips, path=video.path) for video in videos if video.error is None])
    with closing(decoded):
        outcomes = (video.error if video.error is not None else next(decoded) for video in videos)
        yield from in_groups(first, videos, outcomes, work, "decode")


def in_groups(
    first: int, videos: Sequence[FoundVideo], outcomes: Iterator[Item], work: DecodingWork, stage: Stage
) -> Iterator[Group[Item]]:
    """Put the outcomes of a task's files in groups of up to `plan.group` views.

    Files that this machine hands back are groups of their own; if it can fetch none, so are all that follow.
    """
    files: list[tuple[str, Item]] = []
    views, end = 0, first + len(videos)
    meter = _Meter(stage)
    for place, video in enumerate(videos, first):
        with meter.watch.running():
            outcome = next(outcomes)
        refusal = work.refusal(video, _error(outcome), place)
        count = _views(outcome)
        if files and (refusal or views + count > work.plan.group):
            yield Group(place - len(files), tuple(files), effort=meter.effort(len(files), views))
            files, views = [], 0
        if refusal is not None:
            yield Group(place, (), replace(refusal, stop=end) if refusal.lost else refusal)
            if refusal.lost:
                return
            continue
        files.append((video.path, outcome))
        meter.see(video.path)
        views += count
    if files:
        yield Group(end - len(files), tuple(files), effort=meter.effort(len(files), views))


class _Meter:
    """Measures what the groups of a task take: time, and bytes fetched from storage or, of files on a disk, their size."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.watch, self._bytes, self._fetched = Stopwatch(), 0, storage.fetched_bytes()

    def see(self, path: str) -> None:
        """Count a file that was read."""
        if not storage.is_address(path):
            self._bytes += filesystem.look(path).size or 0

    def effort(self, files: int, clips: int) -> Effort:
        """Return what was spent since the last call."""
        fetched = storage.fetched_bytes()
        made = Effort(self._stage, here(), self.watch.seconds, files, clips, self._bytes + fetched - self._fetched)
        self.watch, self._bytes, self._fetched = Stopwatch(), 0, fetched
        return made


def _may_be_the_machines(path: str, error: VideoMAEError | None) -> bool:
    """Return whether another machine may succeed where this one failed."""
    # The command saw each file on a disk, but of addresses storage knows best which there are.
    gone = isinstance(error, VideoNotFoundError) and not storage.is_address(path)
    return gone or isinstance(error, VideoFetchError | MachineError | DependencyError)


def _outcomes(decoder: Decoder, requests: Sequence[ClipRequest]) -> Generator[Outcome]:
    """Yield the outcome of each request. Unlike on one machine, a MachineError doesn't end the job: it fails the file only."""
    done = 0
    while done < len(requests):
        try:
            for _, outcome in decoder.decode_all(requests[done:]):
                done += 1
                yield outcome
        except (MachineError, DependencyError) as error:
            done += 1
            yield error


def _one_by_one(
    decoder: Decoder, first: int, videos: Sequence[FoundVideo], work: DecodingWork, attempt: Attempt
) -> Generator[Outcome]:
    """Yield the outcomes of a task that has cost a process: nothing is decoded ahead, and each file is announced before."""
    for place, video in enumerate(videos, first):
        if video.error is not None:
            continue
        if count := attempt.convicted.get(place):
            yield DecoderKilledError.about(
                video.path, "the process that decoded {subject!r} died, {count} times one after the other", count=count
            )
            continue
        work.attempts.hold(task_key(first), place)
        (outcome,) = _outcomes(decoder, [replace(work.clips, path=video.path)])
        work.attempts.hold(task_key(first), None)
        yield outcome


def _error(outcome: object) -> VideoMAEError | None:
    if isinstance(outcome, Result):
        return outcome.error.exception if outcome.error is not None else None
    return outcome if isinstance(outcome, VideoMAEError) else None


def _views(outcome: object) -> int:
    if isinstance(outcome, Result):
        return outcome.views
    return len(outcome.rows) * outcome.plan.crops if isinstance(outcome, DecodedVideo) else 0


@lru_cache(maxsize=1)
def _decoder(limits: DecoderOptions, debug: bool) -> Decoder:
    # Cached between tasks, because the decoder process takes seconds to start. Each decoder uses one thread per file,
    # since as many tasks run on this machine as it has cores. The process ends together with the Ray process that
    # started it.
    return Decoder(
        timeout=limits.timeout, memory=limits.memory, reserve=monitored_memory(), workers=1, threads=1, debug=debug
    )

"""The tasks that decode files, one after the other, in the same decoder process as on a single machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from videomae_cli import system
from videomae_cli.cluster.clip_rows import Group, Outcome, to_table
from videomae_cli.cluster.models import enter
from videomae_cli.cluster.plan import ClusterPlan
from videomae_cli.errors import DependencyError, MachineError, Vocabulary, speak, vocabulary
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, FoundVideo

# The list is stored in objects of this many files, so that a task fetches at most two of them.
LIST_CHUNK = 8192


@dataclass(frozen=True)
class DecodingWork:
    """What every task receives. clips: what to decode of a file; lists: references to the files, `LIST_CHUNK` each; home: the folder
    that relative names start from; memory: bytes that decoding one file may take, None for what its machine can
    spare."""

    plan: ClusterPlan
    clips: ClipRequest
    lists: tuple[Any, ...]
    home: str
    timeout: float | None
    memory: int | None = None
    debug: bool = False
    words: Vocabulary = field(default_factory=vocabulary)


def put_lists(found: Sequence[FoundVideo]) -> tuple[Any, ...]:
    """Store a list of files in the connected cluster's object store; returns the references."""
    import ray

    return tuple(ray.put(list(found[at : at + LIST_CHUNK])) for at in range(0, len(found), LIST_CHUNK))


def decode_tasks(batch: Any, *, work: DecodingWork) -> Iterator[Any]:
    """Decode the files of tasks, given by number in the column `task`: a function for Ray Data's `map_batches`.

    Yields a table with one row for each group of files.
    """
    _return_memory()
    enter(work.home)
    speak(work.words)
    for number in batch.column("task").to_pylist():
        files = work.plan.task_files(number)
        for group in groups(files.start, _videos(work, files), work):
            yield to_table(group)


@lru_cache(maxsize=1)
def _return_memory() -> None:
    """Make freed arrays go back to the system; otherwise fragmentation grows the process with every task.

    `benchmarks/cluster.py memory` measures this.
    """
    system.return_freed_memory()


def groups(first: int, videos: Sequence[FoundVideo], work: DecodingWork) -> Iterator[Group]:
    """Decode the files of a task, and yield them in groups of up to `plan.group` views."""
    decoder = _decoder(work.timeout, work.memory, work.debug)
    decoded = _outcomes(decoder, [replace(work.clips, path=video.path) for video in videos if video.error is None])
    files: list[tuple[str, Outcome]] = []
    views = 0
    for video in videos:
        outcome = video.error if video.error is not None else next(decoded)
        count = _views(outcome)
        if files and views + count > work.plan.group:
            yield Group(first, tuple(files))
            first, files, views = first + len(files), [], 0
        files.append((video.path, outcome))
        views += count
    yield Group(first, tuple(files))


def _outcomes(decoder: Decoder, requests: Sequence[ClipRequest]) -> Iterator[Outcome]:
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


def _views(outcome: Outcome) -> int:
    return len(outcome.rows) * outcome.plan.crops if isinstance(outcome, DecodedVideo) else 0


def _videos(work: DecodingWork, files: range) -> list[FoundVideo]:
    import ray

    chunks = range(files.start // LIST_CHUNK, (files.stop - 1) // LIST_CHUNK + 1)
    videos = [video for chunk in chunks for video in ray.get(work.lists[chunk])]
    begin = files.start - chunks.start * LIST_CHUNK
    return videos[begin : begin + len(files)]


@lru_cache(maxsize=1)
def _decoder(timeout: float | None, memory: int | None, debug: bool) -> Decoder:
    # Cached between tasks, because the decoder process takes seconds to start. Each decoder uses one thread per file,
    # since as many tasks run on this machine as it has cores. The process ends together with the Ray process that
    # started it.
    return Decoder(timeout=timeout, memory=memory, workers=1, threads=1, debug=debug)

"""The tasks that decode: our reader in our decoder process, one file after the other, as on one machine."""

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

# Files of one object of the list: a task fetches one such object, or two.
LIST_CHUNK = 8192


@dataclass(frozen=True)
class DecodingWork:
    """What every task is given. clips: what is wanted of a file; lists: the files, `LIST_CHUNK` an object; home: the
    folder that names start from; memory: bytes that decoding one file may take, None for what its machine can spare."""

    plan: ClusterPlan
    clips: ClipRequest
    lists: tuple[Any, ...]
    home: str
    timeout: float | None
    memory: int | None = None
    debug: bool = False
    words: Vocabulary = field(default_factory=vocabulary)


def put_lists(found: Sequence[FoundVideo]) -> tuple[Any, ...]:
    """A list of files as objects of a cluster that is connected."""
    import ray

    return tuple(ray.put(list(found[at : at + LIST_CHUNK])) for at in range(0, len(found), LIST_CHUNK))


def decode_tasks(batch: Any, *, work: DecodingWork) -> Iterator[Any]:
    """A function of Ray Data: rows with the number of a `task` -> a table of one row for each group of its files."""
    _return_memory()
    enter(work.home)
    speak(work.words)
    for number in batch.column("task").to_pylist():
        files = work.plan.task_files(number)
        for group in groups(files.start, _videos(work, files), work):
            yield to_table(group)


@lru_cache(maxsize=1)
def _return_memory() -> None:
    """Have large arrays returned to the system as they are freed. By default what several threads allocate and free stays
    with the process in pieces, more with every task, for as long as the job runs (`benchmarks/cluster.py memory`)."""
    system.return_freed_memory()


def groups(first: int, videos: Sequence[FoundVideo], work: DecodingWork) -> Iterator[Group]:
    """The files of a task, decoded, as many in a group as have `plan.group` views together."""
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
    """The outcome of each. What a machine of many lacks is an outcome too: the others go on."""
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
    # Kept from task to task: a process with OpenCV and torch in it takes seconds to start. One thread a file, since as
    # many tasks run here as there are cores. It ends with the process of Ray's that started it.
    return Decoder(timeout=timeout, memory=memory, workers=1, threads=1, debug=debug)

"""Decodes many files into clips, ahead of the caller, in processes that may hang or crash without harm."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Condition, Event

from videomae_cli import system
from videomae_cli.errors import (
    DecoderKilledError,
    DecoderMemoryError,
    DependencyError,
    MachineError,
    OptionError,
    VideoFetchError,
    VideoMAEError,
)
from videomae_cli.video.blocks import PassRequest
from videomae_cli.video.clips import ClipRequest, DecodedVideo, decode_clips
from videomae_cli.video.fetching import Copies, Copy, fetch, is_elsewhere, speaking_of
from videomae_cli.video.native import set_debug
from videomae_cli.video.stream import BlockStream
from videomae_cli.video.worker import WorkerProcess
from videomae_cli.video.workforce import Allowance, Workforce, affordable, patiently

__all__ = ["ClipRequest", "DecodedVideo", "Decoder", "decode_clips"]

log = logging.getLogger(__name__)

Outcome = DecodedVideo | VideoMAEError


# Bytes of decoded frames that may wait for the model: about two hundred clips of 16 frames of 224 x 224 pixels.
AHEAD_BYTES = 512 * 2**20
# Each process takes about 200 MB with torch and OpenCV in it.
MAX_AUTO_WORKERS = 16
# Seconds that interrupted work may take to clean up after itself.
_ENDING_SECONDS = 5.0
MAX_WORKERS, MAX_TIMEOUT = 1024, 1_000_000


def check_timeout(timeout: float | None) -> None:
    """Raise OptionError for a time limit that is not positive, or longer than the system can wait."""
    if timeout is not None and not 0 < timeout <= MAX_TIMEOUT:
        raise OptionError.about(
            "timeout",
            "{subject} must be more than 0 and at most {most} seconds, not {timeout:g}; {@no_timeout} is no limit",
            most=MAX_TIMEOUT,
            timeout=timeout,
        )


def auto_workers(files: int) -> int:
    """Choose the number of decoding processes if the user gives none: one per core, at most one per file."""
    return max(1, min(system.usable_cpus(), files, MAX_AUTO_WORKERS))


def _threads_each(workers: int) -> int | None:
    """Return how many threads each process should use; None lets the process decide.

    If the processes together occupy all cores, it is one: threads that decode one file wait for each other, which costs
    processor time, most of all with small pictures (`benchmarks/workers.py`).
    """
    return 1 if workers >= system.usable_cpus() else None


class Decoder:
    """Decodes files in `workers` processes; each is reused for many files, and replaced when a file crashes it.

    timeout: seconds a file may take, None for no limit; memory: bytes that a decoding process may take, None for what
    this machine can spare; reserve: bytes of this machine's memory that other programs need, so that a large decoding
    process is stopped while so much is free; threads: per process, None for the best number if nothing else runs;
    isolate: False decodes in this process, without limits; debug: let ffmpeg and OpenCV write to stderr. For an address
    (`storage.is_address`) a copy is fetched and decoded; the time limit does not count the transfer.

    A file is not blamed for what is not its fault: if a process can't be started, is killed from outside or takes more
    than its share of the memory, the file is decoded again while no other file is. If the machine still lacks the
    resources, MachineError is raised, even by `decode_all`.
    """

    def __init__(
        self,
        *,
        timeout: float | None = 120.0,
        isolate: bool = True,
        workers: int = 1,
        memory: int | None = None,
        reserve: int = 0,
        threads: int | None = None,
        debug: bool = False,
    ) -> None:
        check_timeout(timeout)
        if not 1 <= workers <= MAX_WORKERS:
            reason = "{subject} must be from 1 to {most}, not {workers}"
            raise OptionError.about("workers", reason, most=MAX_WORKERS, workers=workers)
        self._timeout, self._isolate = timeout, isolate
        self._count = affordable(workers) if isolate else workers
        allowance = Allowance.of_machine(self._count) if memory is None else Allowance(memory, memory)
        self._memory = replace(allowance, reserve=reserve)
        self._all = [
            WorkerProcess(debug=debug, threads=threads or _threads_each(workers))
            for _ in range(self._count if isolate else 0)
        ]
        self._workforce = Workforce(self._all)
        # What `decode_all` has begun and not yet ended: `close` ends these if it comes before the caller has finished
        # with `decode_all`.
        self._running: set[Future[Outcome]] = set()
        self._rooms: set[_Room] = set()
        self._copies: set[Copies] = set()
        self._closed = Event()
        if not isolate and debug:
            set_debug(True)

    def start(self) -> None:
        """Start the first process now, while the caller does something else, such as loading a model; optional.

        Only the first: more would compete with the caller for the same cores, and they start when there is work for
        them.
        """
        for worker in self._all[:1]:
            worker.start()

    def decode(self, request: ClipRequest) -> DecodedVideo:
        """Decode the clips of one file. Raises a VideoError, MachineError, or DependencyError if nothing decodes."""
        path = os.fspath(request.path)
        if not is_elsewhere(path):
            return self._decode(request, path)
        with fetch(path, stopped=self._closed.is_set) as copy:
            return self._decode_copy(request, copy)

    def _decode_copy(self, request: ClipRequest, copy: Path) -> DecodedVideo:
        address = os.fspath(request.path)
        with speaking_of(address, copy):
            video = self._decode(replace(request, path=copy), address)
        return replace(video, info=replace(video.info, path=address))

    def _decode(self, request: ClipRequest, subject: str) -> DecodedVideo:
        """Decode a file on this disk. subject: its name in messages."""
        if not self._isolate:
            return decode_clips(request)
        closed = self._closed
        try:
            return self._attempt_beside_others(request, subject, closed)
        except (MachineError, DecoderKilledError, DecoderMemoryError) as error:
            if closed.is_set():  # `close` killed the process
                raise MachineError.about(subject, "the decoder was closed before it had read {subject!r}") from None
            log.info("%s: %s; again, with nothing beside it", subject, error)
        with self._workforce.alone() as worker:
            return patiently(lambda: self._attempt(worker, request, subject, self._memory.alone))

    def _attempt_beside_others(self, request: ClipRequest, subject: str, closed: Event) -> DecodedVideo:
        """Decode in any idle process; if the machine can't sustain all processes, give up one of them for good."""
        while True:
            with self._workforce.one() as worker:
                if closed.is_set():
                    raise VideoFetchError("interrupted")
                try:
                    return self._attempt(worker, request, subject, self._memory.each)
                except MachineError as error:
                    if not self._workforce.dismiss(worker):
                        raise
                    log.info("one decoding process less: %s", error)

    def _attempt(self, worker: WorkerProcess, request: ClipRequest, subject: str, memory: int) -> DecodedVideo:
        result = worker.call(
            decode_clips, request, timeout=self._timeout, subject=subject, memory=memory, reserve=self._memory.reserve
        )
        assert isinstance(result, DecodedVideo)
        return result

    def stream(self, request: PassRequest) -> BlockStream:
        """Open one file of any length for one pass, block by block: a context manager.

        The time limit is for each block, not for the file. Raises a VideoError, or a DependencyError if nothing can be
        decoded at all.
        """
        if not self._isolate:
            return BlockStream(request, None, timeout=None, memory=None, done=lambda: None)
        borrowed = ExitStack()
        worker = borrowed.enter_context(self._workforce.one())
        memory = self._memory.alone if self._count == 1 else self._memory.each
        reserve = self._memory.reserve
        return BlockStream(request, worker, timeout=self._timeout, memory=memory, reserve=reserve, done=borrowed.close)

    def decode_all(self, requests: Iterable[ClipRequest], *, ahead: int = 1) -> Iterator[tuple[ClipRequest, Outcome]]:
        """Yield each request with its clips or its error, in order; the next files are decoded in the meantime.

        `ahead` more files than there are workers are decoded in advance, until `AHEAD_BYTES` of frames wait for the
        caller, so that memory stays bounded. Raises MachineError or DependencyError if this machine can't decode at
        all.
        """
        for item in self.decode_or_idle(requests, ahead=ahead):
            if item is not None:
                yield item

    def decode_or_idle(
        self, requests: Iterable[ClipRequest], *, ahead: int = 1
    ) -> Iterator[tuple[ClipRequest, Outcome] | None]:
        """Yield what `decode_all` yields, and None whenever the caller would have to wait."""
        if not self._isolate:
            for request in requests:
                yield None
                yield request, self._outcome(request)
            return
        waiting: deque[tuple[ClipRequest, Future[Outcome]]] = deque()
        room = _Room(AHEAD_BYTES)
        closed = self._closed
        copies = Copies(self._count, stopped=closed.is_set)
        self._rooms.add(room)
        self._copies.add(copies)
        executor = ThreadPoolExecutor(self._count, thread_name_prefix="decoder")
        try:
            for number, request in enumerate(requests):
                path = os.fspath(request.path)
                copy = copies.bring(path) if is_elsewhere(path) else None
                future = executor.submit(self._when_room, request, number, room, copy, closed)
                self._running.add(future)
                future.add_done_callback(self._running.discard)
                waiting.append((request, future))
                if len(waiting) >= self._count + ahead:
                    if not waiting[0][1].done():
                        yield None
                    yield self._next(waiting, room)
            while waiting:
                if not waiting[0][1].done():
                    yield None
                yield self._next(waiting, room)
        finally:
            room.give_up()
            copies.close()
            executor.shutdown(wait=False, cancel_futures=True)
            self._rooms.discard(room)
            self._copies.discard(copies)

    def _when_room(self, request: ClipRequest, number: int, room: _Room, copy: Copy | None, closed: Event) -> Outcome:
        room.wait(number)
        if closed.is_set():
            return VideoFetchError("interrupted")
        outcome = self._outcome(request, copy)
        room.fill(_size(outcome))
        return outcome

    @staticmethod
    def _next(waiting: deque[tuple[ClipRequest, Future[Outcome]]], room: _Room) -> tuple[ClipRequest, Outcome]:
        request, future = waiting[0]
        outcome = future.result()
        waiting.popleft()
        room.free(_size(outcome))
        return request, outcome

    @property
    def workers(self) -> int:
        """Return how many files may be decoded at once."""
        return self._count

    @property
    def processes(self) -> list[int]:
        """Return the process ids of the running decoders."""
        return [worker.pid for worker in self._all if worker.pid is not None]

    def close(self) -> None:
        """End the decoding processes, and interrupt transfers."""
        self._closed.set()
        self._closed = Event()  # later requests get a new event: they are not cancelled
        for worker in self._all:
            worker.close()
        # `decode_all` would end these itself, but a propagating exception's traceback keeps its generator alive.
        for room in list(self._rooms):
            room.give_up()
        for copies in list(self._copies):
            copies.close()
        # The thread that decoded a copy deletes it: wait for that, since the copy would stay if this process ended
        # first.
        wait(list(self._running), timeout=_ENDING_SECONDS)

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _outcome(self, request: ClipRequest, copy: Copy | None = None) -> Outcome:
        try:
            if copy is None:
                return self.decode(request)
            with ExitStack() as stack:
                try:
                    file = stack.enter_context(copy)
                except DependencyError as error:
                    return error  # this kind of address can't be read on this machine, but others may
                return self._decode_copy(request, file)
        except (MachineError, DependencyError):
            raise  # the file is not to blame, and the next one would fail in the same way
        except VideoMAEError as error:
            return error


class _Room:
    """Limits the bytes of decoded results that wait for the caller: above the limit, decoding threads pause."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._taken, self._over = limit, 0, 0, False
        self._changed = Condition()

    def wait(self, number: int) -> None:
        """Wait until there is room for the result of request `number`.

        The request whose result the caller takes next never waits, or nothing would ever make room.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._held < self._limit or number == self._taken)

    def fill(self, size: int) -> None:
        with self._changed:
            self._held += size

    def free(self, size: int) -> None:
        with self._changed:
            self._held -= size
            self._taken += 1
            self._changed.notify_all()

    def give_up(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()


def _size(outcome: Outcome) -> int:
    return outcome.frames.nbytes if isinstance(outcome, DecodedVideo) else 0

"""Assigns decoding processes to files, and decides how many of them, with how much memory, this machine can afford."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import TypeVar

from videomae_cli import system
from videomae_cli.errors import MachineError
from videomae_cli.video.worker import WorkerProcess

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Seconds to wait before each new try, while the machine has no free file descriptor or process.
_PAUSES = (0.5, 2.0)
# Each process takes two pipes, two more while it starts; the rest of the program needs descriptors for its files.
_DESCRIPTORS_EACH, _DESCRIPTORS_LEFT = 2, 16
# The fraction of free memory that decoders may take together; and the least that a process with OpenCV and torch needs.
_MEMORY_FRACTION, _LEAST_BYTES = 0.75, 2**30


@dataclass(frozen=True)
class Allowance:
    """Bytes of memory that a decoding process may take: `each` if several run, or `alone` if only one does.

    reserve: bytes of this machine's memory that a process must leave free, unless it takes no more than any decoder.
    """

    each: int
    alone: int
    reserve: int = 0

    @classmethod
    def of_machine(cls, workers: int) -> Allowance:
        """Return the memory that this machine can spare at the moment for this number of processes."""
        spare = int(_MEMORY_FRACTION * system.free_memory())
        return cls(max(_LEAST_BYTES, spare // workers), max(_LEAST_BYTES, spare))


def affordable(workers: int) -> int:
    """Return for how many of `workers` processes there are enough file descriptors, at least one.

    Raises this process's own limit first, as far as the system lets it.
    """
    lacking = system.raise_open_files(_DESCRIPTORS_LEFT + workers * _DESCRIPTORS_EACH)
    return max(1, workers - -(-lacking // _DESCRIPTORS_EACH))


def patiently(call: Callable[[], Answer]) -> Answer:
    """Call a function, retrying up to twice if the machine lacks a resource. Raises what the last try raises."""
    for pause in _PAUSES:
        try:
            return call()
        except MachineError as error:
            log.info("%s; again in %g s", error, pause)
            time.sleep(pause)
    return call()


class Workforce:
    """Lends decoding processes to threads: any idle one, or one while all others are stopped."""

    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        self._idle, self._count = list(workers), len(workers)
        self._dismissed: set[WorkerProcess] = set()
        self._claimed = False
        self._changed = Condition()

    @contextmanager
    def one(self) -> Iterator[WorkerProcess]:
        """Lend a process as soon as one is idle, for as long as the block runs."""
        with self._changed:
            self._changed.wait_for(lambda: self._idle and not self._claimed)
            # Prefer a process that has been started already.
            worker = next((idle for idle in self._idle if idle.pid is not None), self._idle[0])
            self._idle.remove(worker)
        try:
            yield worker
        finally:
            self._give_back(worker)

    def dismiss(self, worker: WorkerProcess) -> bool:
        """Mark a lent process to be ended rather than reused; return False for the last one, which is kept."""
        with self._changed:
            if self._count - len(self._dismissed) == 1:
                return False
            self._dismissed.add(worker)
            return True

    @contextmanager
    def alone(self) -> Iterator[WorkerProcess]:
        """Lend a process that runs alone: wait until all are idle, and end the others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._claimed)
            self._claimed = True
            self._changed.wait_for(lambda: len(self._idle) == self._count - len(self._dismissed))
            for worker in self._idle:
                worker.close()
            worker = self._idle.pop()
        try:
            yield worker
        finally:
            self._claimed = False
            self._give_back(worker)

    def _give_back(self, worker: WorkerProcess) -> None:
        with self._changed:
            if worker in self._dismissed:
                worker.close()
            else:
                self._idle.append(worker)
            self._changed.notify_all()

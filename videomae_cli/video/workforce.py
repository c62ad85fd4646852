"""Which decoding process does the next file, how many of them this machine can afford, and what memory they may take."""

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

# Seconds that a machine without a free descriptor or process gets to find one.
_PAUSES = (0.5, 2.0)
# Two pipes to each process, two more while it starts; and what the rest of the program needs for its files.
_DESCRIPTORS_EACH, _DESCRIPTORS_LEFT = 2, 16
# Of the memory that is free, what decoders may take; and what a process with OpenCV and torch in it can't do without.
_SHARE, _LEAST_BYTES = 0.75, 2**30


@dataclass(frozen=True)
class Allowance:
    """Bytes of memory that a decoding process may take: each of several, and one that has the machine for itself."""

    each: int
    alone: int

    @classmethod
    def of_machine(cls, workers: int) -> Allowance:
        """What this machine can spare now, for so many processes."""
        spare = int(_SHARE * system.free_memory())
        return cls(max(_LEAST_BYTES, spare // workers), max(_LEAST_BYTES, spare))


def affordable(workers: int) -> int:
    """How many of `workers` processes this process has file descriptors for, at least one.

    Raises its own limit first, as far as the system lets it.
    """
    lacking = system.raise_open_files(_DESCRIPTORS_LEFT + workers * _DESCRIPTORS_EACH)
    return max(1, workers - -(-lacking // _DESCRIPTORS_EACH))


def patiently(call: Callable[[], Answer]) -> Answer:
    """What `call` answers, tried again twice while the machine lacks something for it. Raises what the last try raises."""
    for pause in _PAUSES:
        try:
            return call()
        except MachineError as error:
            log.info("%s; again in %g s", error, pause)
            time.sleep(pause)
    return call()


class Workforce:
    """Lends decoding processes to threads: any one of them, or one while none of the others runs."""

    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        self._idle, self._count = list(workers), len(workers)
        self._dismissed: set[WorkerProcess] = set()
        self._claimed = False
        self._changed = Condition()

    @contextmanager
    def one(self) -> Iterator[WorkerProcess]:
        """A process that nobody uses, as soon as there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._idle and not self._claimed)
            # One that runs already, where there is such a one.
            worker = next((idle for idle in self._idle if idle.pid is not None), self._idle[0])
            self._idle.remove(worker)
        try:
            yield worker
        finally:
            self._give_back(worker)

    def dismiss(self, worker: WorkerProcess) -> bool:
        """Do without a process that is lent, from now on; False for the last one, which stays."""
        with self._changed:
            if self._count - len(self._dismissed) == 1:
                return False
            self._dismissed.add(worker)
            return True

    @contextmanager
    def alone(self) -> Iterator[WorkerProcess]:
        """A process with nothing beside it: those that work are waited for, and all are ended."""
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

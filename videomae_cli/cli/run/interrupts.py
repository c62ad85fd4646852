"""Interrupts a job, even while it waits, on SIGTERM (raised as an exception like Ctrl-C) or when a periodic check fails."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from videomae_cli import system
from videomae_cli.errors import VideoMAEError


class Terminated(KeyboardInterrupt):
    """Raised for SIGTERM, which schedulers send to end a job."""


def terminable() -> AbstractContextManager[None]:
    """Raise Terminated for SIGTERM inside the block, so that results are kept and decoding processes end."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    return handling(system.terminating_signals(), stop)


@contextmanager
def handling(signals: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals with a function inside the block. Does nothing outside the main thread, where Python forbids it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def looked_after(check: Callable[[], None], *, seconds: float) -> Iterator[None]:
    """Call `check` every `seconds` while the block runs, and raise its VideoMAEError in the block even while that waits.

    Use it inside `terminable`, whose signal wakes the main thread; in other threads nothing is checked.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found: list[VideoMAEError] = []

    def look() -> None:
        try:
            if not found:
                check()
        except VideoMAEError as error:
            found.append(error)
            system.wake_main_thread()

    try:
        with system.every(seconds, look):
            yield
    except Terminated:
        if not found:
            raise
        raise found[0] from None

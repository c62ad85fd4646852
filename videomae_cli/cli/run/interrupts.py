"""Interrupts a job even while it waits: by SIGTERM, raised as an exception like Ctrl-C, or by a failed periodic check."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from videomae_cli import system
from videomae_cli.errors import VideoMAEError


class Terminated(KeyboardInterrupt):
    """Raised for SIGTERM, which schedulers send to end a job."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated for SIGTERM inside the block, so that results are kept and decoding processes end."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in system.terminating_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def looked_after(check: Callable[[], None], *, seconds: float) -> Iterator[None]:
    """Call `check` every `seconds` while the block runs, and raise its VideoMAEError in the block even while that waits.

    Use it inside `terminable`, whose signal wakes the main thread; in other threads nothing is checked.
    """
    main, ended = threading.main_thread(), threading.Event()
    if threading.current_thread() is not main or main.ident is None:
        yield
        return
    found: list[VideoMAEError] = []

    def look() -> None:
        while not found and not ended.wait(seconds):
            try:
                check()
            except VideoMAEError as error:
                found.append(error)
                system.wake_main_thread()

    thread = threading.Thread(target=look, name="looking after the job", daemon=True)
    thread.start()
    try:
        try:
            yield
        finally:
            ended.set()
            thread.join()
    except Terminated:
        if not found:
            raise
        raise found[0] from None

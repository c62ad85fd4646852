"""SIGTERM as an exception, beside Ctrl-C's: a scheduler's way to end a job loses no work either."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM: as a cluster's scheduler ends a job."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM as an exception, so that what is done is kept and the decoding processes are ended."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

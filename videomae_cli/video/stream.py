"""Delivers the blocks of one file, decoded ahead in another process, and recovers if that process is killed."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from videomae_cli.errors import DecoderKilledError
from videomae_cli.video.blocks import FrameBlock, PassHead, PassRequest, close_pass, next_block, open_pass
from videomae_cli.video.fetching import fetch, is_elsewhere, speaking_of
from videomae_cli.video.worker import WorkerProcess
from videomae_cli.video.workforce import patiently

# Number of blocks that may wait for the caller, besides the one being decoded.
AHEAD = 1
# Opening a file means reading all its packets: even the slowest disk should deliver this many bytes per second.
_OPEN_BYTES_A_SECOND = 10e6
_POLL_SECONDS = 0.1


class BlockStream:
    """Iterates over one file's blocks, in order. A context manager; iterate once. Of an object in storage a copy is fetched first.

    Raises a VideoError if the file can't be opened, and during iteration if decoding fails; blocks before that are
    valid. If the decoder is killed from outside, it gets another try from the first frame, because the file is not to
    blame.
    """

    def __init__(
        self,
        request: PassRequest,
        worker: WorkerProcess | None,
        *,
        timeout: float | None,
        memory: int | None,
        reserve: int = 0,
        done: Callable[[], None],
    ) -> None:
        self._request, self._worker, self._done = request, worker, done
        self._timeout, self._memory, self._reserve = timeout, memory, reserve
        self._killed = False
        self._subject = os.fspath(request.path)
        self._copy: Path | None = None
        self._kept = ExitStack()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._ready: queue.Queue[FrameBlock | BaseException] = queue.Queue(AHEAD)
        try:
            if is_elsewhere(self._subject):
                self._copy = self._kept.enter_context(fetch(self._subject, stopped=self._over.is_set))
                self._request = replace(request, path=self._copy)
            self.head = self._open()
        except BaseException:
            self._kept.close()
            done()
            raise

    def __enter__(self) -> BlockStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[FrameBlock]:
        if self._worker is None:
            last = False
            while not last:
                block = self._call(next_block, self.head.token, None)
                last = block.last
                yield block
            return
        self._thread = threading.Thread(target=self._run_ahead, name="blocks", daemon=True)
        self._thread.start()
        while True:
            item = self._ready.get()
            if isinstance(item, BaseException) or item.last:
                self._thread.join()  # it has sent its last item, and is about to end
            if isinstance(item, BaseException):
                raise item
            yield item
            if item.last:
                return

    def close(self) -> None:
        """Return the decoder. If a block is still being decoded, its process is ended."""
        if self._over.is_set():
            return
        self._over.set()
        if self._worker is None:
            close_pass(self.head.token)
        elif self._thread is not None and self._thread.is_alive():
            self._worker.close()
            self._thread.join()
        self._kept.close()
        self._done()

    def _open(self) -> PassHead:
        try:
            head: PassHead = patiently(lambda: self._call(open_pass, self._request, self._opening_seconds()))
        except DecoderKilledError:
            if self._killed:
                raise
            self._killed = True
            return self._open()
        return head

    def _next(self) -> FrameBlock:
        try:
            block: FrameBlock = self._call(next_block, self.head.token, self._timeout)
        except DecoderKilledError:
            if self._killed or self._over.is_set():
                raise
            self._killed = True
            self.head = self._open()
            return replace(self._next(), restarted=True)
        return block

    def _run_ahead(self) -> None:
        last = False
        while not last and not self._over.is_set():
            item: FrameBlock | BaseException
            try:
                item = self._next()
            except BaseException as error:
                item = error
            last = isinstance(item, BaseException) or item.last
            while not self._over.is_set():
                try:
                    self._ready.put(item, timeout=_POLL_SECONDS)
                    break
                except queue.Full:
                    continue

    def _call(self, function: Callable[[Any], Any], argument: object, timeout: float | None) -> Any:
        with self._speaking():
            if self._worker is None:
                return function(argument)
            memory, reserve = self._memory, self._reserve
            return self._worker.call(
                function, argument, timeout=timeout, subject=self._subject, memory=memory, reserve=reserve
            )

    def _speaking(self) -> AbstractContextManager[None]:
        """Make errors about a local copy name the original address instead."""
        return nullcontext() if self._copy is None else speaking_of(self._subject, self._copy)

    def _opening_seconds(self) -> float | None:
        if self._timeout is None:
            return None
        try:
            size = (self._copy or Path(self._subject)).stat().st_size
        except OSError:
            return self._timeout
        return self._timeout + size / _OPEN_BYTES_A_SECOND

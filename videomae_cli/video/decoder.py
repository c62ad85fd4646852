"""Many files -> their clips, decoded ahead of the caller in processes that may hang or crash without harm."""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from videomae_cli.errors import OptionError, VideoMAEError
from videomae_cli.video.clips import ClipRequest, DecodedVideo, decode_clips
from videomae_cli.video.native import set_debug
from videomae_cli.video.worker import WorkerProcess

__all__ = ["ClipRequest", "DecodedVideo", "Decoder", "decode_clips"]

Outcome = DecodedVideo | VideoMAEError


class Decoder:
    """Decodes files in `workers` processes; each is reused from file to file and replaced when a file breaks it.

    timeout: seconds a file may take, None for no limit; isolate: False decodes in this process, without time limit;
    debug: let ffmpeg and OpenCV write to stderr.
    """

    def __init__(
        self, *, timeout: float | None = 120.0, isolate: bool = True, workers: int = 1, debug: bool = False
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise OptionError(f"timeout must be more than 0 seconds, not {timeout:g}")
        if workers < 1:
            raise OptionError(f"workers must be at least 1, not {workers}")
        self._timeout, self._isolate, self._count = timeout, isolate, workers
        self._all = [WorkerProcess(debug=debug) for _ in range(workers if isolate else 0)]
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)
        if not isolate and debug:
            set_debug(True)

    def start(self) -> None:
        """Start the processes now, while the caller does something else, such as loading a model; optional."""
        for worker in self._all:
            worker.start(warm=True)

    def decode(self, request: ClipRequest) -> DecodedVideo:
        """Decode one file. Raises a VideoError, or a DependencyError if nothing can be decoded at all."""
        if not self._isolate:
            return decode_clips(request)
        worker = self._idle.get()
        try:
            subject = os.fspath(request.path)
            result = worker.call(decode_clips, request, timeout=self._timeout, subject=subject)
        finally:
            self._idle.put(worker)
        assert isinstance(result, DecodedVideo)
        return result

    def decode_all(self, requests: Iterable[ClipRequest]) -> Iterator[tuple[ClipRequest, Outcome]]:
        """Each request with its clips or its error, in order. While the caller works on one file, the next are decoded:
        one more than there are workers, no further, so that memory stays flat."""
        if not self._isolate:
            for request in requests:
                yield request, self._outcome(request)
            return
        waiting: deque[tuple[ClipRequest, Future[Outcome]]] = deque()
        executor = ThreadPoolExecutor(self._count, thread_name_prefix="decoder")
        try:
            for request in requests:
                waiting.append((request, executor.submit(self._outcome, request)))
                if len(waiting) > self._count:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the processes."""
        for worker in self._all:
            worker.close()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _outcome(self, request: ClipRequest) -> Outcome:
        try:
            return self.decode(request)
        except VideoMAEError as error:
            return error

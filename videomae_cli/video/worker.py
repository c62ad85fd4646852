"""The process that decodes, and the pipe to it. A decoder that hangs or crashes takes this process along, nothing else.

A fresh interpreter rather than a fork: ffmpeg's threads don't survive a fork, and nothing of the caller's main module
runs twice. Messages are a pickle and its large arrays behind it, so that pixels are copied once.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from videomae_cli.errors import DecoderCrashError, DecodeTimeoutError, DependencyError, VideoError, VideoMAEError

_LENGTH = struct.Struct("<Q")
# The program that decodes. The tests have one that need not import torch first.
INTERPRETER = sys.executable
# Importing torch on a loaded machine is slow; this only ends what would never start.
_START_SECONDS = 120.0
_BOOT = "import sys; sys.path[:] = {path!r}; from videomae_cli.video.worker import serve; serve({debug!r}, {warm!r}, {threads!r})"


class WorkerProcess:
    """One decoding process, started when first needed and again after it had to be killed. For one thread at a time.

    threads: that it decodes a file with at most; None for as many as are good for a file that is alone.
    """

    def __init__(self, *, debug: bool = False, threads: int | None = None) -> None:
        self._debug, self._threads = debug, threads
        self._process: subprocess.Popen[bytes] | None = None
        self._expired = False

    def start(self, *, warm: bool = False) -> None:
        """Begin to start the process; `call` waits until it is there. warm: let it load what decoding needs."""
        if self._process is not None:
            return
        path = [entry or str(Path.cwd()) for entry in sys.path]
        package_home = str(Path(__file__).resolve().parents[2])
        boot = _BOOT.format(path=[package_home, *path], debug=self._debug, warm=warm, threads=self._threads)
        try:
            self._process = subprocess.Popen(
                [INTERPRETER, "-c", boot],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._debug else subprocess.DEVNULL,
                # One frame is resized at a time; several workers must not fight over the cores.
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            raise DependencyError(f"can't start a decoding process: {error.strerror}") from None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """The number of the process, where one runs."""
        return self._process.pid if self._process is not None else None

    def call(self, function: Any, argument: Any, *, timeout: float | None, subject: str) -> Any:
        """`function(argument)` in the process. subject: the file, for messages.

        Raises what the function raises, DecodeTimeoutError after `timeout` seconds, DecoderCrashError if the process
        dies; in both cases the next call starts a new one.
        """
        if self._process is not None and self._process.poll() is not None:
            # It died between two files; neither is to blame.
            self.close()
        self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            if not self._ready:
                self._await(process, _START_SECONDS)
                self._ready = True
            _send(process.stdin, (function, argument))
            answer = self._await(process, timeout)
        except (EOFError, OSError):
            raise self._bury(process, timeout, subject) from None
        except BaseException:
            # Interrupted half way: what comes next on the pipe belongs to nobody.
            self.close()
            raise
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        # Unsent bytes for a process that is gone.
                        continue

    def _await(self, process: subprocess.Popen[bytes], timeout: float | None) -> Any:
        assert process.stdout is not None
        self._expired = False
        timer = None if timeout is None else threading.Timer(timeout, self._expire, (process,))
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            return _receive(process.stdout)
        finally:
            if timer is not None:
                timer.cancel()

    def _expire(self, process: subprocess.Popen[bytes]) -> None:
        self._expired = True
        process.kill()

    def _bury(self, process: subprocess.Popen[bytes], timeout: float | None, subject: str) -> VideoMAEError:
        started, expired = self._ready, self._expired
        code = process.wait()
        self.close()
        if not started:
            return DependencyError(f"the decoding process does not start (exit code {code}); --debug shows why")
        if expired:
            return DecodeTimeoutError(f"decoding {subject!r} took longer than {timeout:g} s and was stopped")
        return DecoderCrashError(f"the decoder died on {subject!r} ({_cause(code)})")


def serve(debug: bool, warm: bool, threads: int | None) -> None:
    """The process's main loop: call after call from stdin, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # A library that prints must not write into the pipe.
    os.dup2(2, 1)
    from videomae_cli.video.native import set_debug

    set_debug(debug)
    if threads is not None:
        from videomae_cli.video.captures import limit_threads

        limit_threads(threads)
    inbox: list[Any] = []
    arrived = threading.Semaphore(0)

    def listen() -> None:
        # Also notices that the caller is gone while a decoder hangs.
        while True:
            try:
                inbox.append(_receive(requests))
            except (EOFError, OSError):
                os._exit(0)
            arrived.release()

    _send(replies, "ready")
    threading.Thread(target=listen, daemon=True).start()
    if warm:
        _load_everything()
    while True:
        arrived.acquire()
        function, argument = inbox.pop(0)
        _send(replies, _run(function, argument))


def _load_everything() -> None:
    """Import what the first file would have to wait for. What fails here fails again, and is reported, with a file."""
    from videomae_cli.video.native import load_av, load_cv2

    with contextlib.suppress(VideoMAEError, ImportError):
        load_av()
        load_cv2()
        import torch  # noqa: F401


def _run(function: Any, argument: Any) -> Any:
    try:
        return function(argument)
    except VideoMAEError as error:
        return error
    except MemoryError:
        return VideoError("not enough memory to decode the file")
    except Exception as error:
        return DecoderCrashError(f"the decoder failed: {type(error).__name__}: {' '.join(str(error).split())}")


def _send(pipe: IO[bytes], message: Any) -> None:
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts: list[bytes | memoryview] = [body, *(buffer.raw() for buffer in buffers)]
    pipe.write(_LENGTH.pack(len(buffers)))
    for part in parts:
        pipe.write(_LENGTH.pack(len(part)))
        pipe.write(part)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    count = _LENGTH.unpack(_read(pipe, _LENGTH.size))[0]
    body = _read(pipe, _LENGTH.unpack(_read(pipe, _LENGTH.size))[0])
    buffers = [_read(pipe, _LENGTH.unpack(_read(pipe, _LENGTH.size))[0]) for _ in range(count)]
    return pickle.loads(body, buffers=buffers)


def _read(pipe: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        got = pipe.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        done += got
    return data


def _cause(code: int) -> str:
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"

"""Runs the decoding process, and the pipe to it. A decoder that hangs or crashes affects only that process.

It is a fresh interpreter rather than a fork: ffmpeg's threads don't survive a fork, and nothing of the caller's main
module runs twice. A message is a pickle followed by its large arrays, so that pixels are copied only once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from videomae_cli import system
from videomae_cli.errors import (
    DecoderCrashError,
    DecoderKilledError,
    DecoderMemoryError,
    DecodeTimeoutError,
    MachineError,
    VideoError,
    VideoMAEError,
    Vocabulary,
    Wording,
    speak,
    vocabulary,
)
from videomae_cli.visible import byte_size

_LENGTH = struct.Struct("<Q")
# The program that decodes; tests replace it.
INTERPRETER = sys.executable
# Importing OpenCV on a loaded machine is slow; this limit only ends a process that would never start.
_START_SECONDS = 300.0
_BOOT = "import sys; sys.path[:] = {path!r}; from videomae_cli.video.worker import serve; serve({debug!r}, {threads!r}, {words!r})"
# Seconds between memory checks. A decoder may fill memory at about 2 GB/s, so it exceeds its limit by at most 100 MB.
_POLL_SECONDS = 0.05
# What a decoder with its libraries takes for ordinary videos: below that it is not to blame for what a machine lacks.
_ORDINARY_BYTES = 512 * 2**20
# Error numbers for resources of the machine that have run out, and what helps.
_REMEDIES = {
    errno.EMFILE: "ulimit -n allows more",
    errno.ENFILE: "other programs have too many open",
    errno.EAGAIN: "ulimit -u allows more processes",
    errno.ENOMEM: "other programs take the memory",
    errno.ENOSPC: "TMPDIR names another folder",
}
# How OpenCV, PyTorch and C++ report that memory was refused; Python and PyAV raise a MemoryError.
_OUT_OF_MEMORY = ("Insufficient memory", "can't allocate memory", "not enough memory", "bad_alloc")


class WorkerProcess:
    """One decoding process, started when first needed, and restarted after it was killed. For one thread at a time.

    threads: how many it may use to decode a file; None for as many as suit a file that is decoded alone.
    """

    def __init__(self, *, debug: bool = False, threads: int | None = None) -> None:
        self._debug, self._threads = debug, threads
        # taken from the creator, because another thread, with another vocabulary, may start the process
        self._words = vocabulary()
        self._process: subprocess.Popen[bytes] | None = None
        # The pid of the process that decodes, once it is ready: it may differ from that of a launcher in between, as in
        # Windows' venvs.
        self._decoder: int | None = None

    def start(self) -> None:
        """Start the process without waiting for it to load its modules; `call` waits for that. Raises MachineError."""
        if self._process is not None:
            return
        path = [entry or str(Path.cwd()) for entry in sys.path]
        package_home = str(Path(__file__).resolve().parents[2])
        boot = _BOOT.format(
            path=[package_home, *path], debug=self._debug, threads=self._threads, words=dict(self._words)
        )
        try:
            self._process = subprocess.Popen(
                [INTERPRETER, "-c", boot],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._debug else subprocess.DEVNULL,
                # One frame is resized at a time, with one thread, so that workers don't compete for the cores.
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            raise MachineError(f"can't start a decoding process: {_lacking(error)}") from None
        self._decoder = None

    @property
    def pid(self) -> int | None:
        """Return the id of the process, None while none runs."""
        return self._process.pid if self._process is not None else None

    def call(
        self,
        function: Any,
        argument: Any,
        *,
        timeout: float | None,
        subject: str,
        memory: int | None = None,
        reserve: int = 0,
    ) -> Any:
        """Run `function(argument)` in the process and return its result.

        subject: the file, for messages; memory: bytes that the process may take; reserve: bytes of the machine's memory
        that it must leave free. The time limit applies to the function alone: it starts when the process has loaded its
        modules.

        Raises what the function raises, DecodeTimeoutError after `timeout` seconds, DecoderMemoryError if it takes
        more memory, DecoderCrashError if the process dies, MachineError if it does not even start; in all these cases
        the next call starts a new one.
        """
        if self._process is not None and self._process.poll() is not None:
            # It died between two files, so neither file is to blame.
            self.close()
        self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        watch = _Watch(process, timeout=_START_SECONDS)
        try:
            if self._decoder is None:
                with watch:
                    self._decoder = self._receive(process)
            watch = _Watch(process, timeout=timeout, memory=memory, reserve=reserve, decoder=self._decoder)
            with watch:
                _send(process.stdin, (function, argument))
                answer = self._receive(process)
        except (EOFError, OSError):
            raise self._bury(process, watch, subject) from None
        except BaseException:
            # Interrupted half way: the answer would still arrive through the pipe, and be taken for that of the next
            # call.
            self.close()
            raise
        if isinstance(answer, BaseException):
            if isinstance(answer, VideoError):
                answer.subject = answer.subject or subject
            raise answer
        return answer

    def close(self) -> None:
        """Kill the process and close its pipes."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        # unsent bytes for a process that has ended are useless
                        continue

    @staticmethod
    def _receive(process: subprocess.Popen[bytes]) -> Any:
        assert process.stdout is not None
        return _receive(process.stdout)

    def _bury(self, process: subprocess.Popen[bytes], watch: _Watch, subject: str) -> VideoMAEError:
        """Clean up after a dead process, and return the error that says why it died."""
        started = self._decoder is not None
        code = process.wait()
        self.close()
        if not started:
            return MachineError(
                f"the decoding process does not start (exit code {code})",
                remedy=Wording("{@debug_log} shows why"),
                joined="; ",
            )
        if watch.verdict == "time":
            return DecodeTimeoutError.about(
                subject, "decoding {subject!r} took longer than {timeout:g} s and was stopped", timeout=watch.timeout
            )
        if watch.verdict == "memory":
            assert watch.memory is not None
            return DecoderMemoryError.about(
                subject, "decoding {subject!r} takes more than the {size} it may have", size=byte_size(watch.memory)
            )
        if system.was_killed(code):
            return DecoderKilledError.about(
                subject,
                "the decoder was killed on {subject!r} ({exit_cause}), not by this program",
                exit_cause=system.exit_cause(code),
            )
        return DecoderCrashError.about(
            subject, "the decoder died on {subject!r} ({exit_cause})", exit_cause=system.exit_cause(code)
        )


class _Watch:
    """Kills a process that takes too long or too much memory while the block runs; `verdict` says which it was.

    reserve: bytes of the machine's memory that must stay free; decoder: the id of the process whose memory is watched,
    if there is a limit. `memory` becomes what a process took that left too little free.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        timeout: float | None,
        memory: int | None = None,
        reserve: int = 0,
        decoder: int | None = None,
    ) -> None:
        self._process, self.timeout, self.memory, self._decoder = process, timeout, memory, decoder or process.pid
        self._reserve = reserve
        self.verdict: str | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        if self.timeout is not None or self.memory is not None:
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return self._kill("time")
            if self.memory is not None and self._is_too_large(self.memory):
                return self._kill("memory")
            if self._over.wait(left if self.memory is None else min(_POLL_SECONDS, left or _POLL_SECONDS)):
                return None

    def _is_too_large(self, memory: int) -> bool:
        taken = system.memory_of(self._decoder)
        if _ORDINARY_BYTES < taken <= memory and self._reserve and system.free_memory() < self._reserve:
            self.memory = taken
            return True
        return taken > memory

    def _kill(self, verdict: str) -> None:
        if not self._over.is_set():
            self.verdict = verdict
            self._process.kill()


def serve(debug: bool, threads: int | None, words: Vocabulary) -> None:
    """Run the main loop of the decoding process: answer calls from stdin, one after the other, until it is closed.

    words: the caller's spelling of settings in messages.
    """
    speak(words)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    system.be_first_killed()
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Libraries that print must not write into the pipe, which is the original stdout: redirect stdout to stderr.
    os.dup2(2, 1)
    from videomae_cli.video.native import set_debug

    set_debug(debug)
    if threads is not None:
        from videomae_cli.video.captures import limit_threads

        limit_threads(threads)
    inbox: list[Any] = []
    arrived = threading.Semaphore(0)

    def listen() -> None:
        # Reading in a thread also notices that the caller is gone while this process loads, or while a decoder hangs.
        while True:
            try:
                inbox.append(_receive(requests))
            except (EOFError, OSError):
                os._exit(0)
            arrived.release()

    threading.Thread(target=listen, daemon=True).start()
    _load_everything()
    _send(replies, os.getpid())  # ready
    while True:
        arrived.acquire()
        function, argument = inbox.pop(0)
        _send(replies, _run(function, argument))


def _load_everything() -> None:
    """Import everything now, so that the first file need not wait.

    An error here will occur again with a file, and is reported then.
    """
    from videomae_cli.video.native import load_av, load_cv2

    with contextlib.suppress(VideoMAEError, ImportError):
        load_av()
        load_cv2()
        import videomae_cli.video.blocks
        import videomae_cli.video.live_windows  # noqa: F401


def _run(function: Any, argument: Any) -> Any:
    try:
        return function(argument)
    except VideoError as error:
        # A decoder without free file descriptors calls every file "not a video": check for that first.
        return _starved() or error
    except VideoMAEError as error:
        return error
    except MemoryError:
        return DecoderMemoryError("the system refused the decoder more memory")
    except Exception as error:
        reason = " ".join(str(error).split())
        if any(words in reason for words in _OUT_OF_MEMORY):
            return DecoderMemoryError("the system refused the decoder more memory")
        if isinstance(error, OSError) and error.errno in _REMEDIES:
            return MachineError(f"the decoder lacks something of this machine: {_lacking(error)}")
        return _starved() or DecoderCrashError(f"the decoder failed: {type(error).__name__}: {reason}")


def _starved() -> MachineError | None:
    """Return an error if this process can't even open a harmless file; None if it can."""
    try:
        for descriptor in [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]:
            os.close(descriptor)
    except OSError as error:
        return MachineError(f"the decoder can't open any file: {_lacking(error)}")
    return None


def _lacking(error: OSError) -> str:
    """Word which resource has run out according to the system, and what to do."""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{error.strerror or error}" + (f" ({remedy})" if remedy else "")


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

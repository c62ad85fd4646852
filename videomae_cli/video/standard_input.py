"""Saves a video that arrives on standard input to a temporary file, until the program ends.

Decoders seek in a file, and run in processes of their own; a pipe allows neither. Results and errors call the video
`-`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

from videomae_cli import system
from videomae_cli.content import Content
from videomae_cli.errors import NotAVideoError, OptionError, VideoFetchError
from videomae_cli.video.discovery import FoundVideo
from videomae_cli.visible import byte_size

NAME = "-"
CHUNK_BYTES = 2**20
# Bytes to leave free on the disk of temporary files.
SPARE_BYTES = 256 * 2**20
# More than two hours at the highest rate of any video disc; VIDEOMAE_STDIN_BYTES changes it.
LIMIT_BYTES = 64 * 2**30

_copies: list[Path] = []
_caught_signals: list[int] = []


def kept_copy(path: str) -> Path | None:
    """Return the file with the video from standard input, if `path` is `-` and a video came."""
    return _copies[-1] if path == NAME and _copies else None


def keep(head: bytes, stream: BinaryIO, content: Content) -> FoundVideo:
    """Save the video that begins with `head` and continues in `stream` to a temporary file.

    If it can't be saved, that becomes the error of this one video. Raises OptionError if standard input was given
    twice.
    """
    if _copies:
        raise OptionError.about("-", "- was given twice: standard input can be read once")
    if content.family != "video":
        return FoundVideo(
            NAME, NotAVideoError.about("-", "standard input holds {words}, not a video", words=content.words)
        )
    folder = tempfile.gettempdir()
    try:
        limit = _limit(folder)
        descriptor, name = tempfile.mkstemp(prefix="videomae-", suffix=content.suffix, dir=folder)
        _copies.append(Path(name))
        _discard_at_the_end()
        with open(descriptor, "wb") as sink:  # noqa: PTH123 - a descriptor, not a path
            _copy(head, stream, sink, limit)
    except _TooLargeError as error:
        discard(os.getpid())
        return FoundVideo(NAME, VideoFetchError(str(error), subject="-"))
    except OSError as error:
        discard(os.getpid())
        reason = error.strerror or str(error)
        words = f"can't keep the video of standard input in {folder}: {reason}; TMPDIR names another folder"
        return FoundVideo(NAME, VideoFetchError(words, subject="-"))
    except BaseException:
        discard(os.getpid())
        raise
    return FoundVideo(NAME)


def discard(process: int) -> None:
    """Delete the file, but only in the process that made it: forked children leave it alone."""
    if process != os.getpid():
        return
    while _copies:
        with contextlib.suppress(OSError):
            _copies.pop().unlink(missing_ok=True)
    while _caught_signals:
        with contextlib.suppress(ValueError):  # signal handlers can be set only in the main thread
            signal.signal(_caught_signals.pop(), signal.SIG_DFL)


def _discard_at_the_end() -> None:
    """Delete the file however the program ends, by exit or by a signal that can be caught."""
    atexit.register(discard, os.getpid())
    if threading.current_thread() is not threading.main_thread():
        return
    for number in system.closing_signals():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
            _caught_signals.append(number)


class _TooLargeError(Exception):
    """More data arrives on standard input than may be saved."""


def _limit(folder: str) -> int:
    asked = os.environ.get("VIDEOMAE_STDIN_BYTES", "")
    most = int(asked) if asked.isascii() and asked.isdigit() else LIMIT_BYTES
    return max(0, min(most, shutil.disk_usage(folder).free - SPARE_BYTES))


def _copy(head: bytes, stream: BinaryIO, sink: BinaryIO, limit: int) -> None:
    descriptor = _descriptor_of(stream)
    chunk, size = head, 0
    while chunk:
        size += len(chunk)
        if size > limit:
            raise _TooLargeError(
                f"the video of standard input is larger than {byte_size(limit)}, which is the limit "
                "(VIDEOMAE_STDIN_BYTES) or what is free for temporary files: save it to a file and give that"
            )
        sink.write(chunk)
        if descriptor is not None:
            system.await_input(descriptor)
        # Read what is available, since more may take long; standard input is buffered, whatever its type says.
        chunk = stream.read1(CHUNK_BYTES)  # type: ignore[attr-defined]


def _descriptor_of(stream: BinaryIO) -> int | None:
    try:
        return stream.fileno()
    except OSError:  # a stream in memory has no descriptor
        return None

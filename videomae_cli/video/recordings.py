"""Finds out whether recordings behind http(s) can be read where they are, and copies those that can't."""

from __future__ import annotations

import base64
import http.client
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videomae_cli.errors import MachineError, VideoFetchError, VideoMAEError
from videomae_cli.visible import byte_size

# Larger lengths are not those of recordings: endless camera streams announce such numbers.
MOST_BYTES = 10**12
_CHUNK_BYTES = 2**20


class UnseekableError(VideoMAEError, kind="unseekable"):
    """Raised if a recording can't be streamed: its index follows its pictures, and the server only sends whole files."""


@dataclass(frozen=True)
class Remote:
    """A server's information on a file: size in bytes (None if unknown), and whether it serves parts of files."""

    size: int | None
    ranges: bool


def look(address: str, timeout: float | None) -> Remote | None:
    """Ask the server at an http(s) address about its file; None if it gives no useful answer."""
    try:
        with _opened(address, timeout, {"Range": "bytes=0-0"}) as answer:
            _, _, whole = answer.headers.get("Content-Range", "").rpartition("/")
            ranges = answer.status == 206
            size = whole if ranges else answer.headers.get("Content-Length", "")
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return Remote(int(size) if size.isascii() and size.isdecimal() else None, ranges)


@contextmanager
def copied(
    address: str, timeout: float | None, *, on_progress: Callable[[int, int], None] = lambda done, size: None
) -> Iterator[Path]:
    """Copy a recording into the folder for temporary files (TMPDIR), for as long as the block runs.

    timeout: seconds to wait without receiving data. Raises VideoFetchError, or MachineError if there is no room.
    """
    with tempfile.TemporaryDirectory(prefix="videomae-") as folder:
        copy = Path(folder) / "recording"
        try:
            with _opened(address, timeout, {}) as answer:
                size = int(answer.headers.get("Content-Length") or 0)
                _check_room(size, folder)
                _save(answer, copy, size, on_progress)
        except urllib.error.HTTPError as error:
            raise VideoFetchError(f"the server answers {error.code} {error.reason}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
            raise VideoFetchError(" ".join(reason.split())) from None
        yield copy


def _check_room(size: int, folder: str) -> None:
    free = shutil.disk_usage(folder).free
    if not 0 < size <= MOST_BYTES:
        raise VideoFetchError("the server does not say how long it is")
    if size > free:
        raise MachineError.about(
            tempfile.gettempdir(),
            "the recording has to be copied and has {size}, but {subject} has room for {free} "
            "(TMPDIR names another folder)",
            size=byte_size(size),
            free=byte_size(free),
        )


def _save(answer: Any, copy: Path, size: int, on_progress: Callable[[int, int], None]) -> None:
    """Write what a server sends, never more than it announced. Raises VideoFetchError if it sends less."""
    done = 0
    with copy.open("wb") as sink:
        while done < size and (part := answer.read(min(_CHUNK_BYTES, size - done))):
            sink.write(part)
            done += len(part)
            on_progress(done, size)
    if done < size:
        raise VideoFetchError(f"it is cut off: {done:,} of {size:,} bytes came")


def _opened(address: str, timeout: float | None, headers: dict[str, str]) -> Any:
    """Send a GET request and return the answer. A name and password in the address become an Authorization header."""
    parts = urllib.parse.urlsplit(address)
    login, _, place = parts.netloc.rpartition("@")
    if login:
        coded = base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode()
        headers = {**headers, "Authorization": f"Basic {coded}"}
    # As browsers do: spaces and letters beyond ASCII are escaped, existing escapes are left alone.
    path = urllib.parse.quote(parts.path, safe="/%:=&?~#+!$,;'@()*[]")
    query = urllib.parse.quote(parts.query, safe="/%:=&?~#+!$,;'@()*[]")
    request = urllib.request.Request(urllib.parse.urlunsplit((parts.scheme, place, path, query, "")), headers=headers)
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    return opener.open(request, timeout=timeout)


# The handlers for ftp:, file: and data: are left out, so that no redirection can lead there.
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)

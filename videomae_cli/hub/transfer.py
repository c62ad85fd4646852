"""One file from the hub into the cache: resumed where it was cut, checked before anything can load it.

huggingface_hub's own download can't go on in a second run (2.x throws away what it has) and puts a file in place
unchecked. So its request machinery is used (addresses, headers, tokens, proxies, `http_get`, locks), but the bytes go to
`blobs/DIGEST.incomplete`, which outlives an interruption, and become `blobs/DIGEST` only when size and hash are right.
"""

from __future__ import annotations

import io
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from videomae_cli import filesystem
from videomae_cli.errors import DownloadError
from videomae_cli.files import lock, put_in_place
from videomae_cli.hub import cache
from videomae_cli.hub.download_failures import is_network, is_passing, no_hub
from videomae_cli.hub.records import FileFacts, damage

log = logging.getLogger(__name__)

RETRY_WAITS = (1.0, 3.0, 9.0)
"""Seconds before each new try of a request that a busy hub refused."""
TRY_SECONDS = 10.0
"""Seconds that a hub may be silent after a question."""
QUESTION_SECONDS = 30.0
"""Seconds in which a question must be answered, all tries together."""
SILENT_SECONDS = 60.0
"""Seconds for which nothing of a file may come, all tries together."""
TOLD_SECONDS = 10.0
"""Seconds of silence after which the user hears of it."""
_POLL_SECONDS = 0.2
_CHUNK = 1 << 20
_SAFE_NAME = re.compile(r"[\w.-]*\w[\w.-]*")
_Answer = TypeVar("_Answer")


class DownloadListener:
    """Told what a download does. This one is silent; the command line's draws it. fetched: files that were fetched."""

    fetched: int = 0

    def asking(self, hub_id: str) -> None:
        """The hub is asked about a model, which may take a while."""

    def note(self, text: str) -> None:
        """Receive a line that a user should read."""

    def progress(self, file: str, done: int, total: int | None) -> None:
        """`done` of `total` bytes of a file are on this disk."""


def fetch_file(hub_id: str, commit: str, facts: FileFacts, listener: DownloadListener, *, deep: bool = False) -> None:
    """Bring one file of a commit into the cache, unless it is there (deep: and its hash is right).

    Raises DownloadError, and what huggingface_hub raises.
    """
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import get_hf_file_metadata

    folder = cache.model_folder(hub_id)
    pointer = folder / "snapshots" / commit / facts.name
    if damage(pointer, facts, deep=deep) is None:
        return
    url = hf_hub_url(hub_id, facts.name, revision=commit)
    found = patiently(lambda: get_hf_file_metadata(url, timeout=TRY_SECONDS))
    if not found.etag or not _SAFE_NAME.fullmatch(found.etag):
        raise no_hub(f"no tag for {facts.name}")
    facts = FileFacts(facts.name, facts.size if facts.size is not None else found.size, facts.digest)
    blob = folder / "blobs" / found.etag
    with _lock(folder, found.etag):
        if damage(blob, facts, deep=deep) is not None:
            # Only now, with nobody else writing it: what is in place but wrong makes room.
            for wrong in (blob, pointer):
                wrong.unlink(missing_ok=True)
            _receive(url, found.location, blob, facts, hub_id, listener)
            listener.fetched += 1
    hf_hub_download(hub_id, facts.name, revision=commit)  # it is there: this only links it into the snapshot


def patiently(ask: Callable[[], _Answer]) -> _Answer:
    """Ask the hub; again, a few times, where it is busy or slow, and for `QUESTION_SECONDS` at most."""
    deadline = time.monotonic() + QUESTION_SECONDS
    for pause in RETRY_WAITS:
        try:
            return _within(ask, deadline)
        except Exception as error:
            if not is_passing(error) or time.monotonic() + pause > deadline:
                raise
            log.debug("asking again in %g s: %s", pause, error)
            time.sleep(pause)
    return _within(ask, deadline)


def _within(ask: Callable[[], _Answer], deadline: float) -> _Answer:
    """Return the answer if it comes before the deadline. Raises TimeoutError otherwise.

    Asked in a thread: a look-up of a name has no time limit, and a server that sends a byte now and then is never silent.
    """
    answer: Future[_Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="hub", daemon=True).start()
    try:
        return answer.result(max(0.1, deadline - time.monotonic()))
    except FutureTimeoutError:
        if answer.done():
            raise  # of the question itself
        raise TimeoutError(f"no answer in {QUESTION_SECONDS:g} s") from None


@contextmanager
def huggingface_hub_quiet() -> Iterator[None]:
    """No bars and no warnings by huggingface_hub itself, and pieces small enough to see and to keep progress."""
    from huggingface_hub import constants

    utils = _hub_utils()
    bars, verbosity = not utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    chunk = constants.DOWNLOAD_CHUNK_SIZE
    if bars:
        utils.disable_progress_bars()
    if not log.isEnabledFor(logging.DEBUG):
        utils.logging.set_verbosity_error()
    constants.DOWNLOAD_CHUNK_SIZE = min(chunk, _CHUNK)
    try:
        yield
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = chunk
        utils.logging.set_verbosity(verbosity)
        if bars:
            utils.enable_progress_bars()


class _Sink(io.FileIO):
    """A partial file that is filled up to the size that was announced, and tells how long it has become.

    grown: when something was last written, on the monotonic clock; given_up: nobody wants any more of it.
    """

    def __init__(self, path: Path, size: int | None, on_progress: Callable[[int], None]) -> None:
        super().__init__(path, "ab")
        self._size, self._on_progress = size, on_progress
        self.grown, self.given_up = time.monotonic(), False

    def write(self, data: Any) -> int:
        if self.given_up:
            raise DownloadError("given up")
        if self._size is not None and self.tell() + len(data) > self._size:
            raise _TooLongError
        rest = memoryview(data)
        while rest:  # a raw file may take less than it is given: the next call then says why
            rest = rest[super().write(rest) :]
        self.grown = time.monotonic()
        self._on_progress(self.tell())
        return len(data)


class _TooLongError(DownloadError):
    """More bytes came than the hub had announced."""


def _receive(url: str, location: str, blob: Path, facts: FileFacts, hub_id: str, listener: DownloadListener) -> None:
    blob.parent.mkdir(parents=True, exist_ok=True)
    partial = blob.with_name(f"{blob.name}.incomplete")
    wrong: str | None = None
    for _ in range(2):  # bytes may be wrong because what an earlier run left was: once more, from nothing
        try:
            _transfer(url, location, partial, facts, listener)
            wrong = damage(partial, facts, deep=True)
        except _TooLongError:
            wrong = f"is longer than the {facts.size:,} bytes announced"
        if wrong is None:
            put_in_place(partial, blob)
            return
        log.debug("%s %s", facts.name, wrong)
        partial.unlink(missing_ok=True)
    raise DownloadError(
        f"{facts.name} of {hub_id} {wrong}: what arrived was thrown away; run the command again, or check the proxy"
    )


def _transfer(url: str, location: str, partial: Path, facts: FileFacts, listener: DownloadListener) -> None:
    """Fill the partial file up, going on after every cut that left some progress, in any version of huggingface_hub.

    A transfer that is cut for good leaves the file for the next run.
    """
    if facts.size is not None and _length(partial) > facts.size:
        partial.unlink()
    fruitless = 0
    while fruitless < 2:  # huggingface_hub has tried several times in each
        before = _length(partial)
        try:
            _get_patiently(url, location, partial, facts, listener)
            return
        except Exception as error:
            if getattr(error, "response", None) is not None:
                raise
            if not is_network(error):
                if isinstance(error, OSError) and error.errno is None:
                    return  # http_get says the size is wrong; the caller looks for itself
                raise
            log.debug("%s was cut at %d bytes: %s", facts.name, _length(partial), error)
            fruitless = 0 if _length(partial) > before else fruitless + 1
            time.sleep(RETRY_WAITS[0])
    raise DownloadError(
        f"the connection broke at {_length(partial) / 1e6:.1f} of {(facts.size or 0) / 1e6:.1f} MB of {facts.name}: run "
        "the command again, it goes on from there"
    )


def _length(path: Path) -> int:
    return path.stat().st_size if filesystem.is_there(path) else 0


def _get_patiently(url: str, location: str, partial: Path, facts: FileFacts, listener: DownloadListener) -> None:
    """`_get`, again where the hub is busy. A hub that is slow is seen to by `_get` and by huggingface_hub."""
    for pause in RETRY_WAITS:
        try:
            return _get(url, location, partial, facts, listener)
        except Exception as error:
            if getattr(error, "response", None) is None or not is_passing(error):
                raise
            log.debug("asking again in %g s: %s", pause, error)
            time.sleep(pause)
    return _get(url, location, partial, facts, listener)


def _get(url: str, location: str, partial: Path, facts: FileFacts, listener: DownloadListener) -> None:
    from huggingface_hub.file_download import http_get

    headers = _hub_utils().build_hf_headers()
    if urlsplit(url).netloc != urlsplit(location).netloc:
        headers.pop("authorization", None)  # a storage host has its own signature, and no business with the token
    with _Sink(partial, facts.size, lambda done: listener.progress(facts.name, done, facts.size)) as file:
        done = file.tell()
        listener.progress(facts.name, done, facts.size)
        # In a thread, so that Ctrl-C and silence are noticed while it waits for the network.
        going: Future[None] = Future()

        def run() -> None:
            try:
                sink = cast(BinaryIO, file)
                http_get(location, sink, resume_size=done, headers=headers, expected_size=facts.size)
                going.set_result(None)
            except BaseException as error:
                going.set_exception(error)

        threading.Thread(target=run, name="hub", daemon=True).start()
        try:
            _await_growth(going, file, facts, listener)
        finally:
            file.given_up = True


def _await_growth(going: Future[None], file: _Sink, facts: FileFacts, listener: DownloadListener) -> None:
    """Wait for a transfer for as long as something comes. Raises what it raises, DownloadError after `SILENT_SECONDS`."""
    told = False
    while not going.done():
        wait([going], timeout=_POLL_SECONDS)
        silent = time.monotonic() - file.grown
        if silent > SILENT_SECONDS and not going.done():
            raise DownloadError(
                f"nothing of {facts.name} has come for {SILENT_SECONDS:g} s ({_megabytes(file.tell(), facts)}): run the "
                "command again later, it goes on from there"
            )
        if silent > TOLD_SECONDS and not told:
            listener.note(f"{facts.name}: nothing has come for {TOLD_SECONDS:g} s, still waiting")
        told = silent > TOLD_SECONDS
    going.result()


def _megabytes(done: int, facts: FileFacts) -> str:
    return f"{done / 1e6:.1f} of {(facts.size or 0) / 1e6:.1f} MB are here"


@contextmanager
def _lock(folder: Path, etag: str) -> Iterator[None]:
    """The lock that huggingface_hub takes for the same file: two downloads of it wait for each other."""
    path = folder.parent / ".locks" / folder.name / f"{etag}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path, wait=-1, mode=0o664):  # as huggingface_hub makes it: a cache may be a group's
        yield


def _hub_utils() -> Any:
    """huggingface_hub.utils: public, but re-exported in a way that type checkers can't follow."""
    return import_module("huggingface_hub.utils")

"""Downloads one file from the hub into the cache, resuming interrupted transfers and verifying it before use.

huggingface_hub's own download can't resume in a second run (2.x discards the partial file) and publishes files
unverified. So its request machinery is used (URLs, headers, tokens, proxies, `http_get`, locks), but the bytes go to
`blobs/DIGEST.incomplete`, which outlives an interruption, and become `blobs/DIGEST` only when size and hash are right.
"""

from __future__ import annotations

import io
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from videomae_cli import filesystem
from videomae_cli.errors import DownloadError
from videomae_cli.files import lock, put_in_place
from videomae_cli.hub import cache
from videomae_cli.hub.download_failures import SilentError, is_network, is_timeout, is_transient, no_hub
from videomae_cli.hub.records import FileFacts, damage
from videomae_cli.visible import byte_size

log = logging.getLogger(__name__)

RETRY_WAITS = (1.0, 3.0, 9.0)
"""Seconds to wait before each retry of a request that a busy hub refused."""
TRY_SECONDS = 10.0
"""Time-out in seconds of a single metadata request."""
QUESTION_SECONDS = 30.0
"""Time limit in seconds of a metadata request, retries included."""
FIRST_SECONDS = 3.0
"""Seconds that the hub has for its first answer, unless HF_HUB_ETAG_TIMEOUT is set. Without a network, a name server,
firewall or proxy may never answer, and the user should know that within five seconds of pressing Enter.
"""
SILENT_SECONDS = 60.0
"""Seconds without any new bytes, retries included, after which a file's transfer fails."""
NOTICE_SECONDS = 10.0
"""Seconds without any new bytes after which the user is notified."""
_POLL_SECONDS = 0.2
_CHUNK = 1 << 20
_SAFE_NAME = re.compile(r"[\w.-]*\w[\w.-]*")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class PlannedDownload:
    """A download that is about to begin: the model, its size in bytes (None if unknown), and its licence.

    here: bytes that an interrupted download has left on this disk; licence: None if the hub states none.
    """

    hub_id: str
    size: int | None
    here: int
    licence: str | None


class DownloadListener:
    """Receives a download's progress. This base ignores it; the command line shows it. fetched: number of files fetched."""

    fetched: int = 0

    def asking(self, hub_id: str) -> None:
        """Called before the hub is asked about a model, which may take a while."""

    def fetching(self, download: PlannedDownload) -> None:
        """Called before the first byte of a model is fetched; raising an error here prevents the download."""

    def note(self, text: str) -> None:
        """Called with a line that the user should read."""

    def progress(self, file: str, done: int, total: int | None) -> None:
        """Called when `done` of `total` bytes of a file have been written."""


def fetch_file(hub_id: str, commit: str, facts: FileFacts, listener: DownloadListener, *, deep: bool = False) -> None:
    """Download one file of a commit into the cache unless it is there already (deep: with the right hash).

    Raises DownloadError, and what huggingface_hub raises.
    """
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import get_hf_file_metadata

    folder = cache.model_folder(hub_id)
    pointer = folder / "snapshots" / commit / facts.name
    if damage(pointer, facts, deep=deep) is None:
        return
    url = hf_hub_url(hub_id, facts.name, revision=commit)
    found = with_retries(lambda: get_hf_file_metadata(url, timeout=TRY_SECONDS))
    if not found.etag or not _SAFE_NAME.fullmatch(found.etag):
        raise no_hub(hub_id, f"no tag for {facts.name}")
    facts = FileFacts(facts.name, facts.size if facts.size is not None else found.size, facts.digest)
    blob = folder / "blobs" / found.etag
    with _lock(folder, found.etag):
        if damage(blob, facts, deep=deep) is not None:
            # Damaged files are removed only now that the lock keeps other processes from writing them.
            for wrong in (blob, pointer):
                wrong.unlink(missing_ok=True)
            _receive(url, found.location, blob, facts, hub_id, listener)
            listener.fetched += 1
    hf_hub_download(hub_id, facts.name, revision=commit)  # the blob exists: this only links it into the snapshot


def first_answer(ask: Callable[[float], _Answer]) -> _Answer:
    """Send the first request to the hub, with a time limit: retried if the hub is busy, but not if it is silent."""
    from huggingface_hub import constants

    # HF_HUB_ETAG_TIMEOUT sets the limit, as in huggingface_hub, whose own default is much longer.
    seconds = float(constants.HF_HUB_ETAG_TIMEOUT) if os.environ.get("HF_HUB_ETAG_TIMEOUT") else FIRST_SECONDS

    def once() -> _Answer:
        try:
            return _within(lambda: ask(seconds), seconds)
        except Exception as error:
            if is_timeout(error):
                raise SilentError(f"no answer in {seconds:g} s") from error
            raise

    return with_retries(once)


def with_retries(ask: Callable[[], _Answer]) -> _Answer:
    """Send a request to the hub, retrying while it is busy or slow, for `QUESTION_SECONDS` at most."""
    deadline = time.monotonic() + QUESTION_SECONDS
    return _retried(
        lambda: _within(ask, max(0.1, deadline - time.monotonic())),
        again=lambda error, pause: is_transient(error) and time.monotonic() + pause <= deadline,
    )


def _retried(call: Callable[[], _Answer], *, again: Callable[[Exception, float], bool]) -> _Answer:
    """Call a function, and again after each of the `RETRY_WAITS` unless `again` refuses, given the error and the wait."""
    for pause in RETRY_WAITS:
        try:
            return call()
        except Exception as error:
            if not again(error, pause):
                raise
            log.debug("asking again in %g s: %s", pause, error)
            time.sleep(pause)
    return call()


def _within(ask: Callable[[], _Answer], seconds: float) -> _Answer:
    """Return the answer if it arrives within so many seconds, else raise TimeoutError.

    Runs in a thread, because DNS look-ups have no time-out and a server that trickles bytes never triggers the
    socket's.
    """
    answer = _in_thread(ask)
    try:
        return answer.result(seconds)
    except FutureTimeoutError:
        if answer.done():
            raise  # the request itself raised it
        raise TimeoutError(f"no answer in {QUESTION_SECONDS:g} s") from None


def _in_thread(work: Callable[[], _Answer]) -> Future[_Answer]:
    """Begin some work in a thread that ends with the program at the latest."""
    going: Future[_Answer] = Future()

    def run() -> None:
        try:
            going.set_result(work())
        except BaseException as error:
            going.set_exception(error)

    threading.Thread(target=run, name="hub", daemon=True).start()
    return going


@contextmanager
def huggingface_hub_quiet() -> Iterator[None]:
    """Silence huggingface_hub's progress bars and warnings, and use chunks small enough to show and keep progress."""
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
    """A partial file that reports its growing length and refuses bytes beyond the announced size.

    grown: monotonic time of the last write; given_up: makes further writes fail, so that the transfer's thread ends.
    """

    def __init__(self, path: Path, size: int | None, on_progress: Callable[[int], None]) -> None:
        super().__init__(path, "ab")
        self._size, self._on_progress = size, on_progress
        self.grown, self.given_up = time.monotonic(), False

    def write(self, data: Any) -> int:
        if self.given_up:
            raise DownloadError.about(self.name, "given up")
        if self._size is not None and self.tell() + len(data) > self._size:
            raise _TooLongError
        rest = memoryview(data)
        while rest:  # a raw file may write only a part; if that was an error, the next call raises it
            rest = rest[super().write(rest) :]
        self.grown = time.monotonic()
        self._on_progress(self.tell())
        return len(data)


class _TooLongError(DownloadError):
    """The server sent more bytes than the hub had announced."""


def _receive(url: str, location: str, blob: Path, facts: FileFacts, hub_id: str, listener: DownloadListener) -> None:
    blob.parent.mkdir(parents=True, exist_ok=True)
    partial = blob.with_name(f"{blob.name}.incomplete")
    wrong: str | None = None
    for _ in range(2):  # an earlier run's partial file may be damaged: start over once without it
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
    reason = "{name} of {subject} {wrong}: what arrived was thrown away; run the command again, or check the proxy"
    raise DownloadError.about(hub_id, reason, name=facts.name, wrong=wrong)


def _transfer(url: str, location: str, partial: Path, facts: FileFacts, listener: DownloadListener) -> None:
    """Complete the partial file, resuming after every interruption that made some progress.

    Works with any version of huggingface_hub. If the transfer fails for good, the file is left for the next run.
    """
    if facts.size is not None and _length(partial) > facts.size:
        partial.unlink()
    fruitless = 0
    while fruitless < 2:  # each round already includes several tries by huggingface_hub
        before = _length(partial)
        try:
            # Retry only if the hub is too busy to answer: `_get` and huggingface_hub handle network failures.
            return _retried(
                lambda: _get(url, location, partial, facts, listener),
                again=lambda error, _: getattr(error, "response", None) is not None and is_transient(error),
            )
        except Exception as error:
            if getattr(error, "response", None) is not None:
                raise
            if not is_network(error):
                if isinstance(error, OSError) and error.errno is None:
                    return  # http_get raises OSError for a wrong size, which the caller checks itself
                raise
            log.debug("%s was cut at %d bytes: %s", facts.name, _length(partial), error)
            fruitless = 0 if _length(partial) > before else fruitless + 1
            time.sleep(RETRY_WAITS[0])
    reason = "the connection broke at {here} of {subject}: run the command again, and it continues from there"
    raise DownloadError.about(facts.name, reason, here=_here(_length(partial), facts))


def _length(path: Path) -> int:
    return path.stat().st_size if filesystem.is_there(path) else 0


def _get(url: str, location: str, partial: Path, facts: FileFacts, listener: DownloadListener) -> None:
    from huggingface_hub.file_download import http_get

    headers = _hub_utils().build_hf_headers()
    if urlsplit(url).netloc != urlsplit(location).netloc:
        headers.pop("authorization", None)  # a storage host's URL is signed, and it must not see the token
    with _Sink(partial, facts.size, lambda done: listener.progress(facts.name, done, facts.size)) as file:
        done = file.tell()
        listener.progress(facts.name, done, facts.size)
        sink = cast(BinaryIO, file)
        # In a thread, so that Ctrl-C and stalls are noticed while it waits for the network.
        going = _in_thread(
            lambda: http_get(location, sink, resume_size=done, headers=headers, expected_size=facts.size)
        )
        try:
            _await_growth(going, file, facts, listener)
        finally:
            file.given_up = True


def _await_growth(going: Future[None], file: _Sink, facts: FileFacts, listener: DownloadListener) -> None:
    """Wait for a transfer, raising its error, or DownloadError after `SILENT_SECONDS` without any new bytes."""
    notified = False
    while not going.done():
        wait([going], timeout=_POLL_SECONDS)
        silent = time.monotonic() - file.grown
        if silent > SILENT_SECONDS and not going.done():
            raise DownloadError.about(
                facts.name,
                "nothing of {subject} has come for {silent_seconds:g} s ({here} are here): run the command again "
                "later, and it continues from there",
                silent_seconds=SILENT_SECONDS,
                here=_here(file.tell(), facts),
            )
        if silent > NOTICE_SECONDS and not notified:
            listener.note(f"{facts.name}: nothing has come for {NOTICE_SECONDS:g} s, still waiting")
        notified = silent > NOTICE_SECONDS
    going.result()


def _here(done: int, facts: FileFacts) -> str:
    """Format how much of a file has been downloaded: "1.0 MB of 3.5 MB"."""
    return byte_size(done) if facts.size is None else f"{byte_size(done)} of {byte_size(facts.size)}"


@contextmanager
def _lock(folder: Path, etag: str) -> Iterator[None]:
    """Hold the lock that huggingface_hub uses for the same file, so that two downloads of it wait for each other."""
    path = folder.parent / ".locks" / folder.name / f"{etag}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path, wait=-1, mode=0o664):  # huggingface_hub's mode: a cache may be shared by a group
        yield


def _hub_utils() -> Any:
    """Import huggingface_hub.utils dynamically: it is public, but type checkers can't follow its re-exports."""
    return import_module("huggingface_hub.utils")

"""Copies videos from object storage to this disk ahead of the decoder, and deletes the copies after decoding.

A video that came on standard input, which is on this disk already, is treated in the same way. The copy is decoded, but
results and errors name the address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Condition, Lock
from types import TracebackType

from videomae_cli.errors import MachineError, StorageError, VideoError, VideoFetchError
from videomae_cli.storage import is_address, local_copy
from videomae_cli.video.discovery import video_error
from videomae_cli.video.standard_input import kept_copy

# More transfers than decoders, because transfers of small files spend most of their time waiting for answers.
_MORE_TRANSFERS = 2
_ENDING_SECONDS = 5.0


def is_elsewhere(path: str) -> bool:
    """Return whether the decoder reads a copy instead of `path` itself: for object storage and standard input."""
    return is_address(path) or kept_copy(path) is not None


@contextmanager
def fetch(address: str, *, stopped: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Provide a local copy of a video for the duration of the block (see `storage.local_copy`).

    Raises VideoNotFoundError, VideoFetchError, MachineError or DependencyError.
    """
    kept = kept_copy(address)
    if kept is not None:
        yield kept
        return
    with ExitStack() as stack:
        try:
            copy = stack.enter_context(local_copy(address, stopped=stopped))
        except StorageError as error:
            raise video_error(error) from None
        yield copy


@contextmanager
def speaking_of(address: str, copy: Path) -> Iterator[None]:
    """Make errors that are raised in the block name the address instead of the copy."""
    try:
        yield
    except VideoError as error:
        error.rename(str(copy), address)
        raise


class Copies:
    """Fetches copies ahead of decoding, in the order in which they were requested.

    At any time the disk holds at most one copy per decoder and per transfer.
    """

    def __init__(self, workers: int, *, stopped: Callable[[], bool]) -> None:
        self._transfers = workers + _MORE_TRANSFERS
        self._most = workers + self._transfers
        self._stopped, self._over = stopped, False
        self._asked, self._used = 0, 0
        self._changed = Condition()
        self._pool: ThreadPoolExecutor | None = None
        self._outstanding: set[Copy] = set()

    def bring(self, address: str) -> Copy:
        """Queue the transfer of one object; it starts when earlier copies have made room."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._transfers, thread_name_prefix="fetch")
        copy = Copy(self, address)
        copy.coming = self._pool.submit(self._bring, copy, self._asked)
        self._asked += 1
        self._outstanding.add(copy)
        return copy

    def _bring(self, copy: Copy, number: int) -> Path:
        with self._changed:
            # Compare the request's number rather than count copies, so that the next one to be decoded never waits for
            # later ones.
            self._changed.wait_for(lambda: self.over or number < self._used + self._most)
        try:
            return copy.fetch()
        except MachineError:
            # The disk has no room for so many: from now on fetch one at a time, and fetch those that came too early
            # again.
            with self._changed:
                self._most = 1
                self._changed.wait_for(lambda: self.over or number <= self._used)
                others = list(self._outstanding - {copy})
            for other in others:
                other.put_off()
            return copy.fetch()

    def done_with(self, copy: Copy) -> None:
        """Note that a copy has been decoded, which makes room for another."""
        with self._changed:
            self._outstanding.discard(copy)
            self._used += 1
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether no more copies are needed."""
        return self._over or self._stopped()

    def close(self) -> None:
        """Interrupt the transfers under way, and delete the copies that nobody has taken."""
        if self._pool is None:
            return
        with self._changed:
            self._over = True
            self._changed.notify_all()
            left = list(self._outstanding)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for copy in left:
            if not copy.taken:
                copy.coming.add_done_callback(copy.discard)
        # Transfers stop at their next chunk. Wait for that: if this process ended earlier, their files would stay.
        wait([copy.coming for copy in left], timeout=_ENDING_SECONDS)
        for copy in left:
            if not copy.taken and copy.coming.done():
                copy.discard(copy.coming)


class Copy:
    """A copy that is being fetched: a context manager that waits for it, and deletes it at the end."""

    coming: Future[Path]

    def __init__(self, owner: Copies, address: str) -> None:
        self._owner, self._address = owner, address
        self.stack = ExitStack()
        self.taken = self._late = False
        self._ending = Lock()  # both the decoding thread and the one that closes `Copies` may call this

    def __enter__(self) -> Path:
        """Wait for the copy and return its path. Raises what `fetch` raises."""
        try:
            file = self.coming.result()
            if self._owner.over:
                raise VideoFetchError("interrupted")
            with self._ending:
                if self._late:
                    file = self.fetch()
                self.taken = True
        except BaseException:
            self._end()
            raise
        return file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def fetch(self) -> Path:
        """Fetch the copy now, in this thread. Raises what `fetch` raises."""
        return self.stack.enter_context(fetch(self._address, stopped=lambda: self._owner.over))

    def put_off(self) -> None:
        """Delete the copy if it is not in use yet; entering it fetches it again."""
        with self._ending:
            if self.coming.done() and not self.taken and self.coming.exception() is None:
                self.stack.close()
                self._late = True

    def discard(self, _: Future[Path]) -> None:
        """Delete the copy if it was fetched but never used."""
        with self._ending:
            self.stack.close()

    def _end(self) -> None:
        with self._ending:
            self.stack.close()
        self._owner.done_with(self)

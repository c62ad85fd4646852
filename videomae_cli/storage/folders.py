"""An output folder on a disk or in object storage, to which many machines write the parts of a job."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem, storage
from videomae_cli.errors import OutputError, OutputUnavailableError, StorageError, StorageUnavailableError
from videomae_cli.files import linked, replacing, scratch_folder

_TRIES = 5
# Files of a server that are read or removed at a time: what takes is waiting for its answers.
_AT_ONCE = 16
# Temporary names of files that are being written, on a disk and in object storage.
_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{8,}\.part", re.DOTALL)


@dataclass(frozen=True)
class Folder:
    """An output folder. location: a path or an address such as s3://bucket/out. File names may include subfolders.

    Holds no open connections, so it can be pickled and sent to other processes. All methods raise OutputError, or
    DependencyError if a package is missing.
    """

    location: str

    @property
    def remote(self) -> bool:
        """Whether the folder is in object storage."""
        return storage.is_address(self.location) and not self.location.startswith("file://")

    def make(self) -> None:
        """Create the folder if it is missing, which also finds out early whether it is writable."""
        with self._reported("make"):
            if self.remote:
                storage.make_folder(self.location)
            else:
                self._root.mkdir(parents=True, exist_ok=True)

    def names(self, subfolder: str = "") -> list[str]:
        """List the files directly in the folder or in a subfolder, sorted; empty if it is missing.

        Hidden files, such as those being written, are left out.
        """
        return [name for name in self._all_names(subfolder) if not name.startswith(".")]

    def _all_names(self, subfolder: str) -> list[str]:
        with self._reported("list", subfolder):
            if self.remote:
                return storage.names_in(self._address(subfolder))
            folder = self._file(subfolder)
            entries = list(folder.iterdir()) if filesystem.is_folder(folder) else []
            return sorted(entry.name for entry in entries if entry.is_file())

    def ages(self, subfolder: str, *, beside: str | None = None) -> dict[str, float | None]:
        """Return how many seconds ago each file in a subfolder was written; None for those whose storage doesn't say.

        beside: a file that was written just now, whose time is the present by the storage's clock; else it is the latest
        file's.
        """
        with self._reported("list", subfolder):
            if self.remote:
                times = storage.times_in(self._address(subfolder))
            else:
                times = {name: self._written(f"{subfolder}/{name}") for name in self._all_names(subfolder)}
        known = [time for time in times.values() if time is not None]
        now = times.get(beside) if beside is not None else max(known, default=None)
        return {
            name: None if time is None or now is None else now - time
            for name, time in sorted(times.items())
            if not name.startswith(".")
        }

    def _written(self, name: str) -> float | None:
        try:
            return self._file(name).stat().st_mtime
        except FileNotFoundError:  # gone by now
            return None

    def exists(self, name: str) -> bool:
        """Return whether the folder has a file of this name."""
        with self._reported("look for", name):
            return storage.look(self._address(name)) == "file" if self.remote else filesystem.is_file(self._file(name))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file that appears as `name`, replacing an old one, only if the block succeeds.

        For object storage it is a local temporary file until then.
        """
        if not self.remote:
            with self._reported("write", name), ExitStack() as stack:
                yield self._begin(name, stack)
            return
        with self._reported("write", name), scratch_folder() as folder:
            copy = folder / "copy"
            with copy.open("wb") as sink:
                yield sink
            storage.put(copy, self._address(name))

    def _begin(self, name: str, stack: ExitStack) -> BinaryIO:
        file = self._file(name)
        for left in reversed(range(_TRIES)):
            try:
                if file.parent != self._root:
                    # The folder itself was made by `make`. Where it is missing a share is not mounted, and what was written
                    # below its mount point would never be seen again.
                    file.parent.mkdir(exist_ok=True)
                return stack.enter_context(replacing(linked(file)))
            except (FileNotFoundError, FileExistsError):  # another run may `leave` the subfolder between the steps
                if not left:
                    raise
        raise AssertionError

    def read(self, name: str) -> bytes:
        """Return the whole content of a file."""
        with self._reported("read", name):
            return storage.read_bytes(self._address(name)) if self.remote else self._file(name).read_bytes()

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Yield the path of the file, or of a local copy that is deleted afterwards."""
        with ExitStack() as stack:
            # Only errors of the copying are converted, not what the caller's block raises.
            with self._reported("read", name):
                if self.remote:
                    file = stack.enter_context(storage.local_copy(self._address(name)))
                else:
                    file = self._file(name)
                    file.stat()
            yield file

    def copies(self, names: Iterable[str]) -> Iterator[Path]:
        """Yield what `local` does for each of several files, until the next one; from a server, some are fetched ahead."""
        if not self.remote:
            for name in names:
                with self.local(name) as file:
                    yield file
            return
        rest, coming = iter(names), deque[Future[tuple[Path, ExitStack]]]()
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="videomae-copies") as pool:
            try:
                coming.extend(pool.submit(self._fetched, name) for name in islice(rest, _AT_ONCE))
                while coming:
                    file, stack = coming.popleft().result()
                    with stack:
                        coming.extend(pool.submit(self._fetched, name) for name in islice(rest, 1))
                        yield file
            finally:
                for future in coming:
                    if not future.cancel() and future.exception() is None:
                        future.result()[1].close()

    def _fetched(self, name: str) -> tuple[Path, ExitStack]:
        with ExitStack() as stack:
            file = stack.enter_context(self.local(name))
            return file, stack.pop_all()

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for random access without copying all of it."""
        with self._reported("read", name):
            stream = storage.opened(self._address(name)) if self.remote else self._file(name).open("rb")
        with stream:
            yield stream

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, replacing what has it."""
        with self._reported("rename", name):
            if self.remote:
                storage.move(self._address(name), self._address(new))
            else:
                self._file(name).replace(self._file(new))

    def remove(self, name: str) -> None:
        """Remove a file; a missing one is not an error."""
        with self._reported("remove", name):
            if self.remote:
                storage.delete(self._address(name))
            else:
                self._file(name).unlink(missing_ok=True)

    def remove_all(self, names: Iterable[str]) -> None:
        """Remove files; missing ones are not an error. A server is asked for several at once."""
        if not self.remote:
            for name in names:
                self.remove(name)
            return
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="videomae-removing") as pool:
            deque(pool.map(self.remove, names), maxlen=0)

    def remove_own(self, own: re.Pattern[str], subfolder: str = "", *, whole: bool = True) -> None:
        """Remove files whose final names match `own`, and then the subfolder if it is empty; other files are not touched.

        whole: False removes only unfinished ones, which still have their temporary names.
        """
        found = []
        for name in self._all_names(subfolder):
            unfinished = _UNFINISHED.fullmatch(name)
            if (unfinished or whole) and own.fullmatch(unfinished[1] if unfinished else name):
                found.append(f"{subfolder}/{name}" if subfolder else name)
        self.remove_all(found)
        if subfolder and self.remote:
            with self._reported("remove", subfolder):
                storage.delete_empty(self._address(subfolder))
        elif subfolder:
            self.leave(subfolder)

    def leave(self, subfolder: str) -> None:
        """Remove a subfolder to which others write too if nothing is in it; on a disk only.

        Object storage can't: it deletes what begins with a name, with the file that another has just written.
        """
        if not self.remote:
            with suppress(OSError):
                self._file(subfolder).rmdir()

    @property
    def _root(self) -> Path:
        if self.location.startswith("file://"):
            return Path("/" + storage.Address.parse(self.location).key)
        return Path(self.location)

    def _file(self, name: str) -> Path:
        return self._root / name

    def _address(self, name: str) -> str:
        return str(storage.Address.parse(self.location).below(name))

    @contextmanager
    def _reported(self, doing: str, name: str = "") -> Iterator[None]:
        shown = self._address(name) if self.remote else str(self._file(name))
        try:
            yield
        except BrokenPipeError:
            raise
        except StorageError as error:
            kind = OutputUnavailableError if isinstance(error, StorageUnavailableError) else OutputError
            raise kind.about(
                shown, "can't {doing}: {error}", doing=doing, error=error
            ) from None  # the message names the address
        except OSError as error:
            # What isn't there is missing on all machines, unless this one doesn't see the folder.
            missing = isinstance(error, FileNotFoundError) and filesystem.is_folder(self._root)
            kind = OutputError if missing else OutputUnavailableError
            raise kind.about(
                shown, "can't {doing} {subject}: {reason}", doing=doing, reason=error.strerror or error
            ) from None

"""A folder for outputs, on a disk or in object storage, for the parts of a job that many machines write."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem, storage
from videomae_cli.errors import OutputError, StorageError
from videomae_cli.files import whole_file

# What a file is called while it is written, on a disk and in object storage.
_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{8,}\.part", re.DOTALL)


@dataclass(frozen=True)
class Folder:
    """location: a path, or an address such as s3://bucket/out. Names may have folders in them ("_partial/x.parquet").

    Nothing is opened before it is used, and nothing is kept open: it can be pickled and sent to other processes. All
    methods raise OutputError, or DependencyError where a package is missing.
    """

    location: str

    @property
    def remote(self) -> bool:
        """Whether it is in object storage."""
        return storage.is_address(self.location) and not self.location.startswith("file://")

    def make(self) -> None:
        """Make it, where it is not there: also to see early that one may write there."""
        with self._reported("make"):
            if self.remote:
                storage.make_folder(self.location)
            else:
                self._root.mkdir(parents=True, exist_ok=True)

    def names(self, subfolder: str = "") -> list[str]:
        """The files directly in it or in a folder of it, sorted; none where that is not there. Hidden ones, such as those
        that are being written, are passed over."""
        return [name for name in self._all_names(subfolder) if not name.startswith(".")]

    def _all_names(self, subfolder: str) -> list[str]:
        with self._reported("list", subfolder):
            if self.remote:
                return storage.names_in(self._address(subfolder))
            folder = self._file(subfolder)
            entries = list(folder.iterdir()) if filesystem.is_folder(folder) else []
            return sorted(entry.name for entry in entries if entry.is_file())

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        with self._reported("look for", name):
            return storage.look(self._address(name)) == "file" if self.remote else filesystem.is_file(self._file(name))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file that appears under `name`, over what was there, when the block ends well, and not at all when it does not.

        In object storage it is a temporary file of this disk until then.
        """
        if not self.remote:
            with self._reported("write", name):
                self._file(name).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._file(name)) as sink:
                yield sink
            return
        # A folder for one file: Windows lets nobody open a temporary file a second time, by its name.
        with self._reported("write", name), tempfile.TemporaryDirectory(prefix="videomae-") as folder:
            copy = Path(folder) / "copy"
            with copy.open("wb") as sink:
                yield sink
            storage.put(copy, self._address(name))

    def read(self, name: str) -> bytes:
        """Return the whole content of a file."""
        with self._reported("read", name):
            return storage.read_bytes(self._address(name)) if self.remote else self._file(name).read_bytes()

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The file itself, or a copy of it on this disk that is deleted afterwards."""
        with ExitStack() as stack:
            # Only what concerns the copy: what the block raises is its own.
            with self._reported("read", name):
                if self.remote:
                    file = stack.enter_context(storage.local_copy(self._address(name)))
                else:
                    file = self._file(name)
                    file.stat()
            yield file

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """A file to read here and there, without a copy of all of it."""
        with self._reported("read", name):
            stream = storage.opened(self._address(name)) if self.remote else self._file(name).open("rb")
        with stream:
            yield stream

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        with self._reported("remove", name):
            if self.remote:
                storage.delete(self._address(name))
            else:
                self._file(name).unlink(missing_ok=True)

    def remove_own(self, own: re.Pattern[str], subfolder: str = "", *, whole: bool = True) -> None:
        """Remove the files whose names `own` matches, or that were to have such a name, and a subfolder that is empty then.
        Everything else stays as it is. whole: False for those alone that were never finished."""
        for name in self._all_names(subfolder):
            unfinished = _UNFINISHED.fullmatch(name)
            if (unfinished or whole) and own.fullmatch(unfinished[1] if unfinished else name):
                self.remove(f"{subfolder}/{name}" if subfolder else name)
        if not subfolder:
            return
        with self._reported("remove", subfolder):
            if self.remote:
                storage.delete_empty(self._address(subfolder))
            else:
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
            raise OutputError(f"can't {doing}: {error}") from None  # it names the address
        except OSError as error:
            raise OutputError(f"can't {doing} {shown}: {error.strerror or error}") from None

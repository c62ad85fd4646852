"""An output folder on a disk or in object storage, to which many machines write the parts of a job."""

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

    def exists(self, name: str) -> bool:
        """Whether the folder has a file of this name."""
        with self._reported("look for", name):
            return storage.look(self._address(name)) == "file" if self.remote else filesystem.is_file(self._file(name))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file that appears as `name`, replacing an old one, only if the block succeeds.

        For object storage it is a local temporary file until then.
        """
        if not self.remote:
            with self._reported("write", name):
                self._file(name).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._file(name)) as sink:
                yield sink
            return
        # A temporary folder, because on Windows an open NamedTemporaryFile can't be opened again by name.
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

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for random access without copying all of it."""
        with self._reported("read", name):
            stream = storage.opened(self._address(name)) if self.remote else self._file(name).open("rb")
        with stream:
            yield stream

    def remove(self, name: str) -> None:
        """Remove a file; a missing one is not an error."""
        with self._reported("remove", name):
            if self.remote:
                storage.delete(self._address(name))
            else:
                self._file(name).unlink(missing_ok=True)

    def remove_own(self, own: re.Pattern[str], subfolder: str = "", *, whole: bool = True) -> None:
        """Remove files whose final names match `own`, and then the subfolder if it is empty; other files are not touched.

        whole: False removes only unfinished ones, which still have their temporary names.
        """
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
            raise OutputError.about(
                shown, "can't {doing}: {error}", doing=doing, error=error
            ) from None  # the message names the address
        except OSError as error:
            raise OutputError.about(
                shown, "can't {doing} {subject}: {reason}", doing=doing, reason=error.strerror or error
            ) from None

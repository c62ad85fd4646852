"""What every machine of a job must have and reach, tried there: the working folder, files of the job, the output."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from videomae_cli import filesystem, storage
from videomae_cli.cluster.models import enter
from videomae_cli.errors import ObjectNotFoundError, OutputError, StorageError, VideoMAEError, Wording
from videomae_cli.jobs import CLUSTER_HEADER
from videomae_cli.storage.folders import Folder

# How many objects of a job are tried if the first can't be read, which may be the fault of that object.
_TRIED = 3


@dataclass(frozen=True)
class Requirements:
    """What a machine needs. home: the folder that relative names start from, empty if there are none; paths: what it must
    see; films: files of the job on a disk, in several folders, of which it must see one; objects: addresses of which it must
    read one; output: the folder that it must write to, None for nowhere."""

    home: str = ""
    paths: tuple[str, ...] = ()
    films: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    output: Folder | None = None

    @classmethod
    def of(cls, names: Iterable[str], home: str, output: Folder, seen: Iterable[str]) -> Requirements:
        """Return what a job on these files needs. seen: paths that are checked besides the first file on a disk.

        The output is tried where it will be, or, if that folder doesn't exist yet, in the folder that it will be made in.
        """
        relative, films, objects = False, dict[str, str](), list[str]()
        for name in names:
            if storage.is_address(name):
                if len(objects) < _TRIED:
                    objects.append(name)
            elif "://" not in name:
                if len(films) < _TRIED:
                    films.setdefault(os.path.dirname(name), name)  # noqa: PTH120 - as the name is written
                relative = relative or not os.path.isabs(name)  # noqa: PTH117 - a name, which may be an address on Windows
        place = output
        if not output.remote:
            folder = Path(output.location)
            while not filesystem.is_folder(folder) and folder != folder.parent:
                folder = folder.parent
            place = Folder(str(folder))
        paths = (*list(films.values())[:1], *seen)
        return cls(home if relative else "", paths, tuple(films.values()), tuple(objects), place)

    def lacking(self) -> str | None:
        """Say what this machine lacks, as the end of a sentence that begins with its name; None if it has everything."""
        if self.home and not filesystem.is_folder(Path(self.home)):
            return _unseen(self.home)
        enter(self.home)
        missing = next((path for path in self.paths if not os.path.lexists(path)), None)
        if missing is not None:
            return _unseen(missing)
        return self.unread() or self._unwritten()

    def unread(self) -> str | None:
        """Read the beginning of a file of the job; say why this machine can't read any, None if it can."""
        said = None
        if self.films and all(map(_is_out_of_reach, self.films)):
            return _unseen(self.films[0])
        for path in self.paths:
            try:
                if filesystem.is_file(Path(path)):
                    with Path(path).open("rb") as file:
                        file.read(1)
            except OSError as error:
                return str(Wording("can't read {path} ({reason})", path=path, reason=error.strerror or error))
        for address in self.objects:
            try:
                storage.read_begin(address)
                return None
            except ObjectNotFoundError:
                return None  # the server was reached, and answered
            except VideoMAEError as error:
                said = said or f"can't read the job's files ({error})"
        return said

    def _unwritten(self) -> str | None:
        """Write a file to the output and remove it; say why this machine can't, None if it can."""
        if self.output is None:
            return None
        # The name of an unfinished file of a job, which whoever finishes the job removes if this process can't.
        name = f".{CLUSTER_HEADER}.{secrets.token_hex(8)}.part"
        try:
            with self.output.writing(name) as sink:
                sink.write(b"videomae was here")
            self.output.remove(name)
        except (OutputError, StorageError) as error:
            return f"can't write the output ({error})"
        return None


def _is_out_of_reach(path: str) -> bool:
    """Return whether a file of the job is missing because this machine doesn't see its folder, such as that of a share which is
    not mounted any more. A folder with something in it is seen: then the file was removed."""
    return not os.path.lexists(path) and not filesystem.names_in(os.path.dirname(path) or ".")  # noqa: PTH120


def _unseen(path: str) -> str:
    return str(
        Wording(
            "does not see {path}: files, and the output, must be on storage that all machines share under one name, or in an "
            "object store (s3://, gs://)",
            path=path,
        )
    )

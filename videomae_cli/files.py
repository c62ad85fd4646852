"""Files that are whole or not there, that last, and that one process at a time has: the only way that files are published.

A temporary name in the same folder, synced, then renamed. A link stays a link, and what is no regular file (/dev/null, a named
pipe) is written as it is. Where a system has no such function (links, locks, syncing of folders), another way is taken.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, BinaryIO

from videomae_cli import filesystem
from videomae_cli.errors import OutputError, Wording
from videomae_cli.filenames import fitting, temporary_prefix

log = logging.getLogger(__name__)

# What the name of a file ends in while it is written.
PART = ".part"
# Windows lets nobody rename or remove a file that is open.
CLOSED_FIRST = os.name == "nt"
# POSIX's locks, which Windows and some other systems have not.
_fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None
# From linux/fcntl.h and linux/fs.h: names are from the working folder on; a rename replaces nothing. From macOS's sys/stdio.h.
_HERE, _NO_REPLACE, _EXCLUSIVE = -100, 1, 4

# What a file system says that has no such function at all.
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_ATTEMPTS = 5
# Windows' words for a file that another program has open, a virus scanner say, and the seconds it gets to close it.
_OPEN_ELSEWHERE, _PAUSES = frozenset({5, 32}), (0.05, 0.2, 0.75)


@contextmanager
def whole_file(output: Path, *, scratch: Path | None = None, through_link: bool = True) -> Iterator[BinaryIO]:
    """A binary file that appears as `output` when the block ends well, and leaves nothing behind when it does not.

    scratch: a folder on the same disk for the temporary file, where a kill may leave it; else beside the output.
    through_link: write the file that a link names; False puts a file in the link's place.
    Raises OutputError: a folder, no rights, a full disk.
    """
    try:
        if filesystem.is_folder(output):
            raise OutputError(f"{output} is a folder: give a file name to write to")
        if is_special(output):
            with output.open("wb") as device:  # a rename would replace it by a file
                yield device
            return
        with replacing(linked(output) if through_link else output, scratch=scratch) as sink:
            yield sink
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"can't write {output}: {error.strerror or error}") from None


@contextmanager
def output_file(output: Path, *, overwrite: bool, source: str | os.PathLike[str] | None = None) -> Iterator[BinaryIO]:
    """A `whole_file` that takes the place of another one only where that is asked for, and never of what is read (`source`).

    Raises OutputError.
    """
    check_new(output, overwrite=overwrite, sources=() if source is None else (source,))
    with whole_file(output) as sink:
        yield sink


def check_new(output: Path, *, overwrite: bool, sources: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Raise OutputError where a new file would take the place of one of `sources`, or of a file that is not to be replaced."""
    if not filesystem.is_there(output) or is_special(output):
        return
    if any(filesystem.same(output, source) for source in sources):
        raise OutputError.about(output, "{subject} is what is read", remedy=Wording("give another name with {@output}"))
    if not overwrite:
        raise OutputError.about(output, "{subject} is there already", remedy=Wording("{@overwrite:True} replaces it"))


@contextmanager
def replacing(target: Path, *, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """The file of `whole_file`, where a caller has its own words for what goes wrong. Raises OSError."""
    folder = _scratch(scratch, target.parent)
    if folder != scratch:  # what is there is another's to tidy up
        remove_leftovers(folder, temporary_prefix(target.name), PART)
    sink, temporary = new_file(folder, temporary_prefix(target.name), PART)
    try:
        with sink:
            yield sink
            sync(sink)
            if not CLOSED_FIRST:  # as long as it is open, nobody takes it for a leftover
                replace(temporary, target)
        if CLOSED_FIRST:
            replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """An empty folder that gets the name `place` when the block ends well, and is gone when it does not.

    Where another process has published one of this name in the meantime, that one stays. Raises OSError.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = place.with_name(f"{place.name}-{_machine()}{secrets.token_hex(4)}{PART}")
    scratch.mkdir()
    try:
        yield scratch
        # A power cut may lose whatever was not synced, and keep what was done after it. So what comes last is what all may see:
        # the bytes of the files, their names (bottom up, each folder after what is in it), and only then the name of the whole.
        for folder, _, names in os.walk(scratch, topdown=False):
            for name in names:
                sync_file(Path(folder, name))
            sync_folder(Path(folder))
        try:
            replace(scratch, place)
        except OSError:
            if not filesystem.is_folder(place):
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_file(output: Path, data: bytes, *, through_link: bool = True) -> None:
    """Write bytes as a whole file, or as they are to what is no regular file. Raises OutputError."""
    with whole_file(output, through_link=through_link) as sink:
        sink.write(data)


def _scratch(scratch: Path | None, beside: Path) -> Path:
    """The folder for a temporary file that can be renamed to be one in `beside`: a subfolder may be a link to another disk."""
    return scratch if scratch is not None and scratch.stat().st_dev == beside.stat().st_dev else beside


def is_special(output: Path) -> bool:
    """Whether `output` is there and neither a file nor a folder: a device, a named pipe."""
    return filesystem.look(output).kind == "other"


def linked(output: Path) -> Path:
    """What a link ends at: a rename over the link itself would leave the linked file as it was."""
    return Path(os.path.realpath(output))


def new_file(folder: Path, prefix: str, suffix: str) -> tuple[BinaryIO, Path]:
    """An empty file of a name that was free, open for writing, as readable as the system makes any new file.

    As long as it is open, `remove_leftovers` lets it be. `tempfile` makes files for their owner alone, and to widen that one
    would have to change the mask of all threads.
    """
    while True:
        place = folder / f"{prefix}{_machine()}{secrets.token_hex(4)}{suffix}"
        with contextlib.suppress(FileExistsError):
            stream = place.open("xb")
            if _holds(stream, place):
                return stream, place
            stream.close()


def remove_leftovers(folder: Path, prefix: str | None, suffix: str) -> None:
    """Remove files that `new_file` made with these words on this machine and that no process has open any more.

    prefix: None for any hidden one.

    Those of other machines stay, since not every disk tells one machine what another has locked; so do all where there are no
    locks.
    """
    begin = r"\..*" if prefix is None else re.escape(prefix)
    pattern = re.compile(begin + _machine() + "[0-9a-f]{8}" + re.escape(suffix), re.DOTALL)
    for name in filter(pattern.fullmatch, filesystem.names_in(folder)):
        place = folder / name
        with contextlib.suppress(OSError):
            if _fcntl is None:
                place.unlink()  # Windows refuses that while somebody has it open
            elif stat.S_ISREG(place.lstat().st_mode):
                with place.open("r+b") as stream:
                    _fcntl.flock(stream, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
                    if os.path.samestat(os.fstat(stream.fileno()), place.lstat()):
                        place.unlink()


def _holds(stream: BinaryIO, place: Path) -> bool:
    """Lock a new file. False where another process took it for a leftover in the moment before."""
    if _fcntl is None:
        return True
    try:
        _fcntl.flock(stream, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks
        return True
    try:
        return os.path.samestat(os.fstat(stream.fileno()), place.lstat())
    except FileNotFoundError:
        return False


@lru_cache(maxsize=1)
def _machine() -> str:
    """Four hexadecimal digits for this machine's name."""
    return hashlib.sha256(platform.node().encode("utf-8", "surrogateescape")).hexdigest()[:4]


def sync(stream: IO[Any]) -> None:
    """Force what was written to the disk, where the file system can."""
    stream.flush()
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        if error.errno not in _UNSUPPORTED | {errno.EINVAL}:
            raise


def sync_file(file: Path) -> None:
    """Force a file that something else wrote to the disk: opened for writing, since Windows syncs no other."""
    with file.open("r+b") as stream:
        sync(stream)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can sync folders: Windows can't open them."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace(temporary: Path, target: Path) -> None:
    """Rename over a file that may be there, so that it lasts. On Windows one that somebody has open gets a moment to be closed."""
    for pause in (*_PAUSES, None):
        try:
            temporary.replace(target)
            break
        except PermissionError as error:
            if pause is None or getattr(error, "winerror", None) not in _OPEN_ELSEWHERE:
                raise
            time.sleep(pause)
    sync_folder(target.parent)


def put_in_place(temporary: Path, target: Path) -> None:
    """Rename a file that something else has written over `target`: on the disk before it has the name, as is the name then."""
    sync_file(temporary)
    replace(temporary, target)


def publish_new(temporary: Path, wanted: Path) -> Path:
    """Rename a file to `wanted`, or with -2, -3, ... where that is taken, even if another process took it just now."""
    number = 1
    while True:
        name = wanted if number == 1 else wanted.with_name(fitting(wanted.stem, f"-{number}{wanted.suffix}"))
        try:
            _rename_new(temporary, name)
            sync_folder(name.parent)
            return name
        except FileExistsError:
            number += 1


def _rename_new(temporary: Path, name: Path) -> None:
    """Raises FileExistsError where there is such a file, which a rename alone would replace.

    Never an empty or a partial file of that name. On a disk that has neither links nor such a rename, another program (no process
    of ours) could take the name between the look and the rename.
    """
    try:
        os.link(temporary, name)
    except FileExistsError:
        raise
    except (OSError, AttributeError, NotImplementedError):  # a disk or a system without links
        if not _renamed_alone(temporary, name):
            held = lock_removed(name.with_name(".videomae-names.lock"), wait=-1)
            try:
                if filesystem.is_named(name):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(name)) from None
                replace(temporary, name)
            finally:
                held.release(remove=True)
    else:
        temporary.unlink()


def _renamed_alone(temporary: Path, name: Path) -> bool:
    """Rename in one step that fails where the name is taken: renameat2 of Linux, renamex_np of macOS, any rename of Windows.

    False where the system or the disk has no such thing. Raises FileExistsError, OSError.
    """
    if CLOSED_FIRST:
        temporary.rename(name)
        return True
    import ctypes

    old, new = os.fsencode(temporary), os.fsencode(name)
    library = ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "renameat2"):
        failed = library.renameat2(_HERE, old, _HERE, new, _NO_REPLACE)
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(old, new, _EXCLUSIVE)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in _UNSUPPORTED | {errno.EINVAL, errno.EPERM}:
        raise OSError(number, os.strerror(number), str(name))
    return not failed


def stand_in(file: Path, name: Path) -> None:
    """Let a file be read under another name too: a link of either kind, or a copy where neither can be made."""
    if filesystem.same(file, name) or _is_copy(file, name):
        return
    for link in (os.symlink, os.link) if hasattr(os, "link") else (os.symlink,):
        with contextlib.suppress(OSError, NotImplementedError):
            name.unlink(missing_ok=True)
            link(file, name)
            return
    temporary = name.with_name(f"{name.name}.{secrets.token_hex(4)}")
    shutil.copy2(file, temporary)
    replace(temporary, name)


def _is_copy(file: Path, name: Path) -> bool:
    try:
        one, other = file.stat(), name.stat()
    except OSError:
        return False
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


class FileLockedError(Exception):
    """Another process has the lock."""


class Lock:
    """A lock that this process holds until it releases it or ends. `exclusive` is False where the disk has no locks."""

    def __init__(self, file: Path, held: Any) -> None:
        self._file, self._held = file, held
        self.exclusive = held is not None

    def release(self, *, remove: bool = False) -> None:
        """Let others have it; a second call does nothing. remove: its file too, first where the system removes open ones."""
        removed = remove and self._remove()  # before another process can have it
        held, self._held = self._held, None
        if held is not None:
            held.release()
        if remove and not removed:
            self._remove()

    def _remove(self) -> bool:
        try:
            self._file.unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def lock(file: Path, *, wait: float = 0.0, mode: int = 0o644) -> Lock:
    """Lock a file, made where it isn't there; it stays locked until it is released or this process ends.

    wait: seconds for another process to release it, -1 for as long as it takes; mode: of a file that is made. On a disk without locks, or a system
    without them, nobody is kept out and a warning says so. Raises FileLockedError, and OSError where it can't be made.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    if issubclass(FileLock, SoftFileLock):  # filelock's own way out, which a kill leaves locked for good
        return _unlocked(file)
    try:
        held = FileLock(file, mode=mode, fallback_to_soft=False)
    except TypeError:  # before filelock 4
        held = FileLock(file, mode=mode)
    try:
        held.acquire(timeout=wait)
    except Timeout:
        raise FileLockedError(str(file)) from None
    except NotImplementedError:
        return _unlocked(file)
    except OSError as error:
        if error.errno not in _UNSUPPORTED | {errno.ENOLCK}:
            raise
        return _unlocked(file)
    return Lock(file, held)


def lock_removed(file: Path, *, wait: float = 0.0) -> Lock:
    """Lock a file that whoever releases the lock removes (`release(remove=True)`), in a folder that may be removed with it.

    A lock on a file that is gone keeps nobody out: then another is made. Raises FileLockedError, and OSError as `lock` does.
    """
    for _ in range(_ATTEMPTS):
        file.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            file.touch()
            before = file.stat()
            held = lock(file, wait=wait)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(before, file.stat()):
                    return held
            held.release()
    raise FileLockedError(str(file))


def _unlocked(file: Path) -> Lock:
    log.warning("there are no file locks in %s: let no other process write there", file.parent)
    return Lock(file, None)

"""Atomic, durable file writes and file locks: the only way this package publishes files.

A file is written under a temporary name in the same folder, synced, then renamed. Symbolic links are followed; what is
not a regular file (/dev/null, a named pipe) is written directly. Systems without links, locks or folder syncing get a
fallback.
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
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, BinaryIO

from videomae_cli import filesystem
from videomae_cli.errors import OutputError, Wording, not_written
from videomae_cli.filenames import fitting, temporary_prefix

log = logging.getLogger(__name__)

# Suffix of temporary files.
PART = ".part"
# Windows does not allow renaming or removing a file that is open.
CLOSED_FIRST = os.name == "nt"
# POSIX locks; Windows and some other systems have none.
_fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None
# AT_FDCWD (linux/fcntl.h), RENAME_NOREPLACE (linux/fs.h) and RENAME_EXCL (macOS's sys/stdio.h).
_HERE, _NO_REPLACE, _EXCLUSIVE = -100, 1, 4

# Errors of a file system that does not implement a function at all.
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_ATTEMPTS = 5
# Windows' error codes for a file that another program, such as a virus scanner, has open; seconds to wait between
# attempts.
_OPEN_ELSEWHERE, _PAUSES = frozenset({5, 32}), (0.05, 0.2, 0.75)


@contextmanager
def whole_file(output: Path, *, scratch: Path | None = None, through_link: bool = True) -> Iterator[BinaryIO]:
    """Open a binary file that appears as `output` only if the block succeeds; otherwise nothing is left behind.

    scratch: a folder on the same disk for the temporary file, which a kill may leave there; by default the output's
    folder. through_link: write to the target of a symbolic link; False replaces the link itself by a file. Raises
    OutputError: a folder is there, no permission, the disk is full.
    """
    try:
        if filesystem.is_folder(output):
            raise OutputError.about(output, "{subject} is a folder: give a file name to write to")
        if is_special(output):
            with output.open("wb") as device:  # a rename would replace the device by a regular file
                yield device
            return
        with replacing(linked(output) if through_link else output, scratch=scratch) as sink:
            yield sink
    except BrokenPipeError:
        raise
    except OSError as error:
        raise not_written(output, error) from None


@contextmanager
def output_file(output: Path, *, overwrite: bool, source: str | os.PathLike[str] | None = None) -> Iterator[BinaryIO]:
    """Open a `whole_file` that replaces an existing file only with `overwrite`, and never replaces the input `source`.

    Raises OutputError.
    """
    check_new(output, overwrite=overwrite, sources=() if source is None else (source,))
    with whole_file(output) as sink:
        yield sink


_REPLACES = Wording("{@overwrite:True} replaces it")


def check_new(
    output: Path, *, overwrite: bool, sources: Iterable[str | os.PathLike[str]] = (), remedy: Wording = _REPLACES
) -> None:
    """Raise OutputError if `output` can't be written, to find out before hours of work.

    It can't if it is a folder, if its folder is missing, if it is one of `sources`, or if it exists and must not be
    replaced.
    """
    if filesystem.is_folder(output):
        raise OutputError.about(output, "{subject} is a folder: give a file name to write to")
    if not filesystem.is_folder(output.parent):
        raise OutputError.about(output, "can't write {subject}: there is no folder {parent}", parent=output.parent)
    if not filesystem.is_there(output) or is_special(output):
        return
    if any(filesystem.same(output, source) for source in sources):
        raise OutputError.about(output, "{subject} is what is read", remedy=Wording("give another name with {@output}"))
    if not overwrite:
        raise OutputError.about(output, "{subject} is there already", remedy=remedy)


def check_not_read(outputs: Iterable[str | os.PathLike[str]], sources: Iterable[str]) -> None:
    """Raise OutputError if a file that would be written is one of those that are read, under whatever name."""
    written: dict[tuple[int, int], str | os.PathLike[str]] = {}
    for output in outputs:
        if (identity := filesystem.identity(output)) is not None:
            written[identity] = output
    for source in sources if written else ():
        if (identity := filesystem.identity(source)) in written and identity is not None:
            raise OutputError.about(
                written[identity], "{subject} is what is read", remedy=Wording("give another name with {@output}")
            )


@contextmanager
def replacing(target: Path, *, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file as `whole_file` does, for callers that word failures themselves. Raises OSError."""
    folder = _scratch(scratch, target.parent)
    if folder != scratch:  # the owner of a scratch folder removes leftovers in it
        remove_leftovers(folder, temporary_prefix(target.name), PART)
    sink, temporary = new_file(folder, temporary_prefix(target.name), PART)
    try:
        with sink:
            yield sink
            sync(sink)
            if not CLOSED_FIRST:  # while it is open, no other process removes it as a leftover
                replace(temporary, target)
        if CLOSED_FIRST:
            replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that is renamed to `place` if the block succeeds, and removed if it doesn't.

    If another process has published a folder of this name in the meantime, that one stays. Temporary folders that
    killed processes left beside it are removed, whatever their names. Raises OSError.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with _scratch_folder(place) as scratch:
        yield scratch
        # A power cut may lose whatever was not synced yet keep what was done later. So sync first the files' bytes,
        # then their names (bottom up, each folder after its contents), and only then make the whole visible by the
        # rename.
        for folder, _, names in os.walk(scratch, topdown=False):
            for name in names:
                sync_file(Path(folder, name))
            sync_folder(Path(folder))
        try:
            replace(scratch, place)
        except OSError:
            if not filesystem.is_folder(place):
                raise


@contextmanager
def whole_files(*targets: Path) -> Iterator[Path]:
    """Yield an empty folder for files that belong together; if the block succeeds, they are moved to `targets`, in this order.

    The block writes each under its target's name. What it leaves out is removed: it belonged to a set that is replaced. A
    symbolic link is replaced, too. The last target is the file that the others serve. Raises OSError.
    """
    with _scratch_folder(targets[-1]) as scratch:
        yield scratch
        for target in targets:
            if filesystem.is_there(scratch / target.name):
                put_in_place(scratch / target.name, target)
            else:
                target.unlink(missing_ok=True)


@contextmanager
def _scratch_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder beside `place`, which is removed after the block; first remove those of processes that were killed."""
    _remove_left_folders(place.parent)
    with _held_folder(place) as scratch:
        yield scratch


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty folder in TMPDIR that only this user may read, and remove it after the block.

    Those that killed processes left there are removed when a process makes its first. Raises OSError.
    """
    place = Path(tempfile.gettempdir(), "videomae")
    _tidy_once(place.parent)
    with _held_folder(place, mode=0o700) as scratch:
        yield scratch


@contextmanager
def _held_folder(place: Path, *, mode: int = 0o777) -> Iterator[Path]:
    """Yield a `_new_folder`, locked during the block and removed after it."""
    scratch, held = _new_folder(place, mode=mode)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if held is not None:
            os.close(held)


@lru_cache(maxsize=8)
def _tidy_once(parent: Path) -> None:
    _remove_left_folders(parent)


def _new_folder(place: Path, *, mode: int = 0o777) -> tuple[Path, int | None]:
    """Create an empty folder beside `place` and lock it; return it with the descriptor that holds the lock, if there are locks.

    Until the descriptor is closed, `_remove_left_folders` does not remove the folder.
    """
    while True:
        scratch = place.with_name(f"{place.name}-{_machine()}{secrets.token_hex(4)}{PART}")
        scratch.mkdir(mode)
        if _fcntl is None:
            return scratch, None
        with contextlib.suppress(FileNotFoundError):  # another process has just removed it as a leftover
            held = os.open(scratch, os.O_RDONLY)
            if _holds(held, scratch):
                return scratch, held
            os.close(held)


def _remove_left_folders(parent: Path) -> None:
    """Remove folders that `_new_folder` made on this machine and no process has locked; all stay if there are no locks."""
    if _fcntl is None:
        return
    pattern = re.compile(".+-" + _machine() + "[0-9a-f]{8}" + re.escape(PART), re.DOTALL)
    for name in filter(pattern.fullmatch, filesystem.names_in(parent)):
        with contextlib.suppress(OSError):
            descriptor = os.open(parent / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), (parent / name).lstat()):
                    shutil.rmtree(parent / name, ignore_errors=True)
            finally:
                os.close(descriptor)


def write_file(output: Path, data: bytes, *, through_link: bool = True) -> None:
    """Write bytes to a file atomically, or directly to a device or pipe. Raises OutputError."""
    with whole_file(output, through_link=through_link) as sink:
        sink.write(data)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing. Raises OutputError."""
    with making(folder):
        filesystem.make_folder(folder)


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Turn an OSError in the block, which makes a folder, into an OutputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OutputError.about(folder, "can't make the folder {subject}: {reason}", reason=reason) from None


def _scratch(scratch: Path | None, beside: Path) -> Path:
    """Return `scratch` if its files can be renamed into `beside`, else `beside`: a subfolder may be a link to another disk."""
    return scratch if scratch is not None and scratch.stat().st_dev == beside.stat().st_dev else beside


def is_special(output: Path) -> bool:
    """Return whether `output` exists but is neither a file nor a folder: a device, a named pipe."""
    return filesystem.look(output).kind == "other"


def linked(output: Path) -> Path:
    """Resolve a symbolic link: a rename over the link itself would not update the linked file.

    Raises OutputError for a name that no file can have.
    """
    try:
        return Path(os.path.realpath(output))
    except ValueError:
        raise OutputError.about(
            output, "can't write {subject}: {reason}", reason=filesystem.look(output).reason
        ) from None


def new_file(folder: Path, prefix: str, suffix: str) -> tuple[BinaryIO, Path]:
    """Create an empty file under an unused name and return it open for writing, with default permissions.

    While it is open, `remove_leftovers` does not remove it. `tempfile` is not used because its files are readable by
    their owner only, and widening that needs the umask, which can only be read by changing it for all threads.
    """
    while True:
        place = folder / f"{prefix}{_machine()}{secrets.token_hex(4)}{suffix}"
        with contextlib.suppress(FileExistsError):
            stream = place.open("xb")
            if _holds(stream.fileno(), place):
                return stream, place
            stream.close()


def remove_leftovers(folder: Path, prefix: str | None, suffix: str) -> None:
    """Remove files that `new_file` made with this prefix and suffix on this machine and that no process has open.

    prefix: None for any hidden file. Files of other machines stay, since on some network disks locks of one machine are
    not visible to another; so do all files on disks without locks.
    """
    begin = r"\..*" if prefix is None else re.escape(prefix)
    pattern = re.compile(begin + _machine() + "[0-9a-f]{8}" + re.escape(suffix), re.DOTALL)
    for name in filter(pattern.fullmatch, filesystem.names_in(folder)):
        place = folder / name
        with contextlib.suppress(OSError):
            if _fcntl is None:
                place.unlink()  # Windows refuses this while a process has the file open
            elif stat.S_ISREG(place.lstat().st_mode):
                with place.open("r+b") as stream:
                    _fcntl.flock(stream, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
                    if os.path.samestat(os.fstat(stream.fileno()), place.lstat()):
                        place.unlink()


def _holds(descriptor: int, place: Path) -> bool:
    """Lock a new file or folder; return False if another process has just removed it as a leftover."""
    if _fcntl is None:
        return True
    try:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), place.lstat())
    except FileNotFoundError:
        return False


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return four hexadecimal digits that identify this machine by its name."""
    return hashlib.sha256(platform.node().encode("utf-8", "surrogateescape")).hexdigest()[:4]


def sync(stream: IO[Any]) -> None:
    """Flush a stream and force its data to the disk, if the file system supports that."""
    stream.flush()
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        if error.errno not in _UNSUPPORTED | {errno.EINVAL}:
            raise


def sync_file(file: Path) -> None:
    """Force a file that another library wrote to the disk. Opened for writing because Windows can't sync otherwise."""
    with file.open("r+b") as stream:
        sync(stream)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, on systems that can sync folders (Windows can't open them)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace(temporary: Path, target: Path) -> None:
    """Rename over a file that may exist, durably, retrying on Windows while another program has it open."""
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
    """Rename a file that another library wrote to `target`, durably: first its data is synced, then the rename."""
    sync_file(temporary)
    replace(temporary, target)


def publish_new(temporary: Path, wanted: Path) -> Path:
    """Rename a file to `wanted`, or to the first free name with -2, -3, ...; safe if other processes do so too."""
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
    """Rename without replacing: raises FileExistsError if `name` exists.

    No empty or partial file ever has that name. On a disk that has neither links nor an exclusive rename, a program
    other than this one could take the name between the check and the rename.
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
    """Rename in one step that fails if the name is taken: Linux's renameat2, macOS's renamex_np, any rename on Windows.

    Returns False if the system or the disk does not support this. Raises FileExistsError, OSError.
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
    """Make a file readable under a second name: a symbolic or hard link, or a copy if neither can be made."""
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
    """A lock that this process holds until it releases it or ends. `exclusive` is False if the disk has no locks."""

    def __init__(self, file: Path, held: Any) -> None:
        self._file, self._held = file, held
        self.exclusive = held is not None

    def release(self, *, remove: bool = False) -> None:
        """Release the lock; a second call does nothing. remove: also remove its file, before the release if the system can."""
        removed = remove and self._remove()  # before another process can acquire it
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
    """Lock a file, created if missing, until the lock is released or this process ends.

    wait: seconds to wait for another process to release it, -1 for no limit; mode: permissions of a new file. On a disk
    or system without locks a warning is logged and nothing is locked. Raises FileLockedError, or OSError if the file
    can't be made.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    if issubclass(FileLock, SoftFileLock):  # filelock's fallback, which stays locked forever after a kill
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
    """Lock a file that its holder removes on release (`release(remove=True)`), possibly together with its folder.

    A lock on a removed file excludes nobody, so then a new file is created and locked. Raises FileLockedError, OSError.
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


def lock_output(file: Path, output: object) -> Lock:
    """Lock a file as `lock_removed` does, for the time in which `output` is written. Raises OutputError if another process
    has locked it, or OSError."""
    try:
        return lock_removed(file)
    except FileLockedError:
        raise OutputError.about(output, "another process is writing {subject}: wait for it or stop it first") from None


def _unlocked(file: Path) -> Lock:
    log.warning("there are no file locks in %s: let no other process write there", file.parent)
    return Lock(file, None)

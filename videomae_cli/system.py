"""Wraps what differs between operating systems (CPUs, memory, signals, terminals), with a fallback where a call is missing.

Everything works on Linux, macOS and Windows, inside a container or not; `docs/platforms.md` says what is tested where.
Files are the subject of `filesystem` and `files`. psutil is imported inside functions because its import is slow.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import platform
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

# Linux's files about this process and its container; each pair is for control groups v2, then v1.
_GROUPS = Path("/sys/fs/cgroup")
_MEMORY_GROUPS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
_CPU_QUOTA, _CPU_QUOTA_1, _CPU_PERIOD_1 = "cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"
_PROC = Path("/proc")
# Parameters of glibc's mallopt (malloc.h).
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
# From here on Windows exit codes are NTSTATUS errors such as an access violation, best known in hex.
_NT_ERRORS = 0xC0000000


def usable_cpus() -> int:
    """Return how many CPUs this process may use at once, given its CPU affinity and its container's quota."""
    counts = [float(_scheduled_cpus()), _cpu_quota()]
    return max(1, math.ceil(min(counts)))


def _scheduled_cpus() -> int:
    # Python 3.13's process_cpu_count also honours PYTHON_CPU_COUNT; before, macOS and Windows only report all CPUs.
    for name, arguments in (("process_cpu_count", ()), ("sched_getaffinity", (0,)), ("cpu_count", ())):
        with contextlib.suppress(AttributeError, OSError, NotImplementedError):
            found = getattr(os, name)(*arguments)
            if count := found if isinstance(found, int) else len(found or ()):
                return count
    return 1


def _cpu_quota() -> float:
    """Return the container's CPU quota in CPUs, possibly fractional; infinity if there is no limit."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (_GROUPS / _CPU_QUOTA).read_text(encoding="ascii").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((_GROUPS / name).read_text(encoding="ascii") for name in (_CPU_QUOTA_1, _CPU_PERIOD_1))
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    return math.inf


def cpu_model() -> str:
    """Return the CPU's model name, or its architecture if the system names no model."""
    try:
        lines = (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Return the features of the CPU, as Linux names them; empty where the system doesn't list them."""
    with contextlib.suppress(OSError):
        for line in (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def physical_cores() -> int:
    """Return how many of the CPUs in this process's affinity are cores of their own, not second threads of one."""
    import psutil

    return min(_scheduled_cpus(), psutil.cpu_count(logical=False) or sys.maxsize)


def may_have_gpu() -> bool:
    """Return whether this machine may have a GPU that PyTorch can use; False only where the system shows that it has none."""
    if sys.platform != "linux":
        return True
    return any(os.path.lexists(place) for place in (_PROC / "driver" / "nvidia", Path("/dev/kfd"), Path("/dev/dxg")))


def free_memory() -> int:
    """Return the bytes of memory that are free on this machine, or in this container if that is less."""
    import psutil

    return min(int(psutil.virtual_memory().available), *(limit - used for limit, used in _memory_groups()), sys.maxsize)


def total_memory() -> int:
    """Return the bytes of memory that this machine has, or the container's limit if that is less."""
    import psutil

    return min(int(psutil.virtual_memory().total), *(limit for limit, _ in _memory_groups()), sys.maxsize)


def _memory_groups() -> Iterator[tuple[int, int]]:
    """Yield the container's memory limit and how much of it is taken; cached files don't count, since they make room."""
    for folder, limit, used, cached in _MEMORY_GROUPS:
        group = _GROUPS / folder
        # the file says "max" if there is no limit
        with contextlib.suppress(OSError, ValueError):
            most, taken = int((group / limit).read_text(encoding="ascii")), 0
            with contextlib.suppress(OSError, ValueError):
                taken = int((group / used).read_text(encoding="ascii"))
                lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
                taken -= next((int(line.split()[1]) for line in lines if line.split()[0] == cached), 0)
            yield most, taken


def return_freed_memory() -> bool:
    """Make glibc return large arrays to the system as soon as they are freed; False for other C libraries."""
    try:
        import ctypes

        library = ctypes.CDLL(None)
        return bool(library.mallopt(_MMAP_THRESHOLD, 2**20)) and bool(library.mallopt(_ARENA_MAX, 1))
    except (ImportError, OSError, AttributeError, TypeError):
        return False


def mapped(file: str) -> frozenset[tuple[int, int]]:
    """Return the addresses, (begin, end), where this process has a file mapped for reading alone; none where the system doesn't say.

    file: its real path, without links.
    """
    found = set[tuple[int, int]]()
    with contextlib.suppress(OSError):
        name = os.fsencode(file).replace(b"\n", rb"\012")  # as Linux lists it; other characters stay
        for line in (_PROC / "self/maps").read_bytes().split(b"\n"):
            fields = line.split(maxsplit=5)
            if fields[5:] == [name] and b"w" not in fields[1]:
                begin, end = (int(address, 16) for address in fields[0].split(b"-"))
                found.add((begin, end))
    return frozenset(found)


def release_mapped(places: Iterable[tuple[int, int]]) -> bool:
    """Give back the memory that pages of a file take at addresses from `mapped`; return whether it did.

    Linux counts them to the process. What is read there again comes from the file again. The caller keeps the file mapped:
    what the process has at the addresses later on would be lost.
    """
    try:
        import ctypes

        advise = ctypes.CDLL(None).madvise
        advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        return {advise(begin, end - begin, mmap.MADV_DONTNEED) for begin, end in places} == {0}
    except (ImportError, OSError, AttributeError, TypeError):
        return False


def raise_open_files(needed: int) -> int:
    """Raise the limit on open files to make room for `needed` more; return how many of them still don't fit.

    0 if there is no limit, as on Windows.
    """
    try:
        import resource
    except ImportError:
        return 0
    wanted = _open_files() + needed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return 0
    with contextlib.suppress(OSError, ValueError):  # macOS refuses more than its kernel's limit
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
    return max(0, wanted - resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _open_files() -> int:
    """Return how many descriptors this process has open; a guess if the system doesn't list them."""
    import psutil

    with contextlib.suppress(psutil.Error, AttributeError, OSError):
        return int(psutil.Process().num_fds())
    return 32


def be_first_killed(score: int = 1000) -> bool:
    """Make this process the first that Linux kills when memory runs out; False on other systems.

    score: from 0 to 1000, the highest; of two processes with the same score the larger one is killed.
    """
    try:
        (_PROC / "self/oom_score_adj").write_text(str(score), encoding="ascii")
    except OSError:
        return False
    return True


def memory_of(process_id: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended or may not be inspected."""
    import psutil

    try:
        return int(psutil.Process(process_id).memory_info().rss)
    except psutil.Error:
        return 0


def waited_for_cpu() -> float | None:
    """Return for how many seconds, summed over its threads, this process could have run but other work had the CPU.

    None where the system doesn't say (only Linux does). Threads that have ended are not counted.
    """
    waited = 0
    try:
        for thread in (_PROC / "self/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
                waited += int((thread / "schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return waited / 1e9


def process_identity() -> tuple[int, str | None]:
    """Return this process's id, and what tells it from all other processes, also of other machines, with the same id.

    None for the latter where the system doesn't say (only Linux does).
    """
    return os.getpid(), _identity(os.getpid())


def is_running(process_id: int, identity: str | None) -> bool | None:
    """Return whether a process that `process_identity` described runs; None if it is one of another machine or container."""
    here = _identity(os.getpid())
    if identity is None or here is None or identity.rpartition(" ")[0] != here.rpartition(" ")[0]:
        return None
    return _identity(process_id) == identity


def _identity(process_id: int) -> str | None:
    """Return when the machine and the process were started, and which container's process ids count; None if it doesn't run."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        numbers = (_PROC / "self/ns/pid").stat().st_ino
        # the name of the program, in parentheses, may contain anything; state and start time are fields 3 and 22
        fields = (_PROC / f"{process_id}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in "ZX" else f"{boot} {numbers} {fields[19]}"


def was_killed(code: int) -> bool:
    """Return whether an exit code means that the process was killed by SIGKILL or SIGTERM; always False on Windows."""
    return code < 0 and -code in {int(number) for number in _signals("SIGKILL", "SIGTERM")}


def exit_cause(code: int) -> str:
    """Describe an exit code: the name of the signal, Windows' NTSTATUS in hex, or the number."""
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code:#x}" if code >= _NT_ERRORS else f"exit code {code}"


def terminating_signals() -> tuple[signal.Signals, ...]:
    """Return the signals, besides Ctrl-C, with which a scheduler ends a job: SIGTERM, and SIGBREAK on Windows."""
    return _signals("SIGTERM", "SIGBREAK")


def lock_across_forks() -> threading.Lock:
    """Make a lock that a forked child gets unlocked, since threads that held it exist in the parent only."""
    lock = threading.Lock()
    if hasattr(os, "register_at_fork"):  # Windows doesn't fork
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


def wake_main_thread(number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal to this process's main thread, interrupting its waits; on Windows a wait finishes first."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


@contextmanager
def every(seconds: float, call: Callable[[], object]) -> Iterator[None]:
    """Call a function periodically from another thread during the block, even while no progress is made."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def closing_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a program by default: `terminating_signals`, and SIGHUP when its terminal closes."""
    return (*terminating_signals(), *_signals("SIGHUP"))


def _signals(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(number for name in names if isinstance(number := getattr(signal, name, None), signal.Signals))


@contextmanager
def silenced(descriptor: int) -> Iterator[None]:
    """Discard everything written to a standard descriptor during the block, also by C libraries."""
    try:
        saved, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # the descriptor is closed: nothing to discard
        yield
        return
    try:
        os.dup2(nowhere, descriptor)
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)
        os.close(nowhere)


def terminal_width(stream: TextIO) -> int:
    """Return the width of the terminal behind `stream` in columns; COLUMNS overrides it, 80 is the fallback."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80


def is_pipe(stream: object) -> bool:
    """Return whether another process reads what is written to `stream`."""
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return False


def await_input(descriptor: int) -> None:
    """Wait until a descriptor can be read without blocking, or return at once on systems that can't tell (Windows).

    Wakes up every second: Python handles a signal only between two of its instructions, so a signal that arrives right
    before a blocking read would not be handled until the read returns.
    """
    with contextlib.suppress(OSError, ValueError):
        while not select.select([descriptor], [], [], 1.0)[0]:
            pass

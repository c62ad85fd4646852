"""What this machine and its operating system have, and what is done where they lack it: the only user of such functions.

Each question has an answer on Linux, macOS and Windows, in a container and out of one. What concerns names and files is in
`filesystem` and `files`; `docs/platforms.md` says what is tested where. psutil is imported when asked: it takes a while.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

# Linux's files about this process and its container, in the second and the first version of control groups.
_GROUPS = Path("/sys/fs/cgroup")
_MEMORY_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_CPU_QUOTA, _CPU_QUOTA_1, _CPU_PERIOD_1 = "cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"
_PROC = Path("/proc")
# glibc's mallopt (malloc.h).
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
# Windows ends a process that broke a rule with one of the numbers from here on (NTSTATUS), most of them known in hex.
_NT_ERRORS = 0xC0000000


def usable_cpus() -> int:
    """How many CPUs this process may use at once: of the machine, of those it is bound to, of its container's share."""
    counts = [float(_scheduled_cpus()), _cpu_quota()]
    return max(1, math.ceil(min(counts)))


def _scheduled_cpus() -> int:
    # Python 3.13 has one function that also knows PYTHON_CPU_COUNT; before that, macOS and Windows know no more than all.
    for name, arguments in (("process_cpu_count", ()), ("sched_getaffinity", (0,)), ("cpu_count", ())):
        with contextlib.suppress(AttributeError, OSError, NotImplementedError):
            found = getattr(os, name)(*arguments)
            if count := found if isinstance(found, int) else len(found or ()):
                return count
    return 1


def _cpu_quota() -> float:
    """The CPUs that the container may keep busy, a fraction maybe; infinity where nothing limits it."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (_GROUPS / _CPU_QUOTA).read_text(encoding="ascii").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((_GROUPS / name).read_text(encoding="ascii") for name in (_CPU_QUOTA_1, _CPU_PERIOD_1))
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    return math.inf


def cpu_model() -> str:
    """The CPU's model as the system calls it; the kind of CPU where it names none."""
    try:
        lines = (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def free_memory() -> int:
    """The bytes of memory that are free on this machine, or in the container that this runs in if that is less."""
    import psutil

    limits = [int(psutil.virtual_memory().available)]
    for name in _MEMORY_LIMITS:
        # "max" where there is no limit.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((_GROUPS / name).read_text(encoding="ascii")))
    return min(limits)


def return_freed_memory() -> bool:
    """Have the C library return large arrays to the system as they are freed; False where it can't be told (not glibc)."""
    try:
        import ctypes

        library = ctypes.CDLL(None)
        return bool(library.mallopt(_MMAP_THRESHOLD, 2**20)) and bool(library.mallopt(_ARENA_MAX, 1))
    except (ImportError, OSError, AttributeError, TypeError):
        return False


def raise_open_files(needed: int) -> int:
    """How many of `needed` further files and pipes this process can't have open, after raising its own limit if it may.

    0 where there is no limit, as on Windows.
    """
    try:
        import resource
    except ImportError:
        return 0
    wanted = _open_files() + needed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return 0
    with contextlib.suppress(OSError, ValueError):  # macOS refuses more than its kernel's own limit
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
    return max(0, wanted - resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _open_files() -> int:
    """How many descriptors this process has open; a guess where the system doesn't list them."""
    import psutil

    with contextlib.suppress(psutil.Error, AttributeError, OSError):
        return int(psutil.Process().num_fds())
    return 32


def be_first_killed() -> bool:
    """Have a system that is out of memory end this process before others; False where it can't be told (not Linux)."""
    try:
        (_PROC / "self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return False
    return True


def memory_of(process_id: int) -> int:
    """The bytes of memory that a process has now; 0 for one that is gone or that nobody may look at."""
    import psutil

    try:
        return int(psutil.Process(process_id).memory_info().rss)
    except psutil.Error:
        return 0


def was_killed(code: int) -> bool:
    """Whether a process that ended with `code` was ended by another: SIGKILL or SIGTERM. Windows doesn't tell."""
    return code < 0 and -code in {int(number) for number in _signals("SIGKILL", "SIGTERM")}


def exit_cause(code: int) -> str:
    """The code that a process ended with, in words: the name of its signal, Windows' status in hex, or the number."""
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code:#x}" if code >= _NT_ERRORS else f"exit code {code}"


def terminating_signals() -> tuple[signal.Signals, ...]:
    """What a scheduler ends a job with, besides Ctrl-C: SIGTERM, and SIGBREAK, which is what Windows can send."""
    return _signals("SIGTERM", "SIGBREAK")


def wake_main_thread() -> None:
    """Send SIGTERM to this process's main thread, whatever it waits for; on Windows what it waits for ends first."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)


def closing_signals() -> tuple[signal.Signals, ...]:
    """What ends a program that was not told otherwise: the above, and the terminal's end where that is a signal."""
    return (*terminating_signals(), *_signals("SIGHUP"))


def _signals(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(number for name in names if isinstance(number := getattr(signal, name, None), signal.Signals))


@contextmanager
def silenced(descriptor: int) -> Iterator[None]:
    """Nothing that a library writes to a standard descriptor is seen while the block runs, also past Python's streams."""
    try:
        kept, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # it is closed: what is written there is seen by nobody
        yield
        return
    try:
        os.dup2(nowhere, descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(nowhere)


def terminal_width(stream: TextIO) -> int:
    """Columns of the terminal behind `stream`: COLUMNS where it is set, 80 where nobody knows."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80

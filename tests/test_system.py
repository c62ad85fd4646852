"""What the operating system may lack: each function is taken away, and the answer without it is still a true one."""

from __future__ import annotations

import math
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from videomae_cli import system

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such function to take away")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the files in which Linux tells a container its limits; none of them is there at first."""
    monkeypatch.setattr(system, "_GROUPS", tmp_path)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "memory").mkdir()
    return tmp_path


def _machine(monkeypatch: pytest.MonkeyPatch, cpus: int | None) -> None:
    for name in ("process_cpu_count", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)


@pytest.mark.parametrize(("known", "counted"), [(8, 8), (1, 1), (None, 1)])
def test_without_affinity_all_cpus_count(
    known: int | None, counted: int, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, known)
    assert system.usable_cpus() == counted


def test_the_newest_function_is_asked_first_and_one_that_fails_is_passed_over(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, 8)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5}, raising=False)
    assert system.usable_cpus() == 3
    monkeypatch.delattr(os, "process_cpu_count")
    assert system.usable_cpus() == 2

    def refused(process: int) -> set[int]:
        raise PermissionError

    monkeypatch.setattr(os, "sched_getaffinity", refused)
    assert system.usable_cpus() == 8


@pytest.mark.parametrize(
    ("files", "counted"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu.max": ""}, 8),
        ({"cpu.max": "200000 0\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, 8),
        ({}, 8),
    ],
)
def test_a_container_s_share_of_the_cpus_counts(
    files: dict[str, str], counted: int, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, 8)
    for name, text in files.items():
        (groups / name).write_text(text, encoding="ascii")
    assert system.usable_cpus() == counted


def test_free_memory_is_the_container_s_where_that_is_less(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.virtual_memory()._replace(available=5000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert system.free_memory() == 5000
    (groups / "memory.max").write_text("max\n", encoding="ascii")
    assert system.free_memory() == 5000
    (groups / "memory/memory.limit_in_bytes").write_text("3000\n", encoding="ascii")
    assert system.free_memory() == system.total_memory() == 3000
    (groups / "memory/memory.usage_in_bytes").write_text("2500\n", encoding="ascii")
    assert system.free_memory() == 500, "what is taken is not free"
    (groups / "memory/memory.stat").write_text("cache 9\ntotal_inactive_file 1500\n", encoding="ascii")
    assert system.free_memory() == 2000, "but for what only caches files"
    (groups / "memory.max").write_text("4000\n", encoding="ascii")
    (groups / "memory.current").write_text("3000\n", encoding="ascii")
    (groups / "memory.stat").write_text("anon 1\ninactive_file 100\n", encoding="ascii")
    assert (system.free_memory(), system.total_memory()) == (1100, 3000)


def test_without_proc_the_cpu_still_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t: sse\nmodel name\t: Example 9000\n", encoding="ascii")
    monkeypatch.setattr(system, "_PROC", tmp_path)
    assert system.cpu_model() == "Example 9000"
    monkeypatch.setattr(system, "_PROC", tmp_path / "missing")
    monkeypatch.setattr(system.platform, "processor", lambda: "")
    monkeypatch.setattr(system.platform, "machine", lambda: "arm64")
    assert system.cpu_model() == "arm64"


def test_without_proc_no_process_asks_to_be_killed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "self").mkdir()
    monkeypatch.setattr(system, "_PROC", tmp_path)
    assert system.be_first_killed()
    assert (tmp_path / "self/oom_score_adj").read_text(encoding="ascii") == "1000"
    monkeypatch.setattr(system, "_PROC", tmp_path / "missing")
    assert not system.be_first_killed()


class _Library:
    def __init__(self, answer: int) -> None:
        self.asked: list[tuple[int, int]] = []
        self._answer = answer

    def mallopt(self, option: int, value: int) -> int:
        self.asked.append((option, value))
        return self._answer


def test_memory_is_returned_where_the_c_library_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    library = _Library(1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert system.return_freed_memory()
    assert library.asked == [(-3, 2**20), (-8, 1)]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: _Library(0))
    assert not system.return_freed_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # macOS, musl
    assert not system.return_freed_memory()

    def windows(name: str | None) -> object:
        raise TypeError("argument of type 'NoneType' is not iterable")

    monkeypatch.setattr(ctypes, "CDLL", windows)
    assert not system.return_freed_memory()
    assert not system.release_mapped([(0, 4096)])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux says which pages are a process's own")
def test_pages_of_a_file_are_given_back_and_read_again(tmp_path: Path) -> None:
    # Linux lists the end of a line in a name as four characters, and a carriage return as it is.
    file, other = tmp_path / "model with blanks,\n \u00e9.bin", tmp_path / "other\r.bin"
    content = os.urandom(2**22)
    for path in (file, other):
        path.write_bytes(content)

    def held(path: Path) -> int:
        """How many kilobytes of a file this process holds."""
        lines = Path("/proc/self/smaps").read_bytes().split(b"\n")
        at = next(
            place for place, line in enumerate(lines) if line.endswith(os.fsencode(path).replace(b"\n", rb"\012"))
        )
        return int(next(line for line in lines[at:] if line.startswith(b"Rss:")).split()[1])

    with file.open("r+b") as stream, other.open("r+b") as second:
        read = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        changed = mmap.mmap(second.fileno(), 0, access=mmap.ACCESS_COPY)
        assert bytes(read) == content
        changed[:8] = b"a change"
        assert held(file) == 4096
        name = str(file.resolve())
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as again:
            both = system.mapped(name)
            assert len(both) == 2
            assert bytes(again) == content
        assert system.mapped(name) < both, "what is no longer mapped is not found"
        assert system.release_mapped(system.mapped(name))
        assert held(file) == 0
        assert bytes(read) == content
        assert not system.mapped(str(other.resolve())), "what was written there would be lost"
        assert not system.mapped(str(tmp_path / "missing"))
        read.close()
        changed.close()
        assert not system.mapped(name)


def test_without_limits_every_file_may_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert system.raise_open_files(10**9) == 0


@posix
@pytest.mark.parametrize("lists", [True, False])
def test_what_can_t_be_opened_is_counted_also_where_descriptors_are_not_listed(
    lists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    limits = [(40, 50)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: limits.append(pair))
    if lists:
        monkeypatch.setattr(psutil.Process, "num_fds", lambda self: 30)
    else:
        monkeypatch.delattr(psutil.Process, "num_fds")
    used = 30 if lists else 32
    assert system.raise_open_files(10) == 0
    assert limits[-1][0] == (40 if lists else 42)
    assert system.raise_open_files(100) == used + 100 - 50


@posix
def test_a_limit_that_can_t_be_raised_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    def refused(which: int, pair: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (40, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refused)
    monkeypatch.setattr(psutil.Process, "num_fds", lambda self: 30)
    assert system.raise_open_files(100) == 90


def test_how_long_other_work_had_the_cpu_is_known_on_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, waited in enumerate((2_500_000_000, 500_000_000, None)):
        thread = tmp_path / f"self/task/{number}"
        thread.mkdir(parents=True)
        if waited is not None:  # the third has just ended
            (thread / "schedstat").write_text(f"77 {waited} 9\n", encoding="ascii")
    monkeypatch.setattr(system, "_PROC", tmp_path)
    assert system.waited_for_cpu() == 3.0
    (tmp_path / "self/task/0/schedstat").write_text("", encoding="ascii")
    assert system.waited_for_cpu() is None
    monkeypatch.setattr(system, "_PROC", tmp_path / "missing")
    assert system.waited_for_cpu() is None


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel doesn't say")
def test_a_thread_that_shares_its_cpu_waits() -> None:
    cpus = os.sched_getaffinity(0)
    before = system.waited_for_cpu()
    assert before is not None
    try:
        os.sched_setaffinity(0, {min(cpus)})  # for this thread, and for the process that it starts
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
            while (system.waited_for_cpu() or 0.0) < before + 0.01:
                pass
            other.kill()
    finally:
        os.sched_setaffinity(0, cpus)


def test_the_memory_of_a_process_is_known_until_it_is_gone() -> None:
    assert system.memory_of(os.getpid()) > 2**20
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert system.memory_of(process.pid) == 0


def test_a_process_is_told_from_others_with_its_id() -> None:
    pid, identity = system.process_identity()
    assert pid == os.getpid()
    assert system.is_running(pid, identity) is (True if identity else None)
    assert system.is_running(pid, "another machine 5") is None
    assert system.is_running(pid, None) is None
    if identity:
        child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.read()  # it has ended, or is about to
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert system.is_running(child.pid, f"{identity.rpartition(' ')[0]} 5") is False, (
            "one that nobody has waited for"
        )
        child.wait()


@posix
@pytest.mark.parametrize(
    ("code", "killed", "words"),
    [
        (-9, True, "SIGKILL"),
        (-15, True, "SIGTERM"),
        (-11, False, "SIGSEGV"),
        (-250, False, "signal 250"),
        (1, False, "exit code 1"),
        (0xC0000005, False, "exit code 0xc0000005"),
    ],
)
def test_how_a_process_ended_is_said(code: int, killed: bool, words: str) -> None:
    assert system.was_killed(code) is killed
    assert system.exit_cause(code) == words


def test_signals_that_a_system_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGKILL", "SIGHUP", "SIGBREAK"):
        monkeypatch.delattr(signal, name, raising=False)
    assert system.terminating_signals() == system.closing_signals() == (signal.SIGTERM,)
    assert not system.was_killed(-9)
    assert system.was_killed(-int(signal.SIGTERM))
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGINT, raising=False)  # any that is there
    assert system.terminating_signals() == (signal.SIGTERM, signal.SIGINT)


def test_what_a_library_writes_is_not_seen_and_a_closed_descriptor_is_no_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with system.silenced(2):
        os.write(2, b"from C")
    os.write(2, b"afterwards")
    assert capfd.readouterr().err == "afterwards"
    with system.silenced(10**6):  # no such descriptor
        pass


def test_a_terminal_that_nobody_can_measure_has_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((123, 40)))
    assert system.terminal_width(sys.__stderr__) == 123  # type: ignore[arg-type]
    monkeypatch.delattr(os, "get_terminal_size")
    assert system.terminal_width(sys.__stderr__) == 80  # type: ignore[arg-type]
    monkeypatch.setenv("COLUMNS", "31")
    assert system.terminal_width(sys.__stderr__) == 31  # type: ignore[arg-type]


def test_no_quota_is_no_limit(groups: Path) -> None:
    assert system._cpu_quota() == math.inf


def test_waiting_for_input_wakes_for_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal right before a blocking call is acted on when the call returns: none may last for ever."""
    waits = []

    def answered(reading: list[int], *_: object) -> tuple[list[int], ...]:
        waits.append(_[-1])
        return (reading if len(waits) == 3 else [], [], [])

    monkeypatch.setattr("select.select", answered)
    system.await_input(5)
    assert waits == [1.0, 1.0, 1.0]
    monkeypatch.setattr("select.select", lambda *_: exec("raise OSError(10038, 'not a socket')"))
    system.await_input(5)


def test_waiting_for_input_ends_with_data_and_with_the_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x")
    system.await_input(reading)
    assert os.read(reading, 1) == b"x"
    os.close(writing)
    system.await_input(reading)
    assert os.read(reading, 1) == b""
    os.close(reading)

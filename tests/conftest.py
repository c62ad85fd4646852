"""Shared by all tests: no network, one torch thread a test, and in CI no skips."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from forking import ForkServer
from quick import asks_for_processes, forbid_processes, is_quick_module

from videomae_cli import errors
from videomae_cli.system import usable_cpus

if TYPE_CHECKING:
    from objectstore import ObjectStore

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run beside each other: threads of one would wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hundreds of processes are started: compiling the package in every one of them would be much of their time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell ignores these for what it runs in the background, nohup for what outlives the terminal, and processes inherit that: tests
# that send them would wait for ever.
for _name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGTERM"):
    _number = getattr(signal, _name, None)  # Windows lacks two of them
    if _number and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _name == "SIGINT" else signal.SIG_DFL)

# A busy machine may need any time for an example.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

_LOG = logging.getLogger("videomae_cli")
_LOG_AT_FIRST = (_LOG.handlers[:], _LOG.propagate, _LOG.level)

# Files whose tests take half a minute or more together.
_LONG = frozenset(
    {"test_on_ray.py", "test_finetune.py", "test_batch.py", "test_streams.py", "test_engine_options.py"}
    | {"test_layout.py", "test_bundled_mae.py", "test_classify.py"}
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--quick`: what `make check` runs."""
    parser.addoption("--quick", action="store_true", help="only tests that start no process and encode no film")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are CPUs: many tests wait for something that takes none."""
    return usable_cpus() + 1


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--quick`, don't even import what takes its time."""
    slow = config.getoption("--quick") and collection_path.is_file() and not is_quick_module(collection_path)
    return True if slow else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take long come first, so that none of them is still running when all others are done.

    With `--quick`, leave out single tests that ask for processes.
    """
    items.sort(key=lambda item: item.path.name not in _LONG)
    if config.getoption("--quick"):
        slow = [item for item in items if asks_for_processes(item)]
        items[:] = [item for item in items if not asks_for_processes(item)]
        config.hook.pytest_deselected(items=slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """With `--quick`, a test that starts a process after all fails."""
    if item.config.getoption("--quick"):
        forbid_processes()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With VIDEOMAE_NO_SKIPS set (CI), a skipped test is a failed one."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if os.environ.get("VIDEOMAE_NO_SKIPS") and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"


@pytest.fixture(autouse=True)
def _package_as_it_was() -> Iterator[None]:
    """A command that a test, or a fixture of a module, runs in this process leaves the package's log and the words of its
    errors to the next as they were."""
    yield
    errors._of_block.set(None)
    _LOG.handlers[:], _LOG.propagate = _LOG_AT_FIRST[0], _LOG_AT_FIRST[1]
    _LOG.setLevel(_LOG_AT_FIRST[2])


@pytest.fixture(scope="session")
def s3_server() -> Iterator[ObjectStore]:
    """A real S3 server in this process, which all of its tests share."""
    from objectstore import start_store  # takes a second: only for those who need it

    store, running = start_store()
    yield store
    running.stop()


@pytest.fixture
def store(s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The server, which the clients of this process and of its children go to."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def bucket() -> str:
    """A name for a bucket that no other test has."""
    return f"bucket-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def quick_python() -> Iterator[str]:
    """A program to start instead of `sys.executable` where a process is needed, and starting it is not what is tested."""
    if not hasattr(os, "pidfd_open"):
        yield sys.executable
        return
    with ForkServer() as server:
        yield str(server.python)

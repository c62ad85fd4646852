"""Shared by all tests: no network, one torch thread a test, and in CI no skips."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import hypothesis
import pytest
from forking import SharedServer, early_variables
from quick import asks_for_processes, forbid_processes, is_quick_module

from videomae_cli import errors
from videomae_cli.system import usable_cpus
from videomae_cli.video import native

if TYPE_CHECKING:
    from objectstore import ObjectStore

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run beside each other: threads of one would wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# scikit-learn sets these when it is imported, and with variables that the server lacked nothing is forked (tests/forking.py).
os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "True")
os.environ.setdefault("KMP_INIT_AT_FORK", "FALSE")
# numba would compile UMAP for a minute, and for half a minute more where nobody has imported it before, to draw a few points.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
# Compiling in a pool of processes would first import torch there, and what the CPU says it has would be tried out by compiling
# something for each kind: half the time of a compiled model. Here, for torch reads them where processes are forked from.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")
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

# What is imported is much and stays: commands look for garbage as seldom (videomae_cli.cli).
gc.set_threshold(200_000, 10, 10)

# Names a file that is there until one worker has collected the tests, where Python has to compile all that they import.
_COMPILING = "COMPILING_THE_TESTS"
_EARLY_AT_FIRST = early_variables()
_LOG = logging.getLogger("videomae_cli")
_LOG_AT_FIRST = (_LOG.handlers[:], _LOG.propagate, _LOG.level)
_ROOT_AT_FIRST = logging.root.level

# Files whose tests take 25 seconds or more together, the longest first.
_LONG = (
    *("test_finetune.py", "test_engine_options.py", "test_on_ray.py", "test_outages.py", "test_streams.py"),
    *("test_batch.py", "test_growing_output.py", "test_onnx_engine.py", "test_finetune_values.py", "test_export.py"),
    *("test_engine_auto.py", "test_engines.py", "test_bench.py", "test_docs.py", "test_label_page.py"),
    *("test_documented_examples.py", "test_whole_films.py", "test_torch_free.py", "test_one_pass.py", "test_sparse.py"),
    *("test_pretrain.py", "test_parity.py", "test_report_page.py", "test_classify.py", "test_processes.py"),
)


_undo = pytest.MonkeyPatch.undo


def _undo_everywhere(patch: pytest.MonkeyPatch) -> None:
    """Undo patches also where a module that was first imported meanwhile has what it got by name, which it would keep for ever."""
    patched = [
        (owner, name, getattr(owner, name, None)) for owner, name, _ in patch._setattr if isinstance(owner, ModuleType)
    ]
    _undo(patch)
    for path, loaded in list(sys.modules.items()) if patched else ():
        if path.startswith("videomae_cli"):
            for owner, name, value in patched:
                before = getattr(owner, name, value)
                if before is not value and vars(loaded).get(name, before) is value:
                    setattr(loaded, name, before)


pytest.MonkeyPatch.undo = _undo_everywhere  # type: ignore[method-assign]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--quick`: what `make check` runs."""
    parser.addoption("--quick", action="store_true", help="only tests that start no process and encode no film")


def pytest_configure(config: pytest.Config) -> None:
    """The workers of a run share one process to fork from, which ends with the run."""
    if hasattr(config, "workerinput"):
        return
    if hasattr(os, "pidfd_open"):
        config.add_cleanup(SharedServer().end)
    torch = importlib.util.find_spec("torch")
    if torch and torch.cached and not Path(torch.cached).exists():
        file, os.environ[_COMPILING] = tempfile.mkstemp()
        os.close(file)
        config.add_cleanup(partial(Path(os.environ[_COMPILING]).unlink, missing_ok=True))


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are CPUs: many tests wait for something that takes none."""
    return usable_cpus() + 1


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--quick`, don't even import what takes its time."""
    slow = config.getoption("--quick") and collection_path.is_file() and not is_quick_module(collection_path)
    return True if slow else None


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays: looking through it again and again for garbage, then and later, takes its time.

    Of what Python has never compiled, one worker does that, and the others wait: each would compile all of it.
    """
    gc.disable()
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker not in (None, "gw0"):
        deadline = time.monotonic() + 120  # it may have died
        while os.environ.get(_COMPILING) and Path(os.environ[_COMPILING]).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    yield
    if worker == "gw0" and _COMPILING in os.environ:
        Path(os.environ[_COMPILING]).unlink(missing_ok=True)
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take long come first, the longest before all, so that none still runs when all others are done.

    With `--quick`, leave out single tests that ask for processes.
    """
    places = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
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


def _restore() -> None:
    # Hypothesis measures how long garbage is looked for, and an interrupt that comes in its function there is lost.
    gc.callbacks[:] = [one for one in gc.callbacks if not getattr(one, "__module__", "").startswith("hypothesis")]
    errors._of_block.set(None)
    native.set_debug(False)
    found = logging.root.manager.disable != logging.NOTSET or logging.root.level != _ROOT_AT_FIRST
    found |= (_LOG.handlers, _LOG.propagate, _LOG.level) != _LOG_AT_FIRST
    _LOG.handlers[:], _LOG.propagate, _LOG.level = _LOG_AT_FIRST[0], _LOG_AT_FIRST[1], _LOG_AT_FIRST[2]
    for name, log in logging.root.manager.loggerDict.items():
        if name.startswith(f"{_LOG.name}.") and isinstance(log, logging.Logger):
            found |= (log.level, log.propagate, log.disabled) != (logging.NOTSET, True, False)
            log.level, log.propagate, log.disabled = logging.NOTSET, True, False
    if (
        found
    ):  # else thousands of loggers, most of them torch's, would forget what they had worked out from their levels
        logging.root.setLevel(_ROOT_AT_FIRST)
        logging.disable(logging.NOTSET)
    for name in early_variables().keys() - _EARLY_AT_FIRST.keys():
        del os.environ[name]
    os.environ.update(_EARLY_AT_FIRST)


@pytest.fixture(autouse=True)
def _package_as_it_was() -> Iterator[None]:
    """Logs, the words of errors and what processes are forked with are for each test as they were at first.

    Whatever a command in this process, a fixture of another module or a library left behind.
    """
    _restore()
    yield
    _restore()


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of checkpoints goes nowhere near the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOMAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def _nothing_measured(_cache_of_the_session: None) -> Iterator[None]:
    """What one module measured of a model chooses no engine for another's, whose model may have the same weights."""
    cache = Path(os.environ["VIDEOMAE_CACHE"])
    yield
    for folder in cache.rglob("timings"):
        shutil.rmtree(folder)


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
def quick_python() -> str:
    """A program to start instead of `sys.executable` where a process is needed, and starting it is not what is tested."""
    return SharedServer.python() if hasattr(os, "pidfd_open") else sys.executable

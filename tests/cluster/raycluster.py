"""Real Ray clusters for tests: several raylets on this machine, as `ray start` would start one on each of several."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import worker_start
from forking import RAY, ForkServer

# What is drawn or sent nowhere, and patience for a machine that other tests keep busy.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "20000",
    "RAY_health_check_failure_threshold": "8",
    "RAY_worker_register_timeout_seconds": "180",
    # Ray's workers give way to all else (15), which beside a busy process means that they hardly run.
    "RAY_worker_niceness": "0",
}
STORE_BYTES = 80 * 2**20
# What `Cluster.add_node` is told of each machine; its workers are forked.
NODE: dict[str, Any] = {
    "num_cpus": 1,
    "object_store_memory": STORE_BYTES,
    "setup_worker_path": str(Path(worker_start.__file__).resolve()),
}
# Seconds for what takes a few: two raylets and their workers, each of which imports torch, on a machine with other work.
PATIENCE = 400.0
_TRIES = 3
_started: list[subprocess.Popen[str]] = []
_hung: list[str] = []


@contextmanager
def ray_cluster(python: str, nodes: int = 2, settings: Sequence[Mapping[str, str]] = ()) -> Iterator[Any]:
    """`ray.cluster_utils.Cluster` of nodes with one core each and a small object store; `.address` is where it is.

    python: what starts the workers.
    settings: variables of the environment of each node, which then have addresses of their own.
    """
    from ray.cluster_utils import Cluster

    head = {**NODE, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    own: list[dict[str, Any]] = [{} for _ in range(nodes)]
    for number, variables in enumerate(settings):
        own[number] = {"env_vars": dict(variables), **({"node_ip_address": f"127.0.0.{number + 1}"} if number else {})}
    os.environ[worker_start.PYTHON] = python
    for attempt in range(_TRIES):
        cluster = None
        try:
            cluster = Cluster(initialize_head=True, head_node_args={**head, **own[0]})
            for node in own[1:]:
                cluster.add_node(**NODE, **node)
            break
        except Exception:  # Ray gives a raylet 30 seconds to start, whatever else the machine does
            if cluster is not None:
                cluster.shutdown()
            if attempt == _TRIES - 1:
                raise
    try:
        with contextlib.ExitStack() as servers:
            if python != sys.executable:
                for node in cluster.list_all_nodes():
                    servers.enter_context(_workers_of(node, python))
            yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def _workers_of(node: Any, python: str) -> Iterator[None]:
    """Have a machine's workers forked where Ray is imported, half of what a worker does else.

    Ray's library looks once, when it is loaded, which raylet a worker is to end with, and of which job it is: these are of none
    yet, like those that a raylet starts before it has work for them.
    """
    raylet = str(node.all_processes["raylet"][0].process.pid)
    with ForkServer(RAY, python, {"RAY_RAYLET_PID": raylet, "RAY_JOB_ID": "ffffffff"}) as server:
        own = Path(worker_start.own_python(python, raylet))
        own.symlink_to(server.python)
        yield
        own.unlink()


def start(python: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """The real command in a real process."""
    assert not _hung, f"not tried, for an earlier command did not end: {_hung[0]}"
    command = [python, "-m", "videomae_cli", *map(os.fspath, arguments)]
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})}
    _started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings))
    return _started[-1]


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for what `start` started: what it printed, and its errors. One that does not end shows what its threads do, if the
    fork server started it, and is the last that is tried: the rest would wait as long, one by one."""
    try:
        return process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        _hung.append(" ".join(map(str, process.args)))  # type: ignore[arg-type]
        process.send_signal(signal.SIGUSR2)
        time.sleep(5)
        process.kill()
        out, errors = process.communicate()
        pytest.fail(f"{_hung[-1]} did not end within {PATIENCE:g} s\n{out}\n{errors}")


def end_all() -> None:
    """Kill and reap every command that `start` started and that still runs."""
    while _started:
        with _started.pop() as process:
            process.kill()


def pids(*words: str) -> list[int]:
    """Processes whose title holds all the words."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if all(word in title for word in words):
                    found.append(int(folder.name))
    return found


def kill_one(*words: str, seconds: float = PATIENCE) -> bool:
    """kill -9 the first process with such a title that there is, waiting for one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for pid in pids(*words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        time.sleep(0.02)
    return False


def wait_for_pieces(process: subprocess.Popen[str], folder: Path, count: int, seconds: float = PATIENCE) -> int:
    """Until a running job has left so many pieces, or is over: how many there are."""
    deadline = time.monotonic() + seconds
    while True:
        there = len(list((folder / "_partial").glob("*.parquet"))) if folder.exists() else 0
        if there >= count or process.poll() is not None or time.monotonic() > deadline:
            return there
        time.sleep(0.02)


def without_waiting(errors: str) -> str:
    """Leave out the line that a command says when the cluster takes its time to start a worker, as a busy machine's does."""
    lines = errors.splitlines(keepends=True)
    return "".join(line for line in lines if line.strip() != "videomae: waiting for the cluster to have a machine free")


def spilled(cluster: Any) -> list[Path]:
    """The folders of machines whose object store was full, so that Ray wrote what had no room to the disk: Ray makes such
    a folder when it first needs one."""
    return list(Path(cluster.head_node.get_session_dir_path()).glob("ray_spilled_objects*"))

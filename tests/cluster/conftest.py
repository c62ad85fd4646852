"""Real small videos, tiny real checkpoints and the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from forking import FOR_RAY, RAY, ForkServer
from raycluster import end_all, ended, start
from samples import Run


@pytest.fixture(scope="session")
def quick_python() -> Iterator[str]:
    """As for other tests, with what Ray imports."""
    if not hasattr(os, "pidfd_open"):
        yield sys.executable
        return
    with ForkServer(FOR_RAY) as server:
        yield str(server.python)


@pytest.fixture(scope="session")
def ray_python(quick_python: str) -> Iterator[str]:
    """With Ray itself: for commands on a cluster. Not for Ray's workers, which have their own (raycluster.py)."""
    if quick_python == sys.executable:
        yield quick_python
        return
    with ForkServer(RAY, quick_python) as server:
        yield str(server.python)


@pytest.fixture(scope="session")
def videomae(ray_python: str) -> Run:
    """Runs the real command, its output piped."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        process = start(ray_python, *arguments)
        out, errors = ended(process)
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    return run


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    """Ends the commands of a test that failed: they would take the cluster from the next one."""
    yield
    end_all()

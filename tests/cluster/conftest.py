"""Real small videos, tiny real checkpoints and the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from forking import FOR_RAY, ForkServer
from raycluster import end_all, ended, start
from samples import Run


@pytest.fixture(scope="session")
def quick_python() -> Iterator[str]:
    """As for other tests, with what Ray imports: for the commands, and for the workers of clusters."""
    if not hasattr(os, "pidfd_open"):
        yield sys.executable
        return
    with ForkServer(FOR_RAY) as server:
        yield str(server.python)


@pytest.fixture(scope="session")
def videomae(quick_python: str) -> Run:
    """Runs the real command, its output piped."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        process = start(quick_python, *arguments)
        out, errors = ended(process)
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    return run


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    """Ends the commands of a test that failed: they would take the cluster from the next one."""
    yield
    end_all()

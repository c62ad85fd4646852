"""Real small videos, tiny real checkpoints and the real command, in fresh processes as a user starts them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from raycluster import start
from samples import Run


@pytest.fixture(scope="session")
def videomae() -> Run:
    """Runs the real command, its output piped."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        process = start(*arguments)
        out, errors = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    return run

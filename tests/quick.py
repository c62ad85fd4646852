"""What `make check` runs: the tests that start no process, encode no film and run no model, found out from what their modules import.

Nobody has to mark anything. A module is quick unless it, or a module of the tests that it imports, or the conftest.py
beside it, imports one of `_SLOW`. Should one start a process all the same, it fails there, and says so.
"""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

_TESTS = Path(__file__).parent
# The tests' root conftest.py offers processes to all; only those who ask for these fixtures have them.
_PROCESS_FIXTURES = frozenset({"quick_python", "videomae", "s3_server", "store"})
_SLOW = frozenset(
    {"subprocess", "multiprocessing", "forking", "av", "torch", "ray", "moto", "chromium", "skvideo", "transformers"}
    | {"sklearn"}  # the layouts' tests, whose UMAP is compiled when it is first used
)


def is_quick_module(file: Path) -> bool:
    """Whether the tests of a module start no process, encode no film and run no model, by its imports."""
    beside = file.with_name("conftest.py")
    imported = _imports(file) | (_imports(beside) if beside.exists() and beside.parent != _TESTS else frozenset())
    return not imported & _SLOW


def asks_for_processes(item: pytest.Item) -> bool:
    """Whether a test of a quick module uses a fixture that starts processes."""
    return bool(_PROCESS_FIXTURES & set(getattr(item, "fixturenames", ())))


def forbid_processes() -> None:
    """From now on starting a process from this one fails."""
    subprocess.Popen.__init__ = _fail  # type: ignore[method-assign]


def _fail(*_: Any, **__: Any) -> NoReturn:
    pytest.fail("a test of `make check` starts a process: tests/quick.py has to learn what gives it away")


@cache
def _imports(file: Path) -> frozenset[str]:
    """Names of all modules that a file imports, itself or through other modules of the tests."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    tops = {name.partition(".")[0] for name in names}
    for top in set(tops):
        for helper in _TESTS.rglob(f"{top}.py"):
            tops |= _imports(helper) if helper != file else set()
    return frozenset(tops)

"""Lazy loading of a package's public names, so that importing the package imports nothing heavy."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def attach_stub(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Build `__getattr__`, `__dir__` and `__all__` for a package from the stub beside its `__init__.py`.

    The stub, which type checkers read too, has lines `from .module import Name as Name`. A name is imported from its
    module when it is first used, as with `lazy_loader.attach_stub`.
    """
    stub = Path(file).with_suffix(".pyi")
    homes = {
        alias.name: f"{package}.{node.module}"
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)  # so that later look-ups find it without calling this function
        return value

    return get, lambda: sorted(homes), sorted(homes)

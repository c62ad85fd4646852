"""The syntax of the package's modules, parsed and walked once for all tests of a file that look at it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def parsed(file: Path) -> ast.Module:
    """A module's syntax, which nobody changes."""
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    """Everything in it, in the order of `ast.walk`."""
    return tuple(ast.walk(parsed(file)))


def forget() -> None:
    """A million nodes would be looked through for garbage in all tests that come after."""
    parsed.cache_clear()
    nodes.cache_clear()

"""The door of the package: what it lists, that it imports nothing heavy, and that it stays silent."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import videomae_cli

PACKAGE = Path(videomae_cli.__file__).parent
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))
HEAVY = {
    "torch",
    "cv2",
    "av",
    "numpy",
    "PIL",
    "pyarrow",
    "huggingface_hub",
    "safetensors",
    "matplotlib",
    "typer",
    "rich",
}


def test_importing_the_package_imports_nothing_heavy_and_changes_nothing() -> None:
    program = f"""
import logging, signal, sys
before = {{number: signal.getsignal(number) for number in signal.valid_signals()}}
import videomae_cli
names = dir(videomae_cli)
print(sorted({HEAVY!r} & set(sys.modules)), "load_classifier" in names, names == sorted(names))
print(before == {{number: signal.getsignal(number) for number in before}}, logging.getLogger().handlers)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[] True True", "True []"]
    assert not done.stderr


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.parent.name)
def test_every_name_of_a_stub_is_there_documented_and_listed(stub: Path) -> None:
    name = ".".join(stub.parent.relative_to(PACKAGE.parent).parts)
    package = sys.modules.get(name) or __import__(name, fromlist=["__all__"])
    aliases = [
        alias for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert sorted(alias.name for alias in aliases) == dir(package) == package.__all__
    for alias in aliases:
        assert alias.asname == alias.name, "type checkers take only names that are exported again as themselves"
        assert getattr(package, alias.name).__doc__ or alias.name.isupper()


def test_public_functions_say_what_they_raise() -> None:
    for name in dir(videomae_cli):
        value = getattr(videomae_cli, name)
        if callable(value) and not isinstance(value, type) and name not in ("open_video", "demo_clip"):
            assert "Raises" in value.__doc__, name


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'videomae_cli' has no attribute 'load_clasifier'"):
        videomae_cli.load_clasifier  # noqa: B018


def test_there_are_stubs() -> None:
    assert len(STUBS) >= 5

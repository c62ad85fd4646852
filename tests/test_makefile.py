"""The Makefile says in one line which Python it needs, whatever it finds, and leaves nothing half made behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parent.parent / "Makefile"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def _python(path: Path, version: str, otherwise: str = "exit 1") -> Path:
    """Write a program that answers the Makefile's question for its version, and does something else when asked for more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\ncase "$1" in -c) echo {version};; *) {otherwise};; esac\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def _demo(folder: Path, *arguments: str) -> str:
    """Run `make demo` in a folder of its own, see it fail, and return what it says."""
    shutil.copy(MAKEFILE, folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    command = ["make", "--no-print-directory", *arguments, "demo"]
    # `make test` runs this too: what a make hands down to the makes it starts is none of ours.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "GNUMAKE"))
    }
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 2
    return "\n".join(line for line in ended.stderr.splitlines() if not line.startswith("make: ***"))


@pytest.mark.parametrize(
    ("version", "said"), [("3.10", "is 3.10"), ("3.1", "is 3.1"), ("''", "is no Python that starts")]
)
def test_a_python_that_is_not_supported_is_one_line(tmp_path: Path, version: str, said: str) -> None:
    python = _python(tmp_path / "bin" / "python", version)
    line = _demo(tmp_path, f"PYTHON={python}")
    assert line == line.splitlines()[0]
    assert f"{python} {said}: name another one" in line
    assert not (tmp_path / ".venv").exists()


def test_no_python_at_all_is_one_line(tmp_path: Path) -> None:
    line = _demo(tmp_path, "PYTHON=")
    assert "none of them is on PATH: install one" in line
    assert "\n" not in line


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_an_environment_of_another_python_is_one_line(tmp_path: Path, version: str) -> None:
    _python(tmp_path / ".venv" / "bin" / "python", version)
    line = _demo(tmp_path, f"PYTHON={_python(tmp_path / 'bin' / 'python', '3.12')}")
    assert line.startswith(".venv was made with another Python")
    assert "make clean" in line
    assert "\n" not in line


def test_an_environment_whose_python_is_gone_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    assert "gone: make clean" in _demo(tmp_path, f"PYTHON={_python(tmp_path / 'bin' / 'python', '3.12')}")


def test_an_environment_that_fails_half_way_is_made_again(tmp_path: Path) -> None:
    """A Debian Python without its venv package makes the interpreter's link before it finds out that pip is missing."""
    half = "mkdir -p .venv/bin; ln -s /bin/sh .venv/bin/python; echo no ensurepip >&2; exit 1"
    python = _python(tmp_path / "bin" / "python", "3.12", half)
    for _ in range(2):
        assert "no ensurepip" in _demo(tmp_path, f"PYTHON={python}")
        assert not (tmp_path / ".venv" / "bin" / "python").is_symlink()

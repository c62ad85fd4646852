"""What a test patches is as before for the next one, whichever modules it was the first to import (conftest.py)."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from videomae_cli.cli.terminal import console


def test_a_module_that_is_imported_under_a_patch_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    late = ModuleType("videomae_cli.late")
    monkeypatch.setitem(sys.modules, late.__name__, late)
    before = console.is_terminal
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "is_terminal", lambda stream: True)
        exec("from videomae_cli.cli.terminal.console import is_terminal, note", vars(late))
        assert vars(late)["is_terminal"] is not before
    assert vars(late)["is_terminal"] is console.is_terminal is before
    assert vars(late)["note"] is console.note

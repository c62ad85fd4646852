"""What `videomae label` says at its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from videomae_cli.cli.commands.label import _end
from videomae_cli.cli.terminal import console


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (None, ("videomae", "classify", "VIDEO", "--model", Path("labels.model"))),
        ("4s", ("videomae", "timeline", "VIDEO", "--model", Path("labels.model"), "--window", "4s")),
    ],
    ids=["files", "windows"],
)
def test_what_was_learnt_is_used_as_it_was_learnt(
    window: str | None, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    suggested: list[Any] = []
    monkeypatch.setattr(console, "suggest", lambda *commands: suggested.extend(commands))
    session = SimpleNamespace(count=2, head=lambda: "a head")
    labelling: Any = SimpleNamespace(session=session, output="labels.csv", save_model=lambda: Path("labels.model"))
    _end(labelling, window)
    assert suggested == [expected]

"""Real small videos and tiny real checkpoints for the tests of the public functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import make_checkpoint, write_video

from videomae_cli.video import worker


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 30 frames."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny random classifier of four labels."""
    return make_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(autouse=True)
def _quick_decoding(quick_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding processes start quickly, from one that has imported what they need."""
    monkeypatch.setattr(worker, "INTERPRETER", quick_python)

"""Real small videos, tiny real checkpoints and the real command, for every test of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lessons import cut_recordings
from samples import Run, checkpoint, decoding_here, quick_decoding, video

__all__ = ["checkpoint", "decoding_here", "quick_decoding", "video"]


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled clips of three recordings, split in time: 18 to train on, 9 held out."""
    return cut_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="session")
def few(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of these clips of each recording to train on and one held out: for what is not about learning."""
    folder = tmp_path_factory.mktemp("few")
    for file in recordings.rglob("*.mp4"):
        if int(file.stem) < (2 if file.parent.parent.name == "train" else 1):
            there = folder / file.relative_to(recordings)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(file)
    return folder


@pytest.fixture(scope="session")
def videomae(quick_python: str) -> Run:
    """Runs the real command in a real process, its output piped. fresh: with nothing imported before, as users start it."""

    def run(
        *arguments: str | Path,
        environment: dict[str, str] | None = None,
        text: bool = True,
        fresh: bool = False,
        **options: object,
    ) -> subprocess.CompletedProcess[str]:
        settings = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **(environment or {})}
        settings.pop("VIDEOMAE_MODEL", None) if not environment or "VIDEOMAE_MODEL" not in environment else None
        command = [sys.executable if fresh else quick_python, "-m", "videomae_cli", *map(os.fspath, arguments)]
        return subprocess.run(command, capture_output=True, text=text, env=settings, check=False, **options)  # type: ignore[call-overload,no-any-return]

    return run

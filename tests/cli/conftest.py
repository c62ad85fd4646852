"""Real small videos, tiny real checkpoints and the real command, for every test of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def write_video(path: Path, *, count: int = 30, size: tuple[int, int] = (96, 64), codec: str = "libx264") -> Path:
    """A clip of a bright square that moves over grey, `count` frames at 25 a second."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(count):
            image = np.full((size[1], size[0], 3), 90, np.uint8)
            image[10:30, number : number + 20] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good clip."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny random classifier of four labels, one of them full of markup."""
    return make_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


def make_checkpoint(folder: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=32,
        patch_size=16,
        num_frames=16,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        id2label={0: "walking", 1: "[bold]running[/bold]", 2: "Straße überqueren", 3: "滑雪"},
    ).replace(**changes)
    model = VideoMAEForVideoClassification(config)
    with torch.no_grad():
        model.classifier.weight.normal_(std=1.0)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def videomae() -> Run:
    """Runs the real command in a real process, its output piped."""

    def run(
        *arguments: str | Path, environment: dict[str, str] | None = None, text: bool = True, **options: object
    ) -> subprocess.CompletedProcess[str]:
        settings = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **(environment or {})}
        settings.pop("VIDEOMAE_MODEL", None) if not environment or "VIDEOMAE_MODEL" not in environment else None
        command = [sys.executable, "-m", "videomae_cli", *map(os.fspath, arguments)]
        return subprocess.run(command, capture_output=True, text=text, env=settings, check=False, **options)  # type: ignore[call-overload,no-any-return]

    return run

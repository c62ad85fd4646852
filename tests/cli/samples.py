"""Small real videos and tiny real checkpoints for the tests of the command line."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_cli.video import Decoder, worker

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def run_here(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command inside this process, for tests that are about what it does and not about how it starts and ends."""
    with contextlib.chdir(cwd or Path.cwd()):
        result = CliRunner().invoke(app, [os.fspath(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # a traceback, in a process
    return subprocess.CompletedProcess([], result.exit_code, result.stdout, result.stderr)


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


# Fixtures that several folders of tests import by name into their conftest.py.


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good clip of 30 frames."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny random classifier of four labels, one of them full of markup."""
    return make_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(autouse=True)
def quick_decoding(quick_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode in processes that start quickly, from one that has imported what they need."""
    monkeypatch.setattr(worker, "INTERPRETER", quick_python)


@pytest.fixture
def decoding_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode in the test's process: for what is not about decoding, of which a process would be most of the time."""
    defaults = Decoder.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "isolate", False)

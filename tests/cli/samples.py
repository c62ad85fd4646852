"""Small real videos and tiny real checkpoints for the tests of the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
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

"""How long a training of all weights may take on this CPU, measured by one step before it begins."""

from __future__ import annotations

import time

import torch

from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, clip_gflops

# `--mode auto` trains all weights on a CPU where that takes no longer.
PATIENCE_SECONDS = 600.0
# So many billions of multiply-adds are enough to measure by: some tenths of a second.
_ENOUGH_GFLOPS = 4.0
_MOST_VIEWS = 8


def seconds_of_a_view(config: VideoMAEConfig) -> float:
    """Measure the seconds that a model of this shape takes forwards and backwards for one view of a clip, on the CPU."""
    with torch.random.fork_rng():  # what is drawn later is the same with and without the measurement
        model = VideoMAEForVideoClassification(config.replace(id2label={0: "any"})).train()
        views = max(1, min(_MOST_VIEWS, int(_ENOUGH_GFLOPS / clip_gflops(config))))
        shape = (views, config.num_frames, config.num_channels, *config.image_hw)
        pixels, taken = torch.zeros(shape), float("inf")
        for _ in range(2 if views > 1 else 1):  # the first one allocates, which large models hardly notice
            start = time.perf_counter()
            model(pixels).logits.sum().backward()
            taken = min(taken, time.perf_counter() - start)
    return taken / views


def expected_seconds(
    config: VideoMAEConfig, *, epochs: int, train_views: int, val_views: int, reading: float = 0.0
) -> float:
    """Return the seconds that `epochs` take on the CPU, each of so many views trained on and others only looked at.

    reading: seconds of reading one view, as measured while the files were tried.
    """
    view = seconds_of_a_view(config)
    # A backward pass costs about two forward passes.
    return epochs * (train_views * (view + reading) + val_views * (view / 3 + reading))

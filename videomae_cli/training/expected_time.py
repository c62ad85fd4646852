"""Estimates how long it will take to train all weights on this CPU, by timing a single step."""

from __future__ import annotations

import time

import torch

from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, clip_gflops

# Longest time for which `--mode auto` trains all weights on a CPU.
PATIENCE_SECONDS = 600.0
# GFLOP that are enough for a measurement: they take some tenths of a second.
_ENOUGH_GFLOPS = 4.0
_MOST_VIEWS = 8


def seconds_of_a_view(config: VideoMAEConfig) -> float:
    """Measure the seconds that a forward and backward pass of one view takes on the CPU for a model of this shape."""
    with torch.random.fork_rng():  # the measurement must not change later random draws
        model = VideoMAEForVideoClassification(config.replace(id2label={0: "any"})).train()
        views = max(1, min(_MOST_VIEWS, int(_ENOUGH_GFLOPS / clip_gflops(config))))
        shape = (views, config.num_frames, config.num_channels, *config.image_hw)
        pixels, taken = torch.zeros(shape), float("inf")
        # the first pass also allocates memory, a cost that matters only for small models
        for _ in range(2 if views > 1 else 1):
            start = time.perf_counter()
            model(pixels).logits.sum().backward()
            taken = min(taken, time.perf_counter() - start)
    return taken / views


def expected_seconds(
    config: VideoMAEConfig, *, epochs: int, train_views: int, val_views: int, reading: float = 0.0, processes: int = 1
) -> float:
    """Estimate the seconds for `epochs` on the CPU.

    train_views, val_views: views per epoch that are trained on, and that are only evaluated.

    reading: seconds to read one view, as measured when the files were checked.
    """
    view = seconds_of_a_view(config)
    # A backward pass costs about two forward passes.
    shared = train_views * (view + reading) + val_views * (view / 3 + reading)
    return epochs * shared / processes

"""Estimates how long training or computing features will take on this CPU, by timing a few views."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, clip_gflops
from videomae_cli.model.masking import MASKS

# Longest time for which `--mode auto` trains all weights on a CPU.
PATIENCE_SECONDS = 600.0
# A model above this size is timed with fewer layers, since all of them are alike.
_MOST_GFLOPS = 20.0
# A pass that takes less is timed again with several views, one that takes more isn't repeated.
_SHORT_SECONDS, _LONG_SECONDS, _MOST_VIEWS = 0.5, 5.0, 8


def seconds_of_a_view(config: VideoMAEConfig, *, learning: bool = True) -> float:
    """Measure the seconds that one view takes a classifier of this shape on the CPU: a forward pass, when learning also the
    backward pass."""
    short = config
    while clip_gflops(short) > _MOST_GFLOPS and short.num_hidden_layers > 1:
        short = config.replace(num_hidden_layers=max(1, short.num_hidden_layers // 2), pruned_heads={})
    with torch.random.fork_rng(devices=[]):  # the measurement must not change later random draws
        model = VideoMAEForVideoClassification(short.replace(id2label={0: "any"})).train(learning)

        def run(views: int) -> None:
            with torch.set_grad_enabled(learning):
                total = model(_blank(short, views)).logits.sum()
            if learning:
                total.backward()

        return _measured(run) * clip_gflops(config) / clip_gflops(short)


def seconds_of_a_masked_view(model: VideoMAEForPreTraining, mask: str, ratio: float) -> float:
    """Measure the seconds that a forward and backward pass of one view takes on the CPU when most of it is hidden.

    The model's gradients are dropped afterwards.
    """

    def run(views: int) -> None:
        hidden = MASKS[mask](model.config.grid, ratio, batch=views, seed=0)
        model(_blank(model.config, views), hidden, return_dict=True).loss.backward()

    with torch.random.fork_rng(devices=[]):
        taken = _measured(run)
    model.zero_grad(set_to_none=True)
    return taken


def all_epochs(count: int) -> str:
    """Name all epochs of a run after "for": "all 30 epochs", "the one epoch"."""
    return f"all {count} epochs" if count > 1 else "the one epoch"


def expected_seconds(
    view: float, *, epochs: int, train_views: int, val_views: int, reading: float = 0.0, processes: int = 1
) -> float:
    """Estimate the seconds for `epochs` on the CPU.

    view: seconds to train on a view; train_views, val_views: views per epoch that are trained on, and that are only
    evaluated; reading: seconds to read one view, as measured when the files were checked.
    """
    # A backward pass costs about two forward passes.
    shared = train_views * (view + reading) + val_views * (view / 3 + reading)
    return epochs * shared / processes


def _blank(config: VideoMAEConfig, views: int) -> torch.Tensor:
    return torch.zeros(views, config.num_frames, config.num_channels, *config.image_hw)


def _measured(run: Callable[[int], None]) -> float:
    """Return the seconds that `run` takes for a view. The first call, which also allocates memory, counts only if it is long."""
    taken = _timed(run, 1)
    if taken < _SHORT_SECONDS:
        return _timed(run, _MOST_VIEWS) / _MOST_VIEWS
    return taken if taken >= _LONG_SECONDS else (_timed(run, 1) + _timed(run, 1)) / 2


def _timed(run: Callable[[int], None], views: int) -> float:
    start = time.perf_counter()
    run(views)
    return time.perf_counter() - start

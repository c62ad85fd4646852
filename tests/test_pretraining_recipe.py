"""The recipe of the bundled pre-training checkpoint: what it claims, and that a run can stop and go on."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from recipes.camera_motion import autoencoder
from recipes.camera_motion.autoencoder import (
    BATCH,
    CameraMotionMAE,
    Stream,
    asked_tokens,
    configuration,
    draw_mask,
    loss_of,
    pixel_values,
    preprocessor,
)
from recipes.camera_motion.head_start import head_start
from recipes.camera_motion.unlabelled import Unlabelled, footage_window
from videomae_cli.jobs import Settings
from videomae_cli.model import VideoMAEForPreTraining
from videomae_cli.model.layers import sincos_table
from videomae_cli.model.masking import tube_mask
from videomae_cli.training import Loop, Run, Trainer


def left_over(width: int) -> float:
    """What least squares over the position table leaves of the column's wave, as a share of its deviation."""
    at = np.arange(512)
    table = np.c_[sincos_table(512, width)[0].double().numpy(), np.ones(512)]
    wave = np.cos(2 * np.pi * at / 8)
    weights, *_ = np.linalg.lstsq(table, wave, rcond=1e-3)
    return float(np.std(table @ weights - wave) / np.std(wave))


def test_columns_can_be_read_off_the_position_table_at_these_widths() -> None:
    config = configuration()
    assert left_over(config.hidden_size) < 0.1
    assert left_over(config.decoder_hidden_size) < 0.1
    assert left_over(192) > 0.98
    assert left_over(128) > 0.98


def some_clips(count: int) -> torch.Tensor:
    clips = Unlabelled([], [], seed=3, textures=4)
    return torch.from_numpy(np.stack([clips.sample(i) for i in range(count)]))


def test_a_clip_is_a_function_of_its_number() -> None:
    first, second = (Unlabelled([], [], seed=4, textures=2) for _ in range(2))
    np.testing.assert_array_equal(first.sample(11), second.sample(11))
    assert not np.array_equal(first.sample(11), first.sample(12))
    batches = list(Stream(first, 1, 2))
    assert len(batches) == 1
    np.testing.assert_array_equal(batches[0][0].numpy(), first.sample(BATCH))


@pytest.mark.parametrize("shape", [(40, 70, 90), (16, 64, 64), (200, 144, 176)])
def test_windows_of_footage_fit_in_it(shape: tuple[int, int, int]) -> None:
    footage = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for seed in range(8):
        assert footage_window(np.random.default_rng(seed), footage).shape == (16, 64, 64, 3)


def test_masks_leave_five_to_fifty_percent_and_always_something() -> None:
    config = configuration()
    shares = [float((~draw_mask(np.random.default_rng(seed), config, 2)).float().mean()) for seed in range(200)]
    assert 0.04 < min(shares) < 0.08
    assert 0.4 < max(shares) < 0.65


def test_only_hidden_tokens_are_asked_for() -> None:
    mask = tube_mask(configuration().grid, 0.9, batch=3, seed=1)
    asked = asked_tokens(mask, 128, seed=5)
    assert asked.sum(dim=1).tolist() == [128] * 3
    assert not (asked & ~mask).any()
    assert torch.equal(asked_tokens(mask, None, seed=5), mask)


def test_the_loss_is_the_models_own_where_all_hidden_tokens_are_asked_for() -> None:
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(configuration()).eval()
    clips = pixel_values(some_clips(2))
    mask = tube_mask(model.config.grid, 0.9, batch=2, seed=1)
    with torch.no_grad():
        hidden, _ = loss_of(model, clips, mask, mask)
        assert float(hidden) == pytest.approx(float(model(clips, mask).loss), rel=1e-5)


def test_the_start_is_already_better_than_one_colour() -> None:
    torch.manual_seed(0)
    model = VideoMAEForPreTraining(configuration()).eval()
    clips = pixel_values(some_clips(20))
    seen, new = clips[:16], clips[16:]
    head_start(model, seen, [tube_mask(model.config.grid, 0.75, batch=16, seed=1)])
    mask = tube_mask(model.config.grid, 0.75, batch=4, seed=2)
    with torch.no_grad():
        loss = float(model(new, mask).loss)
    assert loss < float(model.target(new).var())


def trained(folder: Path, *, stop_after: int | None = None) -> Trainer:
    """A run in `folder`, to its end or to a break."""
    task = CameraMotionMAE(Unlabelled([], [], seed=0, textures=2), steps=2, seed=0, rate=1e-3, workers=0)
    with Run(folder, resume=True, overwrite=False) as run:
        state = run.begin(Settings("pretrain", "test", task.settings))
        trainer = Trainer(task, run, Loop(), stop=lambda: trainer.done == stop_after)
        assert trainer(state) == ("finished" if stop_after is None else "interrupted")
    return trainer


def test_a_resumed_run_is_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "BATCH", 2)
    monkeypatch.setattr(autoencoder, "STARTING_BATCHES", 2)
    # Five rounds of bfloat16 products for each matrix: most of a minute on a CPU without units for them.
    monkeypatch.setattr(torch.optim, "Muon", partial(torch.optim.Muon, ns_steps=1))
    through = trained(tmp_path / "through")
    trained(tmp_path / "broken", stop_after=1)
    resumed = trained(tmp_path / "broken")
    assert resumed.done == through.done == 2
    assert resumed.average is not None
    assert through.average is not None
    for ours, theirs in zip(resumed.average.parameters(), through.average.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert VideoMAEForPreTraining.from_pretrained(tmp_path / "broken").config.hidden_size == 228


def test_clips_are_normalised_as_the_checkpoint_says() -> None:
    clips = some_clips(2)
    torch.testing.assert_close(pixel_values(clips), preprocessor().to_pixel_values(clips.numpy()), rtol=1e-5, atol=1e-5)

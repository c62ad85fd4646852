"""Reconstructions: equal to the reference's, their statistics and metrics to cases computed by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from reference import clips, randomise, reference_for, relative_error, tiny_config

from videomae_cli.errors import OptionError
from videomae_cli.model import VideoMAEForPreTraining
from videomae_cli.model.masking import MASKS, tube_mask, unpatchify
from videomae_cli.reconstruction import make_mask, pixel_mask, psnr, reconstruct, ssim, statistics

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
Array = npt.NDArray[np.float64]


def pretrainer(**changes: Any) -> VideoMAEForPreTraining:
    model = VideoMAEForPreTraining(tiny_config(**changes))
    randomise(model)
    return model.eval()


def placed(original: Array, pixels: Array, mask: Array, *, patch: int, tubelet: int, original_stats: bool) -> Array:
    """Frames (T, H, W, C) with predictions (masked, patch_dim) written into them, one patch and one pixel at a time."""
    result = original.copy()
    frames, height, width, channels = original.shape
    number = token = 0
    for t in range(0, frames, tubelet):
        for y in range(0, height, patch):
            for x in range(0, width, patch):
                if mask[token]:
                    box = np.s_[t : t + tubelet, y : y + patch, x : x + patch]
                    values = pixels[number].reshape(tubelet, patch, patch, channels)
                    if original_stats:
                        there = original[box].reshape(-1, channels)
                        values = values * (there.std(axis=0, ddof=1) + 1e-6) + there.mean(axis=0)
                    result[box] = values
                    number += 1
                token += 1
    return result


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("norm", [True, False], ids=["normalised patches", "plain pixels"])
def test_frames_equal_the_reference_with_the_same_weights_and_mask(kind: str, norm: bool) -> None:
    model = pretrainer(norm_pix_loss=norm)
    video = 0.3 * clips(model.config, batch=1)
    mask = make_mask(model, kind, 0.5, seed=3)
    with torch.no_grad():
        theirs = reference_for(model)(video, mask)
    original = np.clip(video[0].permute(0, 2, 3, 1).double().numpy() * STD + MEAN, None, None)
    expected = placed(
        original, theirs.logits[0].double().numpy(), mask[0].numpy(), patch=16, tubelet=2, original_stats=norm
    )
    made = reconstruct(model, video, mask, stats="original")
    assert float(np.abs(made.predicted.permute(0, 2, 3, 1).numpy() - np.clip(expected, 0, 1)).max()) < 1e-5
    assert float(np.abs(made.original.permute(0, 2, 3, 1).numpy() - np.clip(original, 0, 1)).max()) < 1e-5
    assert made.loss == pytest.approx(float(theirs.loss), rel=1e-5)
    assert made.stats == ("original" if norm else None)


def test_predictions_for_all_tokens_hold_those_of_the_masked_ones_in_their_places() -> None:
    model = pretrainer()
    video = clips(model.config)
    mask = torch.cat([tube_mask(model.config.grid, 0.5, seed=seed) for seed in (1, 2)])
    with torch.no_grad():
        expected = reference_for(model)(video, mask).logits
        everywhere = model.predict_all(video, mask)
    assert everywhere.shape == (2, model.config.num_patches, model.config.patch_dim)
    assert relative_error(everywhere[mask].view(expected.shape), expected) <= 1e-5


def constant_predictor(value: float, **changes: Any) -> VideoMAEForPreTraining:
    """A model of one row of patches that predicts `value` for every pixel of every patch."""
    model = pretrainer(image_size=(16, 64), num_frames=2, **changes)
    with torch.no_grad():
        model.decoder.head.weight.zero_()
        model.decoder.head.bias.fill_(value)
    return model


def striped(means: list[float], deviations: list[float]) -> torch.Tensor:
    """A clip (1, 2, 3, 16, 16 n) whose patch i has this mean and this (unbiased) deviation in each channel."""
    count = 2 * 16 * 16
    signs = torch.tensor([1.0, -1.0]).repeat(count // 2)
    shape = math.sqrt((count - 1) / count) * signs  # of mean 0 and unbiased deviation 1
    patches = torch.stack([mean + deviation * shape for mean, deviation in zip(means, deviations, strict=True)])
    config = tiny_config(image_size=(16, 16 * len(means)), num_frames=2)
    frames = unpatchify(patches[None, ..., None].expand(-1, -1, -1, 3).contiguous(), config)
    return (frames - torch.tensor(MEAN).view(3, 1, 1).float()) / torch.tensor(STD).view(3, 1, 1).float()


MEANS, DEVIATIONS = [0.2, 0.9, 0.6, 0.4], [0.10, 0.01, 0.02, 0.08]
HIDDEN = torch.tensor([[False, True, False, False]])  # the second patch of four, its neighbours 1, 1 and 2 away


def test_hidden_statistics_are_put_back_in_original_mode() -> None:
    made = reconstruct(constant_predictor(2.0), striped(MEANS, DEVIATIONS), HIDDEN, stats="original")
    patch = made.predicted[:, :, :, 16:32]
    assert patch == pytest.approx(torch.full_like(patch, 0.9 + 2.0 * 0.01), abs=1e-5)


def test_visible_statistics_never_look_at_the_hidden_patch() -> None:
    # Weights 1 / distance ** 3: 1, 1 and 1/8, together 17/8.
    mean = (0.2 + 0.6 + 0.4 / 8) / (17 / 8)
    deviation = (0.10 + 0.02 + 0.08 / 8) / (17 / 8)
    assert (round(mean, 4), round(deviation, 5)) == (0.4, 0.06118)
    made = reconstruct(constant_predictor(2.0), striped(MEANS, DEVIATIONS), HIDDEN, stats="visible")
    patch = made.predicted[:, :, :, 16:32]
    assert patch == pytest.approx(torch.full_like(patch, mean + 2.0 * deviation), abs=1e-5)
    other = striped([0.2, 0.1, 0.6, 0.4], [0.10, 0.09, 0.02, 0.08])
    again = reconstruct(constant_predictor(2.0), other, HIDDEN, stats="visible")
    torch.testing.assert_close(again.predicted[:, :, :, 16:32], patch, atol=1e-5, rtol=0)


def test_visible_patches_stay_as_they_are_unless_all_are_to_be_predicted() -> None:
    video = striped(MEANS, DEVIATIONS)
    kept = reconstruct(constant_predictor(2.0), video, HIDDEN, stats="visible")
    torch.testing.assert_close(kept.predicted[..., 32:], kept.original[..., 32:], atol=1e-6, rtol=0)
    everywhere = reconstruct(constant_predictor(2.0), video, HIDDEN, stats="visible", all_predicted=True)
    first = everywhere.predicted[..., :16]
    assert first == pytest.approx(torch.full_like(first, 0.2 + 2.0 * 0.10), abs=1e-5)
    torch.testing.assert_close(everywhere.predicted[..., 16:32], kept.predicted[..., 16:32])


def test_distances_count_time_rows_and_columns_alike() -> None:
    grid = (2, 2, 2)
    patches = torch.zeros(1, 8, 2, 1)
    patches[0, :, :, 0] = torch.arange(8.0)[:, None]
    mask = torch.ones(1, 8, dtype=torch.bool)
    mask[0, [0, 7]] = False  # opposite corners; token 1 is 1 from the first, sqrt(2) from the last
    mean, _ = statistics(patches, mask, grid, "visible")
    near, far = 1.0, math.sqrt(2) ** -3
    assert float(mean[0, 1]) == pytest.approx(7 * far / (near + far), abs=1e-6)
    assert float(mean[0, 7]) == 7.0


def test_a_model_of_plain_pixels_is_shown_as_it_predicts() -> None:
    made = reconstruct(constant_predictor(0.7, norm_pix_loss=False), striped(MEANS, DEVIATIONS), HIDDEN)
    patch = made.predicted[:, :, :, 16:32]
    assert patch == pytest.approx(torch.full_like(patch, 0.7), abs=1e-6)
    assert made.stats is None


def test_psnr_counts_hidden_pixels_only() -> None:
    original = torch.full((2, 3, 4, 4), 0.5)
    predicted = original.clone()
    hidden = torch.zeros(2, 4, 4, dtype=torch.bool)
    hidden[:, :2] = True
    predicted[:, :, 0] += 0.1  # half of the hidden rows are 0.1 off
    predicted[:, :, 3] = 0.0  # and a visible one is far off
    assert psnr(original, predicted, hidden) == pytest.approx(-10 * math.log10(0.1**2 / 2), abs=1e-5)
    assert psnr(original, original, hidden) == math.inf


def test_ssim_is_that_of_the_paper_inside_and_1_for_equal_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(1, 1, 11, 11, generator=generator) for _ in range(2))
    centre = torch.zeros(1, 11, 11, dtype=torch.bool)
    centre[0, 5, 5] = True
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    a, b = x[0, 0].double().numpy(), y[0, 0].double().numpy()
    mean_a, mean_b = (window * a).sum(), (window * b).sum()
    var_a, var_b = (window * a**2).sum() - mean_a**2, (window * b**2).sum() - mean_b**2
    both = (window * a * b).sum() - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
    expected = numerator / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))
    assert ssim(x, y, centre) == pytest.approx(float(expected), abs=1e-6)
    assert ssim(x, x, torch.ones(1, 11, 11, dtype=torch.bool)) == pytest.approx(1.0)


def test_pixels_are_hidden_where_their_token_is() -> None:
    model = pretrainer()
    mask = torch.zeros(1, 8, dtype=torch.bool)
    mask[0, 6] = True  # second slot, second row, first column
    hidden = pixel_mask(mask, model)
    assert hidden.shape == (4, 32, 32)
    assert hidden[2:, 16:, :16].all()
    assert int(hidden.sum()) == 2 * 16 * 16


def test_a_ratio_that_hides_nothing_is_an_error_that_names_the_least() -> None:
    with pytest.raises(OptionError, match=r"hides nothing: a frame mask needs at least 0\.5"):
        make_mask(pretrainer(), "frame", 0.4)
    with pytest.raises(OptionError, match="unknown mask 'tubes': choose tube, random, frame, causal"):
        make_mask(pretrainer(), "tubes", 0.4)


@pytest.mark.parametrize("kind", ["frame", "causal"])
def test_the_least_ratio_of_whole_slots_counts_slots_and_not_rows(kind: str) -> None:
    model = pretrainer(num_frames=10, image_size=32)  # 5 slots of 2 rows of 2 patches
    assert model.config.grid == (5, 2, 2)
    with pytest.raises(OptionError, match=rf"a {kind} mask needs at least 0\.2 "):
        make_mask(model, kind, 0.01)

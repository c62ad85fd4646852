"""Masks and patches: counts, seeds, and that unpatchify undoes patchify."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import clips, tiny_config

from videomae_cli.errors import OptionError
from videomae_cli.model.masking import MASKS, causal_mask, frame_mask, patchify, random_mask, tube_mask, unpatchify
from videomae_cli.model.pretraining import VideoMAEForPreTraining, patch_statistics, to_unit_range

GRID = (8, 14, 14)


def test_tube_mask_hides_the_published_number_in_the_same_places() -> None:
    mask = tube_mask(GRID, 0.9, batch=3, seed=4)
    assert mask.shape == (3, 1568)
    assert mask.dtype == torch.bool
    slots = mask.view(3, 8, 196)
    assert (slots == slots[:, :1]).all()
    assert slots.sum(dim=2).unique().tolist() == [176]
    assert (~mask).sum(dim=1).tolist() == [160] * 3
    assert not torch.equal(mask[0], mask[1])


def test_random_mask_hides_anywhere() -> None:
    mask = random_mask(GRID, 0.75, batch=2, seed=4)
    assert mask.sum(dim=1).tolist() == [1176, 1176]
    assert mask.view(2, 8, 196).sum(dim=2).unique().numel() > 1


def test_frame_mask_hides_whole_time_slots() -> None:
    mask = frame_mask(GRID, 0.5, batch=2, seed=4).view(2, 8, 196)
    assert (mask == mask[..., :1]).all()
    assert mask[..., 0].sum(dim=1).tolist() == [4, 4]


def test_causal_mask_hides_the_end() -> None:
    mask = causal_mask(GRID, 0.5, batch=2, seed=4).view(2, 8, 196)
    assert mask.all(dim=2).tolist() == [[False] * 4 + [True] * 4] * 2
    assert not mask[:, :4].any()


@pytest.mark.parametrize("name", sorted(MASKS.keys() - {"causal"}))
def test_masks_depend_on_the_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    one = MASKS[name](GRID, 0.5, seed=9)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(one, MASKS[name](GRID, 0.5, seed=9))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(one, MASKS[name](GRID, 0.5, seed=10))


@pytest.mark.parametrize("ratio", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("name", MASKS)
def test_impossible_ratios_are_refused(name: str, ratio: float) -> None:
    with pytest.raises(OptionError, match="mask ratio"):
        MASKS[name](GRID, ratio)


@settings(max_examples=30)
@given(
    tubelet=st.sampled_from([1, 2, 4]),
    slots=st.integers(1, 3),
    patch=st.tuples(st.sampled_from([2, 14, 16]), st.sampled_from([2, 14, 16])),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    channels=st.integers(1, 4),
)
def test_unpatchify_undoes_patchify(
    tubelet: int, slots: int, patch: tuple[int, int], rows: int, columns: int, channels: int
) -> None:
    config = tiny_config(
        tubelet_size=tubelet,
        num_frames=tubelet * slots,
        patch_size=patch,
        image_size=(rows * patch[0], columns * patch[1]),
        num_channels=channels,
    )
    video = clips(config)
    patches = patchify(video, config)
    assert patches.shape == (2, config.num_patches, tubelet * patch[0] * patch[1], channels)
    assert torch.equal(unpatchify(patches, config), video)
    assert torch.equal(unpatchify(patches.flatten(2), config), video)


def test_patches_are_ordered_time_row_column_and_pixels_inside_alike() -> None:
    config = tiny_config(image_size=(32, 48))
    time, row, column = torch.meshgrid(torch.arange(4), torch.arange(32), torch.arange(48), indexing="ij")
    number = (time * 10_000 + row * 100 + column).float()
    patches = patchify(number[None, :, None].expand(1, 4, 3, 32, 48), config)
    # 2 x 3 patches a slot: patch 6 + 4 is slot 1, row 1, column 1
    first = patches[0, 10, :, 0]
    assert first[0] == 2 * 10_000 + 16 * 100 + 16
    assert first[1] - first[0] == 1
    assert first[16] - first[0] == 100
    assert first[256] - first[0] == 10_000


def test_targets_are_normalised_per_patch_and_channel() -> None:
    model = VideoMAEForPreTraining(tiny_config())
    target = model.target(clips(model.config)).view(2, 8, 512, 3)
    assert torch.allclose(target.mean(dim=2), torch.zeros(2, 8, 3), atol=1e-5)
    assert torch.allclose(target.var(dim=2, unbiased=True), torch.ones(2, 8, 3), atol=1e-3)


def test_targets_and_statistics_give_the_pixels_back() -> None:
    model = VideoMAEForPreTraining(tiny_config())
    video = clips(model.config)
    mean, deviation = patch_statistics(patchify(to_unit_range(video), model.config))
    patches = model.target(video).view(2, 8, 512, 3) * deviation + mean
    assert torch.allclose(unpatchify(patches, model.config), to_unit_range(video), atol=1e-5)


@pytest.mark.parametrize("norm_pix_loss", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channel_counts_pretrain_on_pixels_as_given(channels: int, norm_pix_loss: bool) -> None:
    model = VideoMAEForPreTraining(tiny_config(num_channels=channels, norm_pix_loss=norm_pix_loss))
    video, mask = clips(model.config), tube_mask(model.config.grid, 0.5, batch=2)
    out = model(video, bool_masked_pos=mask)
    out.loss.backward()
    patches = patchify(video, model.config)
    if norm_pix_loss:
        patches = (patches - patches.mean(2, keepdim=True)) / (patches.std(2, keepdim=True) + 1e-6)
    hidden = patches.flatten(2)[mask].view(out.logits.shape)
    assert torch.allclose(out.loss, (out.logits - hidden).square().mean(), rtol=1e-5)


def test_a_patch_of_one_colour_has_a_finite_target() -> None:
    model = VideoMAEForPreTraining(tiny_config())
    assert torch.isfinite(model.target(torch.zeros(1, 4, 3, 32, 32))).all()

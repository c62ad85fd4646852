"""`--recipe paper` has the numbers of the official code: written down from running MCG-NJU/VideoMAE 14ef8d8, not computed here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from videomae_cli.errors import OptionError
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_cli.training import (
    MaskedRecipe,
    check_masks,
    cosine_rate,
    masked_recipe_for,
    parameter_groups,
    recipe_for,
)
from videomae_cli.training.mixing import erase, erased_shape
from videomae_cli.training.recipe import RECIPES, Recipe

KINETICS = 240_436
SSV2 = 168_913


def paper(clips: int, world: int, batch: int, *, name: str = "paper", width: int = 768, **asked: Any) -> Recipe:
    return recipe_for(clips=clips, labels=["a"], world=world, asked={"batch": batch, **asked}, name=name, width=width)


# --- rates ------------------------------------------------------------------------------------

# What the official `cosine_scheduler` gives at single steps, once the scripts have scaled its rates to their batch.
SCHEDULES: dict[str, tuple[Recipe | MaskedRecipe, int, dict[int, float]]] = {
    "base on Kinetics, 64 GPUs": (
        paper(KINETICS, 64, 6),
        626,
        {
            0: 0.0,
            1: 2.396931927133269e-07,
            1565: 0.00037511984659635664,
            3129: 0.00075,
            3130: 0.00075,
            3131: 0.0007499999990381956,
            20000: 0.0005080555294460288,
            40000: 4.700431276688454e-05,
            46949: 1.5000009618045054e-06,
        },
    ),
    "small on Something-Something, 32 GPUs": (
        paper(SSV2, 32, 12, name="paper-ssv2", width=384),
        439,
        {1: 6.836827711941659e-07, 2194: 0.0015, 10000: 0.0007319855975598847, 17559: 1.500015661428425e-06},
    ),
    "huge on Kinetics, 64 GPUs": (
        paper(KINETICS, 64, 8, width=1280),
        469,
        {2344: 0.002, 2345: 0.002, 23449: 2.000001096817147e-05},
    ),
    "one GPU, 16 clips, 10 epochs of 4 steps": (
        paper(64, 1, 16, epochs=10),
        4,
        {
            0: 0.0,
            1: 1.6447368421052632e-06,
            19: 3.125e-05,
            20: 3.125e-05,
            21: 3.105801506115543e-05,
            30: 1.565625e-05,
            39: 2.544849388445721e-07,
        },
    ),
    "pre-training of base on Kinetics, 64 GPUs": (
        masked_recipe_for(clips=KINETICS, world=64, asked={"batch": 32}, name="paper"),
        117,
        {
            1: 2.564650566360333e-07,
            4679: 0.0012,
            4680: 0.0012,
            50000: 0.000622987424282643,
            93599: 8.000000034950944e-05,
        },
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step_has_the_published_rate(name: str) -> None:
    recipe, per_epoch, expected = SCHEDULES[name]
    steps, warmup = recipe.epochs * per_epoch, round(recipe.warmup * per_epoch)
    for step, rate in expected.items():
        part = cosine_rate(step, steps=steps, warmup=warmup, floor=recipe.floor)
        assert part * recipe.lr == pytest.approx(rate, rel=1e-9, abs=1e-18), step


@pytest.mark.parametrize(
    ("layers", "decay", "expected"),
    [
        (12, 0.75, {0: 0.023757264018058777, 1: 0.03167635202407837, 12: 0.75, 13: 1.0}),
        (12, 0.7, {0: 0.009688901040699992, 1: 0.01384128720099999, 2: 0.019773267429999988}),
        (24, 0.75, {0: 0.0007525434581650003, 1: 0.0010033912775533338}),
    ],
)
def test_layers_learn_at_the_published_parts_of_the_rate(layers: int, decay: float, expected: dict[int, float]) -> None:
    config = VideoMAEConfig(
        image_size=32,
        num_frames=4,
        hidden_size=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=8,
        id2label={0: "a", 1: "b"},
    )
    model = VideoMAEForVideoClassification(config)
    groups = parameter_groups(model.named_parameters(), lr=1.0, weight_decay=0.05, layer_decay=decay, layers=layers)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}  # type: ignore[attr-defined]
    names = {0: "videomae.embeddings.patch_embeddings.projection.bias", layers + 1: "classifier.weight"}
    named = dict(model.named_parameters())
    for layer, rate in expected.items():
        name = names.get(layer, f"videomae.encoder.layer.{layer - 1}.output.dense.weight")
        assert rates[id(named[name])] == pytest.approx(rate), name


def test_the_mask_token_biases_and_norms_have_no_weight_decay() -> None:
    config = VideoMAEConfig(
        image_size=32,
        num_frames=4,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        decoder_hidden_size=8,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=8,
    )
    model = VideoMAEForPreTraining(config)
    groups = parameter_groups(model.named_parameters(), lr=1.0, weight_decay=0.05)
    decays = {id(p): g["weight_decay"] for g in groups for p in g["params"]}  # type: ignore[attr-defined]
    for name, parameter in model.named_parameters():
        free = name.endswith(("bias", "mask_token")) or "norm" in name
        assert decays[id(parameter)] == (0.0 if free else 0.05), name


# --- recipes ----------------------------------------------------------------------------------

ALIKE = {
    "smoothing": 0.1,
    "mixup": 0.8,
    "cutmix": 1.0,
    "operations": 4,
    "magnitude": 7.0,
    "erase": 0.25,
    "views": 2,
    "scale": 0.08,
    "weight_decay": 0.05,
    "betas": (0.9, 0.999),
    "clip_grad": 0.0,
    "head_scale": 0.001,
    "repeats": 1,
    "ema": None,
    "warmup": 5.0,
}
SCRIPTS: list[tuple[str, str, int, int, int, dict[str, Any]]] = [
    # recipe, how frames are sampled, width, GPUs, clips of each, numbers
    ("paper", "dense", 384, 32, 12, {"lr": 7.5e-4, "min_lr": 1.5e-6, "epochs": 150, "layer_decay": 0.75}),
    ("paper", "dense", 768, 64, 6, {"lr": 7.5e-4, "min_lr": 1.5e-6, "epochs": 75, "drop_path": 0.1, "flip": True}),
    ("paper", "dense", 1024, 64, 2, {"lr": 1e-3, "min_lr": 5e-7, "epochs": 35, "head_dropout": 0.0}),
    (
        "paper",
        "dense",
        1280,
        64,
        8,
        {"lr": 2e-3, "min_lr": 2e-5, "epochs": 50, "drop_path": 0.2, "head_dropout": 0.5},
    ),
    ("paper", "segments", 384, 32, 12, {"lr": 1.5e-3, "epochs": 40, "layer_decay": 0.7, "flip": False}),
    ("paper", "segments", 768, 64, 6, {"lr": 7.5e-4, "epochs": 30, "layer_decay": 0.75, "flip": False}),
    ("paper-ssv2", "dense", 768, 64, 6, {"lr": 7.5e-4, "epochs": 30, "flip": False}),
    ("paper-kinetics", "segments", 768, 64, 6, {"lr": 7.5e-4, "epochs": 75, "flip": True}),
    (
        "paper-ucf101",
        "dense",
        768,
        8,
        16,
        {"lr": 2.5e-4, "min_lr": 5e-6, "epochs": 100, "layer_decay": 0.7, "drop_path": 0.2, "head_dropout": 0.5},
    ),
]


@pytest.mark.parametrize(("name", "family", "width", "world", "batch", "expected"), SCRIPTS)
def test_paper_is_the_official_script(
    name: str, family: str, width: int, world: int, batch: int, expected: dict[str, Any]
) -> None:
    recipe = recipe_for(
        clips=KINETICS, labels=["a"], world=world, asked={"batch": batch}, name=name, family=family, width=width
    )
    for key, value in {**ALIKE, **expected}.items():
        assert getattr(recipe, key) == (pytest.approx(value) if isinstance(value, float) else value), key


def test_without_a_batch_the_step_is_the_published_one_or_all_clips() -> None:
    for world, clips, step in ((1, KINETICS, 384), (8, KINETICS, 384), (1, 120, 120), (1, 7, 7), (1, 1, 1)):
        recipe = recipe_for(clips=clips, labels=["a"], world=world, asked={}, name="paper")
        assert recipe.batch <= 16
        assert recipe.batch * recipe.accumulate * world == pytest.approx(step, rel=0.07)
        assert recipe.lr == pytest.approx(5e-4 * recipe.batch * recipe.accumulate * world / 256)
    assert recipe_for(clips=500, labels=["a"], asked={"batch": 8}, name="paper").accumulate == 1


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [
        ("paper", 192, {"lr": 6e-4, "min_lr": 4e-5, "epochs": 800, "mask_ratio": 0.9}),
        ("paper", 768, {"lr": 1.2e-3, "min_lr": 8e-5, "epochs": 800, "warmup": 40.0}),
        ("paper", 1024, {"lr": 3e-4, "min_lr": 2e-5, "epochs": 1600}),
        ("paper-ucf101", 768, {"lr": 2.25e-4, "epochs": 3200, "mask_ratio": 0.75}),
    ],
)
def test_pre_training_is_the_official_script(name: str, width: int, expected: dict[str, Any]) -> None:
    recipe = masked_recipe_for(clips=KINETICS, asked={}, name=name, width=width)
    alike = {"mask": "tube", "betas": (0.9, 0.95), "weight_decay": 0.05, "clip_grad": 0.0, "scale": None, "flip": False}
    for key, value in {**alike, **expected}.items():
        assert getattr(recipe, key) == (pytest.approx(value) if isinstance(value, float) else value), key


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_said_holds_in_every_recipe(name: str) -> None:
    asked = {"lr": 3e-4, "min_lr": 2e-5, "clip_grad": 0.5, "betas": (0.8, 0.9), "epochs": 3, "warmup": 2.0, "batch": 5}
    more = {"head_scale": 1.0, "views": 3, "scale": 0.2, "head_dropout": 0.1, "accumulate": 2, "flip": True}
    recipe = recipe_for(clips=5000, labels=["left"], asked={**asked, **more}, name=name)
    masked = masked_recipe_for(clips=5000, asked={**asked, "scale": 0.3, "mask_ratio": 0.5}, name=name)
    for key, value in {**asked, **more}.items():
        assert getattr(recipe, key) == value, key
    for key, value in {**asked, "scale": 0.3, "mask_ratio": 0.5}.items():
        assert getattr(masked, key) == value, key
    assert recipe.as_dict()["betas"] == [0.8, 0.9]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"min_lr": 1e-2, "lr": 1e-3}, "min_lr must be at least 0 and at most the peak of 0.001, not 0.01"),
        ({"min_lr": -1.0}, "min_lr"),
        ({"clip_grad": -1.0}, "clip_grad"),
        ({"clip_grad": float("nan")}, "clip_grad"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers from 0 to below 1, not 0.9 1"),
        ({"views": 0}, "views must be at least 1, not 0"),
        ({"head_dropout": 1.0}, "head_dropout"),
        ({"head_scale": -1.0}, "head_init_scale"),
        ({"scale": 0.0}, "crop_scale"),
        ({"magnitude": 11.0}, "augment_magnitude"),
        ({"lr": float("nan")}, "lr"),
    ],
)
def test_impossible_numbers_are_one_line(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        recipe_for(clips=100, labels=["a"], asked=wrong, name="paper")


def test_a_recipe_that_there_is_not_is_refused() -> None:
    for call in (recipe_for, masked_recipe_for):
        more = {"labels": ["a"]} if call is recipe_for else {}
        with pytest.raises(OptionError, match="unknown recipe 'papper': choose default, paper, "):
            call(clips=9, asked={}, name="papper", **more)  # type: ignore[operator]


# --- erasing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "share", "ratio", "expected"),
    [
        ((224, 224), 0.1, 1.0, (71, 71)),
        ((224, 224), 0.02, 0.3, (17, 58)),
        ((64, 64), 0.2, 2.0, (40, 20)),
        # Too wide, too high, too wide: the official code draws again.
        ((224, 224), 1 / 3, 0.3, (71, 236)),
        ((224, 224), 1 / 3, 1 / 0.3, (236, 71)),
        ((224, 112), 1 / 3, 0.3, (50, 167)),
    ],
)
def test_the_box_has_the_published_sides(
    size: tuple[int, int], share: float, ratio: float, expected: tuple[int, int]
) -> None:
    assert erased_shape(*size, share, ratio) == expected


def boxes(clips: torch.Tensor, erased: torch.Tensor) -> list[torch.Tensor]:
    """(H, W) of every clip: where every frame was changed."""
    return [(a != b).any(dim=1).all(dim=0) for a, b in zip(clips, erased, strict=True)]


def test_erased_boxes_hold_standard_normal_noise_that_is_new_in_every_frame() -> None:
    clips = torch.full((40, 4, 3, 56, 56), 9.0)
    erased = erase(clips, 1.0, np.random.default_rng(0))
    assert bool((clips == 9).all()), "what is given is not touched"
    changed = erased[erased != 9]
    assert float(changed.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(changed.std()) == pytest.approx(1.0, abs=0.02)
    shares = []
    for clip, box in zip(erased, boxes(clips, erased), strict=True):
        rows, columns = box.any(dim=1).nonzero().flatten(), box.any(dim=0).nonzero().flatten()
        assert box.sum() == len(rows) * len(columns), "one box"
        assert bool((clip[:, :, ~box] == 9).all()), "at the same place in all frames"
        assert not torch.equal(clip[0], clip[1])
        assert not torch.equal(clip[0, 0], clip[0, 1])
        shares.append(float(box.float().mean()))
    assert 0.015 < min(shares) < 0.1
    assert 0.25 < max(shares) < 0.35
    assert torch.equal(erase(clips, 1.0, np.random.default_rng(0)), erased)


def test_boxes_are_as_likely_as_asked() -> None:
    clips = torch.full((400, 1, 1, 24, 24), 9.0)
    for probability, low, high in ((0.0, 0, 0), (0.25, 70, 130), (1.0, 395, 400)):
        erased = erase(clips, probability, np.random.default_rng(1))
        assert low <= sum(bool(box.any()) for box in boxes(clips, erased)) <= high
    for size in ((1, 1), (1, 30), (2, 2)):  # too small for any box, or nearly
        erase(torch.zeros(8, 1, 1, *size), 1.0, np.random.default_rng(1))


# --- masks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "grid", "wrong", "least"),
    [
        ("tube", (8, 14, 14), 0.005, "0.0052"),
        ("tube", (8, 4, 4), 0.0624, "0.0625"),
        ("random", (8, 14, 14), 0.0006, "0.0007"),
        ("frame", (8, 14, 14), 0.12, "0.125"),
        ("causal", (3, 2, 2), 0.3, "0.3334"),
    ],
)
def test_masks_that_hide_nothing_are_refused(mask: str, grid: tuple[int, int, int], wrong: float, least: str) -> None:
    from videomae_cli.model.masking import MASKS

    def recipe(ratio: float) -> MaskedRecipe:
        return masked_recipe_for(clips=10, asked={"mask": mask, "mask_ratio": ratio})

    with pytest.raises(OptionError, match=f"hides none of the .* give at least {least}$"):
        check_masks(grid, recipe(wrong))
    assert not MASKS[mask](grid, wrong).any()
    for ratio in (float(least), 0.9999):
        check_masks(grid, recipe(ratio))
        hidden = MASKS[mask](grid, ratio)
        assert hidden.any()
        assert not hidden.all()


def test_a_grid_of_one_place_can_not_be_masked_by_tubes() -> None:
    with pytest.raises(OptionError, match="choose another"):
        check_masks((8, 1, 1), masked_recipe_for(clips=10, asked={}))
    with pytest.raises(OptionError, match="unknown mask 'fog'"):
        check_masks((8, 4, 4), masked_recipe_for(clips=10, asked={"mask": "fog"}))

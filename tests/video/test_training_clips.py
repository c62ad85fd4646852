"""Clips as training draws them: frames at random places, pictures changed at random, all of it by the seed alone."""

from __future__ import annotations

import pickle
import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from videomae_cli.errors import OptionError, VideoError
from videomae_cli.video import AugmentTransform, SamplingPlan, SamplingSpec, plan_clips
from videomae_cli.video.augment import (
    OPERATIONS,
    Frame,
    central_crop,
    changed,
    crop_shape,
    fixed_crops,
    strength,
)
from videomae_cli.video.preprocess import resize_frame
from videomae_cli.video.sampling import drawn_segments, drawn_steps, drawn_window

SIZE = (24, 32)
FPS = 10.0


def drawn(seed: int | None, *, num_frames: int, **wanted: Any) -> SamplingPlan:
    return plan_clips(SamplingSpec(seed=seed, **wanted), num_frames=num_frames, fps=FPS)


# --- which frames -----------------------------------------------------------------------------

counts, lengths, seeds = st.integers(1, 500), st.integers(1, 32), st.integers(0, 2**63)
families = st.sampled_from(["dense", "uniform", "segments"])


@given(
    num_frames=counts, frames=lengths, family=families, clips=st.integers(1, 4), stride=st.integers(1, 6), seed=seeds
)
@settings(max_examples=100)
def test_drawn_clips_are_frames_of_the_file_in_order(
    num_frames: int, frames: int, family: str, clips: int, stride: int, seed: int
) -> None:
    wanted = {"num_frames": num_frames, "frames": frames, "family": family, "clips": clips, "stride": stride}
    plan = drawn(seed, **wanted)
    assert len(plan.clips) == clips
    for clip in plan.clips:
        assert len(clip) == frames
        assert clip[0] >= 0
        assert clip[-1] < num_frames
        assert all(a <= b for a, b in pairwise(clip))
    assert drawn(seed, **wanted) == plan


@given(
    num_frames=counts, frames=lengths, family=families, start=st.floats(0, 60), length=st.floats(0.11, 60), seed=seeds
)
@settings(max_examples=100)
def test_drawn_clips_lie_in_the_window(
    num_frames: int, frames: int, family: str, start: float, length: float, seed: int
) -> None:
    inside = [i for i in range(num_frames) if start - 5e-4 <= i / FPS < start + length - 5e-4]
    wanted = {"frames": frames, "family": family, "start": start, "end": start + length}
    if not inside:
        with pytest.raises(VideoError):
            drawn(seed, num_frames=num_frames, **wanted)
        return
    plan = drawn(seed, num_frames=num_frames, **wanted)
    assert {index for clip in plan.clips for index in clip} <= set(inside)
    assert plan.window == (inside[0], inside[-1] + 1)


# Of the official loaders (MCG-NJU/VideoMAE 14ef8d8, run with 16 frames): frames in the file -> the clip drawn first.
WINDOWS = {
    1: [0] * 16,
    3: [2] * 16,
    10: [0] + [9] * 15,
    24: [0, 4, 9, 14, 19] + [23] * 11,
    63: [0, 4, 9, 13, 18, 22, 27, 31, 36, 40, 45, 49, 54, 58, 62, 62],
    64: [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63],
    65: [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63],
}
STEPS = {
    1: [0] * 16,
    17: [0, 4, 8] + [12] * 13,
    24: [0, 4, 8, 12, 16] + [20] * 11,
    63: list(range(0, 64, 4)),
    64: list(range(0, 64, 4)),
}
SEGMENTS = {
    15: ([0] * 16, [0] * 16),
    31: (list(range(16)), list(range(16))),
    47: (list(range(0, 32, 2)), list(range(1, 32, 2))),
    300: (list(range(0, 288, 18)), list(range(17, 288, 18))),
}


class Least(random.Random):
    """Draws the least of all that could be drawn, or with `top` the greatest."""

    top = False

    def randrange(self, stop: int) -> int:  # type: ignore[override]
        return stop - 1 if self.top else 0


class Greatest(Least):
    top = True


def test_clips_of_fine_tuning_are_the_official_ones() -> None:
    for count, clip in WINDOWS.items():
        assert drawn_window(Least(), count, 16, 4) == clip, count
    for top in (Greatest(), Least()):
        (first, *_, last) = drawn_window(top, 300, 16, 4)
        assert (first, last) == ((235, 298) if top.top else (0, 63))


def test_clips_of_pre_training_are_the_official_ones() -> None:
    for count, clip in STEPS.items():
        assert drawn_steps(Least(), count, 16, 4) == clip, count
    assert drawn_steps(Greatest(), 300, 16, 4) == list(range(236, 300, 4))
    assert drawn_steps(Greatest(), 65, 16, 4) == list(range(1, 65, 4))
    # Where the clip would end with the last frame, the one before it is taken twice.
    assert drawn_steps(Greatest(), 20, 16, 1) == [*range(4, 19), 18]


def test_segments_are_the_official_ones() -> None:
    for count, (least, greatest) in SEGMENTS.items():
        assert drawn_segments(Least(), count, 16, exact=True) == least, count
        assert drawn_segments(Greatest(), count, 16, exact=True) == greatest, count
        if count >= 16:
            assert drawn_segments(Greatest(), count, 16) == greatest, count


def test_a_plan_draws_as_it_is_told() -> None:
    def clip(num_frames: int, **more: Any) -> list[int]:
        return list(drawn(0, num_frames=num_frames, clips=1, **more).clips[0])

    assert clip(24, protocol="paper") == WINDOWS[24]
    assert clip(24, protocol="paper", drawn="steps") == STEPS[24]
    assert clip(15, protocol="paper", family="segments") == [0] * 16
    assert clip(24) == WINDOWS[24], "training has no strides of its own for short files"
    # Without it every segment gets something.
    assert len(set(clip(15, family="segments"))) == 15
    with pytest.raises(OptionError, match="unknown way to draw clips 'wildly': choose window or steps"):
        SamplingSpec(drawn="wildly")


@given(
    num_frames=counts, frames=lengths, stride=st.integers(1, 6), seed=seeds, way=st.sampled_from(["window", "steps"])
)
@settings(max_examples=150)
@example(num_frames=2, frames=1, stride=1, seed=0, way="steps")
@example(num_frames=13, frames=3, stride=4, seed=0, way="window")
def test_drawn_dense_clips_keep_their_stride(num_frames: int, frames: int, stride: int, seed: int, way: str) -> None:
    wanted = {"num_frames": num_frames, "frames": frames, "family": "dense", "stride": stride, "clips": 1, "drawn": way}
    (clip,) = drawn(seed, **wanted).clips
    if num_frames > frames * stride:
        even = frames * stride // max(frames - 1, 1)  # a window is spread from its first frame to its end
        assert {b - a for a, b in pairwise(clip[:-1])} <= ({stride} if way == "steps" else {even, even + 1})
        assert clip[-1] - clip[0] <= frames * stride - 1
        # A window of fine-tuning never ends with the last frame; steps of pre-training may.
        assert clip[-1] <= num_frames - (stride if way == "steps" else 2)
    elif way == "window":  # short: as many as there are at the stride from the first frame to the last, and that again
        some = num_frames // stride
        assert list(clip[some:]) == [num_frames - 1] * (frames - some)
        assert clip[0] == (0 if some else num_frames - 1)
    elif (
        num_frames < frames * stride
    ):  # from the first frame on, none of them the file's last, and the last of them again
        kept = list(range(0, max(num_frames - 1, 1), stride))
        assert list(clip) == (kept + kept[-1:] * frames)[:frames]


@given(num_frames=counts, frames=lengths, seed=seeds)
@settings(max_examples=150)
@example(num_frames=49, frames=24, seed=0)
def test_of_each_segment_one_frame_is_drawn(num_frames: int, frames: int, seed: int) -> None:
    (clip,) = drawn(seed, num_frames=num_frames, frames=frames, family="segments", clips=1).clips
    length = num_frames // frames
    if length:
        assert [index // length for index in clip] == list(range(frames))
    else:
        assert set(clip) == set(range(num_frames))


def test_every_frame_can_be_drawn() -> None:
    # The last frame of a file is in no window of fine-tuning, and what is over after the last segment in none of them.
    for family, count, frames, reach in [("dense", 20, 4, 19), ("uniform", 20, 4, 20), ("segments", 49, 10, 40)]:
        found = {
            index
            for seed in range(300)
            for index in drawn(seed, num_frames=count, frames=frames, family=family, stride=2, clips=1).indices
        }
        assert found == set(range(reach)), family


def test_drawn_uniform_clips_keep_to_their_parts() -> None:
    for seed in range(20):
        plan = drawn(seed, num_frames=90, frames=5, family="uniform", clips=3)
        for k, clip in enumerate(plan.clips):
            assert all(30 * k <= index < 30 * (k + 1) for index in clip)


@pytest.mark.parametrize("family", ["dense", "uniform", "segments"])
def test_other_seeds_draw_other_clips(family: str) -> None:
    clips = {drawn(seed, num_frames=300, frames=8, family=family, clips=1).clips for seed in range(10)}
    assert len(clips) > 5
    even = drawn(None, num_frames=300, frames=8, family=family, clips=1)
    assert "drawn at random" not in even.description
    assert "drawn at random" in drawn(0, num_frames=300, frames=8, family=family, clips=1).description


def test_clips_of_one_file_differ() -> None:
    for family in ("dense", "segments"):
        assert len(set(drawn(0, num_frames=300, frames=8, family=family, clips=4).clips)) == 4


@pytest.mark.parametrize("num_frames", [1, 2, 5])
@pytest.mark.parametrize("family", ["dense", "uniform", "segments"])
def test_short_files_are_drawn_from(num_frames: int, family: str) -> None:
    plan = drawn(7, num_frames=num_frames, frames=16, family=family, stride=4, clips=2)
    for clip in plan.clips:
        assert len(clip) == 16
        assert set(clip) <= set(range(num_frames))
    if family == "segments":
        assert set(plan.clips[0]) == set(range(num_frames))


def test_drawn_clips_are_spaced_by_time() -> None:
    for seed in range(20):
        plan = drawn(seed, num_frames=200, frames=4, family="dense", stride=1, clips=1, fps=2.0)
        assert all(b - a == 5 for a, b in pairwise(plan.clips[0]))


# --- a part of a file -------------------------------------------------------------------------


def test_a_part_of_the_file_is_asked_for() -> None:
    spec = SamplingSpec(frames=4, family="dense", stride=1, seed=3, checkpoint_stride=2)
    part = spec.within(1.0, 2.5)
    assert (part.start, part.end) == (1.0, 2.5)
    assert part.within(None, None) == part
    assert part.within(None, 2.0) == spec.within(1.0, 2.0)
    assert part.within(0.0, None) == spec.within(0.0, 2.5)
    assert spec.within(None, None) == spec
    assert (part.seed, part.frames, part.stride, part.checkpoint_stride) == (3, 4, 1, 2)


def test_a_part_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(OptionError, match="must be after start"):
        SamplingSpec(start=3.0).within(None, 2.0)
    with pytest.raises(OptionError):
        SamplingSpec().within(-1.0, None)


# --- pictures ---------------------------------------------------------------------------------


def picture(height: int = 40, width: int = 60, seed: int = 0) -> Frame:
    """Smooth, coloured, unlike its mirror image, between dark and light."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (5 + 3 * c) + y / (9 - c) + rng.uniform(0, 6)) + x / width for c in range(3)]
    return (70 + 45 * np.stack(waves, axis=-1)).clip(20, 230).astype(np.uint8)


def full(seed: int, **more: Any) -> AugmentTransform:
    settings_ = {"size": SIZE, "flip": True, "operations": 4, "magnitude": 9.0, **more}
    return AugmentTransform(seed=seed, **settings_)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    least=st.sampled_from([0.01, 0.08, 0.5, 1.0]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=100)
@example(height=1, width=1, size=(24, 24), least=0.01, seed=0)
@example(height=5, width=400, size=(24, 24), least=0.5, seed=0)
@example(height=400, width=5, size=(24, 24), least=1.0, seed=0)
def test_frames_of_any_size_become_pictures_of_one(
    height: int, width: int, size: tuple[int, int], least: float, seed: int
) -> None:
    frame = picture(height, width)
    before = frame.copy()
    image = full(seed, size=size, scale=(least, 1.0))(frame)
    assert image.shape == (1, *size, 3)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    assert np.array_equal(frame, before)


@given(height=st.integers(1, 500), width=st.integers(1, 500), least=st.floats(0.01, 1.0), seed=st.integers(0, 2**32))
@settings(max_examples=200)
@example(height=1, width=1, least=0.01, seed=0)
@example(height=5, width=400, least=0.5, seed=0)
def test_cuts_lie_in_the_frame(height: int, width: int, least: float, seed: int) -> None:
    top, left, rows, columns = AugmentTransform(SIZE, seed, scale=(least, 1.0))._cut(height, width)
    assert rows >= 1
    assert columns >= 1
    assert 0 <= top <= top + rows <= height
    assert 0 <= left <= left + columns <= width


def test_cuts_have_the_area_and_shape_that_is_wanted() -> None:
    cuts = [AugmentTransform(SIZE, seed, scale=(0.3, 0.6), ratio=(0.5, 2.0))._cut(300, 400) for seed in range(200)]
    areas = [rows * columns / 120000 for _, _, rows, columns in cuts]
    ratios = [columns / rows for _, _, rows, columns in cuts]
    assert 0.29 < min(areas) < 0.35
    assert 0.55 < max(areas) < 0.61
    assert 0.49 < min(ratios) < 0.6
    assert 1.7 < max(ratios) < 2.02
    assert len({cut[:2] for cut in cuts}) > 150


@pytest.mark.parametrize("seed", range(20))
def test_frames_that_are_alike_stay_alike(seed: int) -> None:
    transform = full(seed)
    clip = [transform(picture()) for _ in range(4)]
    assert all(np.array_equal(image, clip[0]) for image in clip)
    assert np.array_equal(full(seed)(picture()), clip[0])


@pytest.mark.parametrize(("size", "small"), [((480, 640), (320, 427)), ((700, 400), (560, 320)), ((320, 999), None)])
def test_large_frames_are_first_as_small_as_the_published_films(
    size: tuple[int, int], small: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def noted(image: Image.Image, name: str, amount: float) -> Image.Image:
        seen.append(image.size[::-1])
        return image

    monkeypatch.setattr("videomae_cli.video.augment.changed", noted)
    for seed in range(4):
        full(seed, views=2)(picture(*size))
    assert set(seen) == {small or size}
    # Pre-training cuts whole frames: its crops are parts of the short side, and are resized with a filter.
    whole = AugmentTransform(SIZE, 3, scale=None)
    top, left, rows, columns = whole._cut(*size)
    cut = np.ascontiguousarray(picture(*size)[top : top + rows, left : left + columns])
    assert np.array_equal(whole(picture(*size))[0], resize_frame(cut, SIZE, "antialias", "bilinear"))


def test_other_frames_are_changed_alike() -> None:
    for seed in range(10):
        transform = AugmentTransform(SIZE, seed, flip=True)
        flat = [transform(np.full((40, 60, 3), level, np.uint8)) for level in (10, 200)]
        assert [set(image.ravel().tolist()) for image in flat] == [{10}, {200}]
        cut = transform._cut(40, 60)
        transform(picture(seed=5))
        assert transform._cut(40, 60) == cut


def test_other_seeds_change_frames_otherwise() -> None:
    images = {full(seed)(picture()).tobytes() for seed in range(20)}
    assert len(images) == 20


def test_without_anything_to_change_the_frame_is_only_resized() -> None:
    frame = picture(*SIZE)
    assert np.array_equal(AugmentTransform(SIZE, 0, scale=(1.0, 1.0), ratio=(32 / 24, 32 / 24))(frame)[0], frame)


def test_mirrored_clips_are_mirrored_and_about_half_are() -> None:
    mirrored = 0
    for seed in range(200):
        straight = AugmentTransform(SIZE, seed)(picture())
        maybe = AugmentTransform(SIZE, seed, flip=True)(picture())
        if np.array_equal(maybe, straight[:, :, ::-1]):
            mirrored += 1
        else:
            assert np.array_equal(maybe, straight)
    assert 70 < mirrored < 130


# --- as published: numbers from running the official code (MCG-NJU/VideoMAE 14ef8d8) ----------


@pytest.mark.parametrize(
    ("size", "share", "ratio", "expected"),
    [
        ((256, 340), 0.08, 0.75, (96, 72)),
        ((256, 340), 0.5, 1.2, (190, 229)),
        ((256, 340), 0.3, 1.3333, (140, 187)),
        ((240, 320), 0.5, 0.9, (207, 186)),
        ((256, 340), 0.9, 1.0, None),  # 280 rows: drawn again
    ],
)
def test_a_crop_has_the_published_sides(
    size: tuple[int, int], share: float, ratio: float, expected: tuple[int, int] | None
) -> None:
    assert crop_shape(*size, share, ratio) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 340), (0, 0, 256, 340)),
        ((240, 427), (0, 53, 240, 320)),
        ((100, 400), (0, 133, 100, 133)),
        ((400, 100), (133, 0, 133, 100)),
    ],
)
def test_where_no_crop_fits_the_centre_is_shown(size: tuple[int, int], expected: tuple[int, int, int, int]) -> None:
    assert central_crop(*size, (0.75, 1.3333)) == expected


@pytest.mark.parametrize(
    ("size", "shapes"),
    [
        (
            (256, 340),
            "256x256 224x256 256x224 224x224 192x224 224x192 192x192 168x192 192x168 168x168",
        ),
        (
            (320, 426),
            "320x320 280x320 320x280 280x280 240x280 280x240 240x240 211x240 240x211 211x211",
        ),
        (
            (400, 226),  # 226 is near enough to 224
            "224x224 197x224 224x197 197x197 169x197 197x169 169x169 149x169 169x149 149x149",
        ),
    ],
)
def test_crops_of_pre_training_have_the_published_shapes(size: tuple[int, int], shapes: str) -> None:
    found = {f"{columns}x{rows}" for boxes in fixed_crops(*size, (224, 224)) for _, _, rows, columns in boxes}
    assert found == set(shapes.split())
    assert len(fixed_crops(*size, (224, 224))) == 10


def test_crops_of_pre_training_lie_at_the_published_places() -> None:
    (boxes,) = (b for b in fixed_crops(256, 340, (224, 224)) if b[0][2:] == (192, 224))
    assert sorted((left, top) for top, left, _, _ in boxes) == sorted(
        (left, top)
        for left, top in zip(
            (0, 116, 0, 116, 58, 0, 116, 58, 58, 29, 87, 29, 87),
            (0, 0, 64, 64, 32, 32, 32, 64, 0, 16, 16, 48, 48),
            strict=True,
        )
    )


def test_all_crops_of_pre_training_are_drawn_and_lie_in_the_frame() -> None:
    cuts = {AugmentTransform((224, 224), seed, scale=None)._cut(256, 340) for seed in range(3000)}
    assert cuts == {box for boxes in fixed_crops(256, 340, (224, 224)) for box in boxes}
    for height, width in ((1, 1), (1, 9), (223, 223), (222, 500), (500, 225), (3, 2)):
        for boxes in fixed_crops(height, width, (224, 224)):
            for top, left, rows, columns in boxes:
                assert rows >= 1
                assert columns >= 1
                assert 0 <= top <= top + rows <= height
                assert 0 <= left <= left + columns <= width


# level -> bits that posterize keeps, threshold of solarize, levels that solarize-add adds
LEVELS = {
    0: (4, 256, 0),
    2.4: (4, 195, 26),
    2.5: (3, 192, 27),
    5: (2, 128, 55),
    6.9: (2, 80, 75),
    7: (2, 77, 77),
    7.4: (2, 67, 81),
    7.5: (1, 64, 82),
    9: (1, 26, 99),
    10: (0, 0, 110),
}
# level -> degrees, factor of the enhancements, shear, part of the side
SIDED = {0: (0, 1, 0, 0), 3: (9, 1.27, 0.09, 0.135), 7: (21, 1.63, 0.21, 0.315), 10: (30, 1.9, 0.3, 0.45)}


def test_levels_mean_what_they_mean_in_the_official_code() -> None:
    for level, expected in LEVELS.items():
        for sign in (-1.0, 1.0):
            found = tuple(strength(name, level, sign) for name in ("posterize", "solarize", "solarize-add"))
            assert found == expected, level
    for level, (degrees, factor, shear, part) in SIDED.items():
        for sign in (-1.0, 1.0):
            assert strength("rotate", level, sign) == pytest.approx(sign * degrees)
            for name in ("colour", "contrast", "brightness", "sharpness"):
                assert strength(name, level, sign) == pytest.approx(1 + sign * (factor - 1)), name
            for name in ("shear-x", "shear-y"):
                assert strength(name, level, sign) == pytest.approx(sign * shear)
            for name in ("translate-x", "translate-y"):
                assert strength(name, level, sign) == pytest.approx(sign * part)


def _pattern() -> Frame:
    """8 rows of 12 pixels of all kinds of levels."""
    y, x = np.mgrid[0:8, 0:12]
    return (np.stack([x * 23 + y * 7, x * 11 + y * 41, 255 - x * 19 - y * 3], axis=-1) % 256).astype(np.uint8)


# What the official operation makes of `_pattern` at level 7: pixel (3, 5), pixel (6, 9), and the sum of all.
PIXELS: list[tuple[str, float, list[int], list[int], int]] = [
    ("auto-contrast", 1, [137, 180, 139], [250, 90, 45], 34885),
    ("equalize", 1, [136, 178, 151], [249, 89, 66], 36000),
    ("invert", 1, [119, 77, 104], [6, 166, 189], 37440),
    ("rotate", 1, [141, 171, 145], [255, 119, 85], 36519),
    ("rotate", -1, [132, 195, 154], [61, 0, 59], 37330),
    ("posterize", 1, [128, 128, 128], [192, 64, 64], 26880),
    ("solarize", 1, [119, 77, 104], [6, 166, 66], 21921),
    ("solarize-add", 1, [136, 178, 151], [249, 166, 143], 47627),
    ("colour", 1, [119, 188, 144], [255, 60, 23], 35874),
    ("colour", -1, [152, 167, 157], [176, 117, 108], 34885),
    ("contrast", 1, [146, 214, 170], [255, 69, 31], 36293),
    ("contrast", -1, [125, 141, 131], [167, 108, 100], 34957),
    ("brightness", 1, [221, 255, 246], [255, 145, 107], 50271),
    ("brightness", -1, [50, 65, 55], [92, 32, 24], 13176),
    ("sharpness", 1, [136, 178, 151], [255, 89, 66], 36098),
    ("sharpness", -1, [136, 178, 151], [199, 89, 66], 35871),
    ("shear-x", 1, [150, 185, 138], [0, 105, 37], 35831),
    ("shear-x", -1, [121, 170, 163], [216, 73, 93], 37347),
    ("shear-y", 1, [144, 189, 147], [128, 128, 128], 36174),
    ("shear-y", -1, [127, 126, 154], [235, 6, 71], 36927),
    ("translate-x", 1, [220, 218, 81], [128, 128, 128], 36406),
    ("translate-x", -1, [51, 137, 220], [164, 48, 135], 37529),
    ("translate-y", 1, [153, 0, 143], [128, 128, 128], 37009),
    ("translate-y", -1, [117, 69, 158], [231, 119, 73], 37717),
]


def applied(name: str, level: float, sign: float, image: Frame) -> Frame:
    return np.asarray(changed(Image.fromarray(image), name, strength(name, level, sign)))


@pytest.mark.parametrize(("name", "sign", "middle", "edge", "total"), PIXELS)
def test_operations_are_the_official_ones(
    name: str, sign: float, middle: list[int], edge: list[int], total: int
) -> None:
    image = applied(name, 7, sign, _pattern())
    # Interpolation may round a level otherwise in another release of Pillow.
    assert image[3, 5].tolist() == pytest.approx(middle, abs=1)
    assert image[6, 9].tolist() == pytest.approx(edge, abs=1)
    assert int(image.astype(int).sum()) == pytest.approx(total, abs=40)


def test_every_operation_is_checked() -> None:
    assert {name for name, *_ in PIXELS} == set(OPERATIONS)
    assert len(OPERATIONS) == 15


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_keep_the_shape_of_any_picture(name: str) -> None:
    for image in (picture(*SIZE), picture(1, 1), picture(1, 9), np.ascontiguousarray(picture(*SIZE)[:, ::-1])):
        before = image.copy()
        for sign in (-1.0, 1.0):
            for level in (0.0, 3.3, 10.0):
                after = applied(name, level, sign, image)
                assert after.shape == image.shape
                assert after.dtype == np.uint8
        assert np.array_equal(image, before)


def test_contrast_is_about_the_mean_grey_of_the_frame() -> None:
    dark = np.clip(picture(*SIZE) // 3, 0, 80).astype(np.uint8)
    softer = applied("contrast", 10, -1.0, dark)
    assert softer.mean() == pytest.approx(dark.mean(), abs=3)  # about 128 it would be near 115


def test_operations_come_before_the_crop() -> None:
    """Moved by 0.45 of the frame's side, not of the crop's: what shows the right half is then grey, in every view."""
    seen = set()
    for seed in range(400):
        transform = AugmentTransform(SIZE, seed, operations=1, magnitude=10.0, deviation=0.0)
        (chosen,) = transform._chosen
        if chosen and chosen[0][0].startswith("translate"):
            name, part = chosen[0]
            white = np.full((100, 100, 3), 255, np.uint8)
            top, left, rows, columns = transform._cut(100, 100)
            moved = applied(name, 10, np.sign(part), white)[top : top + rows, left : left + columns]
            share = (moved == 128).all(axis=-1).mean()
            assert (transform(white)[0] == 128).all(axis=-1).mean() == pytest.approx(share, abs=0.07)
            seen.add(round(float(share), 1))
    assert len(seen) > 5, "some crops show much of the grey, others none"


def test_half_of_the_operations_are_left_out_and_all_are_drawn() -> None:
    names: list[str] = []
    for seed in range(500):
        (chosen,) = full(seed)._chosen
        names += [name for name, _ in chosen]
    assert 900 < len(names) < 1100
    assert set(names) == set(OPERATIONS)
    assert max(names.count(name) for name in OPERATIONS) < 120


def test_magnitudes_vary_about_the_one_that_is_asked_for() -> None:
    angles = [
        abs(amount) / 3
        for seed in range(3000)
        for name, amount in AugmentTransform(SIZE, seed, operations=4)._chosen[0]
        if name == "rotate"
    ]
    assert np.mean(angles) == pytest.approx(7.0, abs=0.1)
    assert np.std(angles) == pytest.approx(0.5, abs=0.1)


def test_views_of_a_clip_differ_and_the_first_is_the_only_one() -> None:
    three = full(5, views=3)(picture())
    assert three.shape == (3, *SIZE, 3)
    assert len({view.tobytes() for view in three}) == 3
    assert np.array_equal(full(5)(picture())[0], three[0])


def test_stronger_operations_change_more() -> None:
    def change(magnitude: float) -> float:
        after = [AugmentTransform(SIZE, seed, operations=2, magnitude=magnitude)(picture()) for seed in range(60)]
        plain = [AugmentTransform(SIZE, seed)(picture()) for seed in range(60)]
        return float(np.abs(np.stack(after).astype(int) - np.stack(plain)).mean())

    assert 0 < change(1.0) < change(9.0)


# --- on the way to other processes ------------------------------------------------------------


@pytest.mark.parametrize("used", [False, True])
def test_transforms_travel_to_other_processes(used: bool) -> None:
    for seed in range(8):
        transform = full(seed)
        image = full(seed)(picture())
        if used:
            transform(picture())
        there = pickle.loads(pickle.dumps(transform))
        assert there == transform
        assert np.array_equal(there(picture()), image)

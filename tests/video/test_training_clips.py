"""Clips as training draws them: frames at random places, pictures changed at random, all of it by the seed alone."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from videomae_cli.errors import OptionError, VideoError
from videomae_cli.video import AugmentTransform, SamplingPlan, SamplingSpec, plan_clips
from videomae_cli.video.augment import _OPERATIONS, Frame

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
@settings(max_examples=100, deadline=None)
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
@settings(max_examples=100, deadline=None)
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


@given(num_frames=counts, frames=lengths, stride=st.integers(1, 6), seed=seeds)
@settings(max_examples=100, deadline=None)
def test_drawn_dense_clips_have_equal_strides(num_frames: int, frames: int, stride: int, seed: int) -> None:
    (clip,) = drawn(seed, num_frames=num_frames, frames=frames, family="dense", stride=stride, clips=1).clips
    if (frames - 1) * stride < num_frames:
        assert all(b - a == stride for a, b in pairwise(clip))
    else:  # short: from the first frame on, then the last one again
        kept = list(range(0, num_frames, stride))
        assert list(clip) == (kept + kept[-1:] * frames)[:frames]


@given(num_frames=counts, frames=lengths, seed=seeds)
@settings(max_examples=150, deadline=None)
@example(num_frames=49, frames=24, seed=0)
def test_of_each_segment_one_frame_is_drawn(num_frames: int, frames: int, seed: int) -> None:
    (clip,) = drawn(seed, num_frames=num_frames, frames=frames, family="segments", clips=1).clips
    for x, index in enumerate(clip):
        first, stop = num_frames * x // frames, num_frames * (x + 1) // frames
        # One frame of slack: the edges are rounded.
        assert first - 1 <= index < max(stop, first + 1) + 1
    if num_frames >= frames:
        assert len(set(clip)) == frames


def test_every_frame_can_be_drawn() -> None:
    for family, count, frames in [("dense", 20, 4), ("uniform", 20, 4), ("segments", 20, 4), ("segments", 49, 10)]:
        found = {
            index
            for seed in range(300)
            for index in drawn(seed, num_frames=count, frames=frames, family=family, stride=2, clips=1).indices
        }
        assert found == set(range(count)), family


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


def full(seed: int, **changed: Any) -> AugmentTransform:
    settings_ = {"size": SIZE, "flip": True, "operations": 4, "magnitude": 9.0, "erase": 0.5, **changed}
    return AugmentTransform(seed=seed, **settings_)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    least=st.sampled_from([0.01, 0.08, 0.5, 1.0]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=100, deadline=None)
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
@settings(max_examples=200, deadline=None)
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
    transform = full(seed, erase=1.0)
    clip = [transform(picture()) for _ in range(4)]
    assert all(np.array_equal(image, clip[0]) for image in clip)
    assert np.array_equal(full(seed, erase=1.0)(picture()), clip[0])


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


# --- operations -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(_OPERATIONS)))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("strength", [0.0, 0.33, 1.0])
def test_every_operation_keeps_the_shape(number: int, sign: float, strength: float) -> None:
    change = _OPERATIONS[number](strength, sign)
    for image in (picture(*SIZE), picture(1, 1), picture(1, 9), picture(*SIZE)[:, ::-1]):
        before = image.copy()
        changed = change(image)
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert np.array_equal(image, before)
        assert np.array_equal(change(image), changed)


@pytest.mark.parametrize("number", range(len(_OPERATIONS)))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_every_operation_does_something_at_full_strength(number: int, sign: float) -> None:
    image = picture(*SIZE)
    changed = _OPERATIONS[number](1.0, sign)(image).astype(int)
    assert (changed != image).mean() > 0.3
    assert changed.std() > 2  # something is left to see


@pytest.mark.parametrize("number", range(9))
def test_operations_do_nothing_at_no_strength(number: int) -> None:
    image = picture(*SIZE)
    assert np.array_equal(_OPERATIONS[number](0.0, 1.0)(image), image)


def test_operations_are_all_different() -> None:
    image = picture(*SIZE)
    assert len({make(0.8, 1.0)(image).tobytes() for make in _OPERATIONS}) == len(_OPERATIONS)


@pytest.mark.parametrize("level", [0, 1, 97, 100, 128, 200, 255])
@pytest.mark.parametrize("name", ["_saturated", "_sharpened", "_equalized", "_stretched"])
def test_a_flat_grey_picture_has_no_colour_edge_or_contrast_to_change(name: str, level: int) -> None:
    (make,) = (make for make in _OPERATIONS if make.__name__ == name)
    image = np.full((*SIZE, 3), level, np.uint8)
    for sign in (-1.0, 1.0):
        assert np.array_equal(make(0.7, sign)(image), image)


@pytest.mark.parametrize("high", range(30, 256, 15))
def test_stretched_levels_reach_both_ends(high: int) -> None:
    (make,) = (make for make in _OPERATIONS if make.__name__ == "_stretched")
    image = np.linspace(10, high, 24 * 32 * 3).reshape(24, 32, 3).round().astype(np.uint8)
    stretched = make(0.8, 1.0)(image)
    assert stretched.min(axis=(0, 1)).tolist() == [0, 0, 0]
    assert stretched.max(axis=(0, 1)).tolist() == [255, 255, 255]


def test_pictures_are_turned_and_moved_around_their_middle() -> None:
    image = np.zeros((25, 33, 3), np.uint8)
    image[11:14, 15:18] = 255
    turned = _OPERATIONS[0](1.0, 1.0)(image)
    assert turned[12, 16].tolist() == [255, 255, 255]
    moved = _OPERATIONS[3](1.0, 1.0)(image)  # by 0.45 of 33
    assert moved[12, 31].min() > 200
    raised = _OPERATIONS[4](1.0, -1.0)(image)  # by 0.45 of 25, upwards
    assert raised[1, 16].min() > 150


def test_stronger_operations_change_more() -> None:
    def change(magnitude: float) -> float:
        changed = [AugmentTransform(SIZE, seed, operations=2, magnitude=magnitude)(picture()) for seed in range(60)]
        plain = [AugmentTransform(SIZE, seed)(picture()) for seed in range(60)]
        return float(np.abs(np.stack(changed).astype(int) - np.stack(plain)).mean())

    assert 0 < change(1.0) < change(9.0)


# --- the box ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(24, 32), (1, 1), (3, 200), (64, 64)])
def test_the_box_is_the_same_in_all_frames(size: tuple[int, int]) -> None:
    for seed in range(30):
        transform = AugmentTransform(size, seed, erase=1.0)
        whole = AugmentTransform(size, seed)
        # Noise may be the level that was there: two levels tell where the box is.
        dark, light = (transform(np.full((50, 50, 3), level, np.uint8))[0] for level in (0, 255))
        box = (dark == light).all(axis=-1)
        rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert box.sum() == len(rows) * len(columns)
        assert box.mean() <= 0.36 or size == (1, 1)
        frame = picture(50, 50)
        assert np.array_equal(transform(frame)[0][~box], whole(frame)[0][~box])
        assert np.array_equal(transform(frame)[0][box], dark[box])


def test_boxes_are_as_likely_as_asked() -> None:
    def boxes(erase: float) -> int:
        flat = np.full((40, 60, 3), 100, np.uint8)
        return sum(bool((AugmentTransform(SIZE, seed, erase=erase)(flat) != 100).any()) for seed in range(200))

    assert boxes(0.0) == 0
    assert 25 < boxes(0.25) < 80
    assert boxes(1.0) == 200


# --- on the way to other processes ------------------------------------------------------------


@pytest.mark.parametrize("used", [False, True])
def test_transforms_travel_to_other_processes(used: bool) -> None:
    for seed in range(8):
        transform = full(seed, erase=1.0)
        image = full(seed, erase=1.0)(picture())
        if used:
            transform(picture())
        there = pickle.loads(pickle.dumps(transform))
        assert there == transform
        assert np.array_equal(there(picture()), image)

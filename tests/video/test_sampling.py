"""Frame indices: against tables written out by hand from the published formulas, and properties that always hold."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomae_cli.errors import OptionError, VideoError
from videomae_cli.video import SamplingSpec, parse_time, plan_clips

# Kinetics, 300 frames: kept 0, 4, ..., 296 are 75; starts int(k * 59 / 4) = 0, 14, 29, 44, 59 among them.
KINETICS_300 = (
    (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60),
    (56, 60, 64, 68, 72, 76, 80, 84, 88, 92, 96, 100, 104, 108, 112, 116),
    (116, 120, 124, 128, 132, 136, 140, 144, 148, 152, 156, 160, 164, 168, 172, 176),
    (176, 180, 184, 188, 192, 196, 200, 204, 208, 212, 216, 220, 224, 228, 232, 236),
    (236, 240, 244, 248, 252, 256, 260, 264, 268, 272, 276, 280, 284, 288, 292, 296),
)
# 50 frames: 13 are kept, the last three times more; all five clips are the same.
KINETICS_50 = ((0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 48, 48, 48),) * 5
# 70 frames: 18 kept, two to spare: starts int(k * 2 / 4) = 0, 0, 1, 1, 2.
KINETICS_70 = (
    tuple(range(0, 61, 4)),
    tuple(range(0, 61, 4)),
    tuple(range(4, 65, 4)),
    tuple(range(4, 65, 4)),
    tuple(range(8, 69, 4)),
)
# Something-Something, 50 frames, tick 3.125: the sorted union of int(3.125 x) and int(1.5625 + 3.125 x), alternating.
SOMETHING_50 = (
    (0, 3, 6, 9, 12, 15, 18, 21, 25, 28, 31, 34, 37, 40, 43, 46),
    (1, 4, 7, 10, 14, 17, 20, 23, 26, 29, 32, 35, 39, 42, 45, 48),
)
# 10 frames, tick 0.625: frames repeat.
SOMETHING_10 = (
    (0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 7, 8, 8, 9),
    (0, 0, 1, 2, 2, 3, 4, 4, 5, 5, 6, 7, 7, 8, 9, 9),
)


@pytest.mark.parametrize(
    ("family", "count", "expected"),
    [
        ("dense", 300, KINETICS_300),
        ("dense", 50, KINETICS_50),
        ("dense", 70, KINETICS_70),
        ("dense", 1, ((0,) * 16,) * 5),
        ("segments", 50, SOMETHING_50),
        ("segments", 10, SOMETHING_10),
    ],
)
def test_the_papers_protocols(family: str, count: int, expected: tuple[tuple[int, ...], ...]) -> None:
    plan = plan_clips(SamplingSpec(protocol="paper", checkpoint_family=family), num_frames=count, fps=30)
    assert plan.clips == expected
    assert plan.crops == 3
    assert "paper" in plan.description


def test_the_paper_keeps_its_stride_whatever_the_file() -> None:
    spec = SamplingSpec(protocol="paper", checkpoint_family="dense", checkpoint_stride=2)
    assert plan_clips(spec, num_frames=300, fps=30).clips[0][:3] == (0, 2, 4)


@pytest.mark.parametrize(
    ("spec", "count", "expected"),
    [
        # One clip sits in the middle: 100 frames, 61 spanned, 39 left over.
        (SamplingSpec(family="dense", clips=1), 100, (tuple(range(19, 80, 4)),)),
        (SamplingSpec(family="dense", clips=1), 61, (tuple(range(0, 61, 4)),)),
        (SamplingSpec(frames=4, family="dense", stride=1, clips=3), 10, ((0, 1, 2, 3), (3, 4, 5, 6), (6, 7, 8, 9))),
        (SamplingSpec(frames=4, family="uniform", clips=1), 10, ((0, 3, 6, 9),)),
        (SamplingSpec(frames=4, family="uniform", clips=2), 20, ((0, 3, 6, 9), (10, 13, 16, 19))),
        (SamplingSpec(frames=4, family="uniform", clips=4), 2, ((0,) * 4, (0,) * 4, (1,) * 4, (1,) * 4)),
        (SamplingSpec(frames=4, family="segments", clips=1), 16, ((2, 6, 10, 14),)),
        (
            SamplingSpec(frames=4, family="segments", clips=4),
            16,
            ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
        ),
        # auto on short files: a smaller stride before repeated frames.
        (SamplingSpec(), 40, (tuple(range(4, 35, 2)),)),
        (SamplingSpec(), 16, (tuple(range(16)),)),
        (SamplingSpec(), 10, ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9),)),
        (SamplingSpec(), 1, ((0,) * 16,)),
        # A stride that was asked for is kept.
        (SamplingSpec(stride=4), 40, ((0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 36, 36, 36, 36, 36, 36),)),
        (SamplingSpec(checkpoint_family="segments", frames=4), 16, ((2, 6, 10, 14),)),
    ],
)
def test_tables(spec: SamplingSpec, count: int, expected: tuple[tuple[int, ...], ...]) -> None:
    assert plan_clips(spec, num_frames=count, fps=30).clips == expected


@pytest.mark.parametrize(
    ("seconds", "clips"), [(0.1, 1), (4, 1), (14.9, 1), (15.1, 2), (30, 3), (99, 10), (100, 10), (7200, 10)]
)
def test_auto_takes_a_clip_about_every_ten_seconds(seconds: float, clips: int) -> None:
    plan = plan_clips(SamplingSpec(), num_frames=max(int(seconds * 30), 1), fps=30)
    assert len(plan.clips) == clips
    assert plan.crops == 1


def test_start_and_end_go_by_time() -> None:
    times = [0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 5.3, 9.0]
    spec = SamplingSpec(frames=4, family="uniform", start=5.0, end=9.0)
    plan = plan_clips(spec, num_frames=8, fps=30, times=times)
    assert plan.window == (3, 7)
    assert plan.clips == ((3, 4, 5, 6),)


def test_a_file_is_cut_before_it_is_sampled() -> None:
    plan = plan_clips(SamplingSpec(protocol="paper", start=10, end=12), num_frames=3000, fps=30)
    assert plan.clips[0][0] == 300
    assert plan.clips[-1][-1] == 356


@pytest.mark.parametrize(("start", "end"), [(100.0, None), (3.21, 3.22)])
def test_nothing_between_start_and_end(start: float, end: float | None) -> None:
    with pytest.raises(VideoError, match="frame"):
        plan_clips(SamplingSpec(start=start, end=end), num_frames=300, fps=30)


def test_a_rate_samples_by_time() -> None:
    # 60 fps seen at 30: every other frame; then stride 2 of those.
    plan = plan_clips(SamplingSpec(frames=4, family="dense", stride=2, clips=2, fps=30), num_frames=120, fps=60)
    assert plan.clips == ((0, 4, 8, 12), (104, 108, 112, 116))
    assert "30 fps" in plan.description


def test_a_rate_above_the_files_repeats_frames() -> None:
    plan = plan_clips(SamplingSpec(frames=6, family="dense", stride=1, clips=1, fps=30), num_frames=3, fps=15)
    assert plan.clips == ((0, 1, 1, 2, 2, 2),) or plan.clips == ((0, 0, 1, 1, 2, 2),)


def test_a_rate_follows_the_true_times_of_a_variable_file() -> None:
    times = [0.0, 0.5, 0.6, 0.7, 2.0, 3.0]
    plan = plan_clips(
        SamplingSpec(frames=4, family="dense", stride=1, clips=1, fps=1), num_frames=6, fps=2, times=times
    )
    assert plan.clips == ((0, 3, 4, 5),)


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 0},
        {"stride": 0},
        {"clips": -1},
        {"crops": 2},
        {"family": "random"},
        {"protocol": "mine"},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"start": -1.0},
        {"start": 5.0, "end": 5.0},
        {"end": 0.0},
        {"protocol": "paper", "clips": 3},
        {"protocol": "paper", "stride": 2},
        {"protocol": "paper", "family": "uniform"},
        {"checkpoint_family": "other"},
    ],
)
def test_nonsense_is_refused_in_one_line(options: dict[str, object]) -> None:
    with pytest.raises(OptionError) as caught:
        SamplingSpec(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90.5", 90.5), ("1:30", 90), ("00:01:30.5", 90.5), ("1:00:00", 3600), ("90:00", 5400)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "1:2:3:4", "-1", "1:75", "nan", "inf", "1:-2", "1::2"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(OptionError, match="hh:mm:ss"):
        parse_time(text)


specs = st.builds(
    SamplingSpec,
    frames=st.integers(1, 64),
    family=st.sampled_from(["auto", "dense", "uniform", "segments"]),
    stride=st.none() | st.integers(1, 20),
    clips=st.none() | st.integers(1, 20),
    crops=st.sampled_from([None, 1, 3]),
    fps=st.none() | st.floats(0.5, 120),
    checkpoint_family=st.sampled_from([None, "dense", "segments"]),
)


@given(spec=specs, count=st.integers(1, 2000), fps=st.sampled_from([0.0, 1.0, 23.976, 25.0, 60.0]))
def test_every_plan_fits_the_model_and_the_file(spec: SamplingSpec, count: int, fps: float) -> None:
    plan = plan_clips(spec, num_frames=count, fps=fps)
    assert plan.crops in (1, 3)
    assert spec.clips is None or len(plan.clips) == spec.clips
    for clip in plan.clips:
        assert len(clip) == spec.frames
        assert all(0 <= index < count for index in clip)
        assert list(clip) == sorted(clip)
    assert [clip[0] for clip in plan.clips] == sorted(clip[0] for clip in plan.clips)
    assert plan.indices == sorted({index for clip in plan.clips for index in clip})


@given(count=st.integers(1, 600), stride=st.integers(1, 8), clips=st.integers(1, 6))
def test_dense_clips_step_by_the_stride_until_the_file_ends(count: int, stride: int, clips: int) -> None:
    plan = plan_clips(SamplingSpec(family="dense", stride=stride, clips=clips), num_frames=count, fps=25)
    for clip in plan.clips:
        steps = [b - a for a, b in pairwise(clip)]
        whole = steps.index(0) if 0 in steps else len(steps)
        assert steps == [stride] * whole + [0] * (len(steps) - whole)
        assert whole == len(steps) or clip[-1] + stride >= count


@given(count=st.integers(1, 1000))
def test_two_segment_clips_are_the_published_union(count: int) -> None:
    tick = count / 16
    union = sorted([int(tick * x) for x in range(16)] + [int(tick / 2 + tick * x) for x in range(16)])
    plan = plan_clips(SamplingSpec(protocol="paper", checkpoint_family="segments"), num_frames=count, fps=25)
    assert [list(clip) for clip in plan.clips] == [union[0::2], union[1::2]]

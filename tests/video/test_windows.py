"""Where windows lie and which moments they show."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomae_cli.errors import OptionError, VideoError
from videomae_cli.video import WindowSpec, parse_length
from videomae_cli.video.windows import WindowGrid

LENGTHS = st.floats(0.05, 30)


def test_the_default_window_is_a_clip_at_the_checkpoints_stride() -> None:
    grid = WindowSpec(frames=16, stride=4).grid(fps=30, end=10.0)
    assert (grid.window, grid.hop) == (64 / 30, 32 / 30)
    shown = [int(moment * 30 + 1e-6) for moment in grid.moments((0.0, grid.window))]
    assert shown == list(range(2, 64, 4))


def test_the_last_window_ends_at_the_end() -> None:
    spans = list(WindowSpec(window=2, hop=1).grid(fps=25, end=5.5).spans())
    assert spans == [(0, 2), (1, 3), (2, 4), (3, 5), (3.5, 5.5)]


def test_a_short_file_is_one_window() -> None:
    assert list(WindowSpec(window=2, hop=1).grid(fps=25, end=0.8).spans()) == [(0, 0.8)]


def test_start_and_end_are_the_outermost_edges() -> None:
    spans = list(WindowSpec(window=2, hop=2, start=10, end=15).grid(fps=25, end=60).spans())
    assert spans == [(10, 12), (12, 14), (13, 15)]
    with pytest.raises(VideoError, match="start \\(70 s\\) is after the last frame"):
        WindowSpec(start=70).grid(fps=25, end=60)


@given(st.integers(1, 20), LENGTHS, LENGTHS, st.floats(0, 5), st.floats(0.1, 100))
def test_windows_cover_what_is_asked_in_order(
    frames: int, window: float, hop: float, start: float, long: float
) -> None:
    grid = WindowGrid(frames, window, hop, start, start + long)
    spans = list(grid.spans())
    assert grid.count() == len(spans)
    assert spans[0][0] == start
    assert spans[-1][1] == pytest.approx(start + long)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(spans))
    assert all(b[0] - a[0] <= hop + 1e-6 for a, b in pairwise(spans))
    moments = list(grid.all_moments())
    assert moments == sorted(moments)
    assert len(moments) == frames * len(spans)
    assert sorted(m for span in spans for m in grid.moments(span)) == moments
    assert all(start < moment < start + long for moment in moments)


def test_without_an_end_windows_go_on() -> None:
    grid = WindowGrid(2, 2.0, 1.0)
    assert grid.count() is None
    assert list(islice(grid.spans(), 3)) == [(0, 2), (1, 3), (2, 4)]
    assert list(islice(grid.all_moments(), 6)) == [0.5, 1.5, 1.5, 2.5, 2.5, 3.5]
    assert list(grid.ending(2.5).spans()) == [(0, 2), (0.5, 2.5)]


@pytest.mark.parametrize(
    ("text", "seconds"), [("2s", 2), ("500ms", 0.5), ("2", 2), (" 1.5 min", 90), (".5", 0.5), ("1h", 3600)]
)
def test_lengths_are_read(text: str, seconds: float) -> None:
    assert parse_length(text, "--window") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "2 apples", "nan", "1e3", "0x10", "1:30"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"--window .* is no length of time"):
        parse_length(text, "--window")


@pytest.mark.parametrize("spec", [{"window": 0.0}, {"hop": 0.0}, {"start": 3.0, "end": 2.0}])
def test_nonsense_is_refused(spec: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        WindowSpec(**spec)  # type: ignore[arg-type]

"""Which frames of segments a report has: several of each, of long films the longest segments, and never more than a page can hold."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from videomae_cli.api.report_pages import _shots, tell_report
from videomae_cli.report import ReportWriter
from videomae_cli.results import Segment, Thumbnail, Timeline


def timed(segments: int, frames: int, shape: tuple[int, int] = (96, 96)) -> Timeline:
    """A film of segments of 1, 2, 3, ... seconds, each with so many frames: the first is its surest."""
    ends = np.cumsum([0.0, *range(1, segments + 1)])
    image = np.zeros((*shape, 3), np.uint8)
    found = tuple(Segment(start, end, "x", 0, 0.5) for start, end in pairwise(ends.tolist()))
    kept = tuple(tuple(Thumbnail(s.start + number / 99, image) for number in range(frames)) for s in found)
    return Timeline("a.mp4", "m", segments=found, segment_frames=kept)


@pytest.mark.parametrize(
    ("segments", "frames", "files", "shown", "each"),
    [
        (1, 9, 1, 1, 6),
        (3, 2, 1, 3, 2),
        (20, 9, 1, 20, 6),
        (300, 9, 1, 48, 3),
        (300, 9, 1000, 25, 1),
        (4, 9, 1000, 4, 6),
    ],
)
def test_segments_have_as_many_frames_as_a_page_has_room_for(
    segments: int, frames: int, files: int, shown: int, each: int, tmp_path: Path
) -> None:
    writer = ReportWriter(tmp_path / "r.html", title="t", about="a", files=files)
    result = timed(segments, frames)
    chosen = Counter(number for number, _ in _shots(result, writer.shot_bytes))
    assert sorted(chosen) == list(range(segments - shown, segments)), "the longest"
    assert set(chosen.values()) == {each}
    first = dict(reversed(_shots(result, writer.shot_bytes)))
    assert all(frame is result.segment_frames[number][0] for number, frame in first.items())


@pytest.mark.parametrize("shape", [(96, 96), (96, 300), (300, 10), (32, 32)])
def test_the_frames_of_a_long_film_are_one_small_picture(shape: tuple[int, int], tmp_path: Path) -> None:
    with ReportWriter(tmp_path / "r.html", title="t", about="a") as writer:
        result = timed(100, 8, shape)
        tell_report(writer, result, result.as_dict())
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert 'id="s0"' in text
    assert len(text) < 4 / 3 * 120_000 + 80_000


def test_a_film_without_frames_has_none(tmp_path: Path) -> None:
    assert _shots(timed(3, 0), 120_000) == []

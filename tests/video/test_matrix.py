"""Over containers and codecs: the frames asked for are the frames returned, bit for bit, with their true times."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import films
import numpy as np
import pytest

from videomae_cli.video import open_video

Films = Callable[[str], Path]
BY_PYAV = {"h264-interlaced.mp4", "mpeg2-interlaced.ts", "pq.mp4", "hlg.mp4"}
# Depends on the OpenCV release: 4.14 has an AV1 decoder, 5.0 has none.
BY_EITHER = {"av1.mp4"}


@pytest.mark.parametrize("name", films.INTACT)
def test_any_frame_in_any_order_is_that_of_a_full_decode(film: Films, name: str) -> None:
    path = film(name)
    with open_video(path) as reader:
        truth = films.sequential_frames(path, reader.info.decoder)
        assert reader.num_frames == len(truth)
        chance = random.Random(name)
        wanted = [chance.randrange(len(truth)) for _ in range(12)] + [len(truth) - 1, 0, 0]
        frames = reader.read(wanted)
    assert [films.read_number(frame) for frame in frames] == [index % 256 for index in wanted]
    for index, frame in zip(wanted, frames, strict=True):
        np.testing.assert_array_equal(frame, truth[index])


@pytest.mark.parametrize("name", films.INTACT)
def test_the_decoder_is_chosen_per_file(film: Films, name: str) -> None:
    with open_video(film(name)) as reader:
        info = reader.info
    if name not in BY_EITHER:
        assert info.decoder == ("pyav" if name in BY_PYAV else "opencv")
    assert (info.reason is None) == (info.decoder == "opencv")


@pytest.mark.parametrize("name", ["h264-gop250.mp4", "h264.ts", "h264-open-gop.mp4", "mpeg2.ts", "h264.mkv", "hevc.ts"])
def test_every_single_frame_reached_by_its_own_seek(film: Films, name: str) -> None:
    with open_video(film(name)) as reader:
        count = reader.num_frames
        # Backward, so that no frame is reached by walking on from the last one.
        for index in range(count - 1, -1, -7):
            assert films.read_number(reader.read([index])[0]) == index % 256


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h264.mp4", [i / 25 for i in range(60)]),
        ("h264.ts", [i / 25 for i in range(100)]),
        ("h264.avi", [i / 25 for i in range(90)]),
        ("h264.h264", [i / 25 for i in range(40)]),
        ("mpeg2.mpg", [i / 25 for i in range(90)]),
        ("starts-late.mp4", [i / 25 for i in range(40)]),
        ("variable.mp4", [(40 * i + 7 * (i % 3) + 2500 * (i // 30)) / 1000 for i in range(90)]),
        ("variable.mkv", [(40 * i + 7 * (i % 3) + 2500 * (i // 30)) / 1000 for i in range(90)]),
        ("gap.mp4", [(40 * i + 3_600_000 * (i // 30)) / 1000 for i in range(60)]),
        ("clock-wraps.ts", [i / 25 for i in range(60)]),
        ("clock-wraps-later.ts", [3.0 * i for i in range(60)]),
        ("slideshow.mkv", [0.0, 110.0, 220.0]),
        ("slideshow.mp4", [0.0, 110.0, 220.0]),
        ("ntsc.mp4", [i * 1001 / 30000 for i in range(60)]),
        ("av1.mp4", [i / 25 for i in range(40)]),
    ],
)
def test_times_are_those_the_file_was_written_with(film: Films, name: str, expected: list[float]) -> None:
    with open_video(film(name)) as reader:
        assert reader.timestamps(range(reader.num_frames)) == pytest.approx(expected, abs=2e-3)


def test_the_start_time_is_kept_apart(film: Films) -> None:
    with open_video(film("starts-late.mp4")) as reader:
        assert reader.info.start_time == pytest.approx(100.0)
        assert reader.timestamps([0]) == [0.0]


def test_intact_files_give_no_warning(film: Films) -> None:
    expected = {"h264.h264"}
    for name in films.INTACT:
        with open_video(film(name)) as reader:
            assert (reader.warnings != ()) == (name in expected), (name, reader.warnings)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="a system without scheduling policies")
def test_a_film_leaves_this_process_its_priority(film: Films) -> None:
    """SVT-AV1 makes a thread of root's one of real time: all that ran in it later went before everything else, for good."""
    film("av1.mp4")
    assert os.sched_getscheduler(0) == os.SCHED_OTHER

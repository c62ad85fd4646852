"""The reader's interface: indices, transforms, streaming, closing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import films
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videomae_cli.errors import DependencyError, OptionError
from videomae_cli.video import open_video
from videomae_cli.video.native import load_cv2

Films = Callable[[str], Path]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["h264.mp4", "h264.ts", "variable.mkv", "h264-open-gop.mp4", "h264-interlaced.mp4"]),
    places=st.lists(st.floats(0, 0.999), min_size=1, max_size=12),
)
def test_any_list_of_indices(film: Films, name: str, places: list[float]) -> None:
    with open_video(film(name)) as reader:
        wanted = [int(place * reader.num_frames) for place in places]
        frames = reader.read(wanted)
        assert [films.read_number(frame) for frame in frames] == wanted
        again = reader.read(list(reversed(wanted)))
        np.testing.assert_array_equal(again[::-1], frames)


def test_the_transform_sees_one_frame_at_a_time_and_once(film: Films) -> None:
    seen: list[int] = []

    def shrink(frame: films.Frame) -> films.Frame:
        seen.append(films.read_number(frame))
        return np.ascontiguousarray(frame[::2, ::2])

    with open_video(film("h264.mp4")) as reader:
        result = reader.read([30, 4, 30, 11], transform=shrink)
    assert seen == [4, 11, 30]
    assert result.shape == (4, 32, 48, 3)
    assert [films.read_number(frame) for frame in result] == [30, 4, 30, 11]


def test_frames_are_streamed_in_order(film: Films) -> None:
    with open_video(film("h264.ts")) as reader:
        items = list(reader.iter_frames(range(20, 60, 4)))
    assert [index for index, _, _ in items] == list(range(20, 60, 4))
    assert [films.read_number(frame) for _, _, frame in items] == list(range(20, 60, 4))
    assert [seconds for _, seconds, _ in items] == pytest.approx([i / 25 for i in range(20, 60, 4)])


def test_streaming_wants_ascending_numbers(film: Films) -> None:
    with open_video(film("h264.mp4")) as reader, pytest.raises(OptionError, match="indices must ascend"):
        list(reader.iter_frames([3, 2]))


@pytest.mark.parametrize("index", [-1, 60, 10**9])
def test_a_frame_that_is_not_there(film: Films, index: int) -> None:
    with open_video(film("h264.mp4")) as reader, pytest.raises(IndexError, match="60 frames"):
        reader.read([0, index])


def test_what_is_no_list_of_frames_is_an_option_error(film: Films) -> None:
    with open_video(film("h264.mp4")) as reader:
        for indices in (), range(0), 3, None, ["a"], [1.5], (number for number in [1]):
            with pytest.raises(OptionError, match="indices"):
                reader.read(indices)  # type: ignore[arg-type]
        assert reader.read(np.array([2, 1])).shape[0] == 2  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="is closed: open it again"):
        reader.read([0])


def test_info(film: Films) -> None:
    with open_video(film("h264.mp4")) as reader:
        info = reader.info
    assert (info.num_frames, info.fps, info.width, info.height, info.codec) == (60, 25.0, 96, 64, "h264")
    assert info.duration == pytest.approx(2.4)


def test_a_missing_system_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({message!r})\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    with pytest.raises(DependencyError, match=r"libGL\.so\.1.*pip install .*opencv-python-headless") as caught:
        load_cv2()
    assert "\n" not in str(caught.value)


def test_opencv_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DependencyError, match="opencv-python-headless"):
        load_cv2()

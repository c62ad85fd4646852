"""What cameras, phones, screen recorders and receivers write: nothing sound is called damaged, and all that is cut off is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import films
import pytest

from videomae_cli.errors import VideoError
from videomae_cli.video import open_video

Films = Callable[[str], Path]


@pytest.mark.parametrize("name", films.RECORDINGS)
def test_a_sound_recording_is_not_called_damaged(film: Films, name: str) -> None:
    with open_video(film(name)) as reader:
        assert reader.warnings == ()
        frames = reader.read(range(reader.num_frames))
        truth = films.sequential_frames(film(name), reader.info.decoder)
        assert len(frames) == len(truth)


@pytest.mark.parametrize("name", films.RECORDINGS)
@pytest.mark.parametrize("place", ["in the middle", "before the last pictures"])
def test_a_recording_that_was_cut_off_is_called_that(film: Films, tmp_path: Path, name: str, place: str) -> None:
    data = film(name).read_bytes()
    path = tmp_path / name
    last = films.place_of_packet(film(name), -5) + 9
    path.write_bytes(data[: films.middle_of_packets(film(name), 0.6) if place == "in the middle" else last])
    try:
        with open_video(path) as reader:
            warnings = reader.warnings
    except VideoError:
        return  # without its index nothing of it can be read, which is said too
    assert any("cut off" in warning for warning in warnings)


def test_a_few_frames_that_are_missing_are_counted(film: Films, tmp_path: Path) -> None:
    path = tmp_path / "short.webm"
    path.write_bytes(film("screen-vp9.webm").read_bytes()[: films.place_of_packet(film("screen-vp9.webm"), 22)])
    with open_video(path) as reader:
        assert reader.warnings == (f"{reader.num_frames} of about 50 frames decoded: the file is cut off",)


@pytest.mark.parametrize("name", ["screen.mkv", "screen-vp8.webm", "phone-portrait.mp4", "screen.flv"])
def test_what_is_added_behind_the_end_is_no_loss(film: Films, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(film(name).read_bytes() + bytes(1000))
    with open_video(path) as reader:
        assert reader.warnings == ()


@pytest.mark.parametrize("name", ["screen.mkv", "screen-late.mkv"])
def test_a_film_without_its_index_lost_no_picture(film: Films, tmp_path: Path, name: str) -> None:
    data = film(name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: data.rfind(b"\x1c\x53\xbb\x6b") + 6])  # within the cues
    with open_video(path) as reader:
        assert reader.warnings == ()


def test_fields_are_paired_by_number_and_parity(film: Films) -> None:
    with open_video(film("camcorder-fields.mts")) as reader:
        assert reader.num_frames == reader.info.num_frames == 31
        assert [films.read_number(frame) for frame in reader.read(range(31))] == list(range(31))
        assert reader.timestamps([1]) == pytest.approx([0.04])


def test_the_document_lists_every_recording() -> None:
    """What it says of each is made by benchmarks/odd_files.py; only what encoders decide may differ from here."""
    text = (Path(__file__).parents[2] / "docs" / "odd-files.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\S+\.\w+) \| \w+ \| \d+ \| (.*?) \|", text, flags=re.MULTILINE))
    assert rows == dict.fromkeys(films.RECORDINGS, "nothing")
    assert "differs" not in text

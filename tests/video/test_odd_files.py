"""Files that are damaged, lie about themselves or are no video: the frames there are, a warning, or one clear error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import films
import numpy as np
import pytest

from videomae_cli.errors import DecodeError, NotAVideoError, VideoError, VideoNotFoundError
from videomae_cli.video import SamplingSpec, discover, open_video
from videomae_cli.video.clips import ClipRequest, decode_clips
from videomae_cli.video.discovery import check_readable

Films = Callable[[str], Path]


@pytest.mark.parametrize(
    "name",
    [
        "cut-off.mp4",
        "cut-off.mkv",
        "cut-off.ts",
        "cut-off.avi",
        *("cut-between.mp4", "cut-between.mkv", "cut-between.ts", "cut-between.avi"),
        "overwritten.mp4",
        "overwritten.mkv",
        "overwritten.ts",
        "joined.ts",
        "spoiled-slice.mp4",
        "spoiled-slice.mkv",
        "spoiled-kind.mp4",
        "spoiled-picture.avi",
    ],
)
def test_a_damaged_file_gives_the_frames_of_a_full_decode(film: Films, name: str) -> None:
    path = film(name)
    with open_video(path) as reader:
        truth = films.sequential_frames(path, reader.info.decoder)
        assert reader.num_frames == len(truth)
        wanted = [len(truth) - 1, 3, len(truth) // 2, 3, 0]
        np.testing.assert_array_equal(reader.read(wanted), np.stack([truth[index] for index in wanted]))
        times = reader.timestamps(range(len(truth)))
        assert times == sorted(times)


@pytest.mark.parametrize(
    "name",
    [
        *("cut-off.mp4", "cut-off.mkv", "cut-off.avi", "cut-between.mp4", "cut-between.mkv", "cut-between.avi"),
        *("overwritten.mp4", "overwritten.mkv"),
    ],
)
def test_missing_frames_are_reported_as_how_many_of_how_many(film: Films, name: str) -> None:
    with open_video(film(name)) as reader:
        assert 0 < reader.num_frames < 120
        assert re.search(rf"\b{reader.num_frames} of (about )?\d+ frames decoded", " ".join(reader.warnings))


def test_frames_found_missing_while_reading(film: Films) -> None:
    path = film("spoiled.mp4")
    with open_video(path) as reader:
        assert reader.num_frames == 60
        # The first is there, the second shows that the third, which the packets promised, is not.
        with pytest.raises(DecodeError, match="only 51"):
            reader.read([0, 50, 55])
        assert reader.num_frames == 51
        with pytest.raises(IndexError, match="51 frames"):
            reader.read([55])
    video = decode_clips(ClipRequest(path, sampling=SamplingSpec(family="segments", frames=8)))
    assert video.plan.num_frames == video.info.num_frames == 51
    assert any("51 of 60 frames" in warning for warning in video.warnings)


def test_joined_recordings_keep_going_in_time(film: Films) -> None:
    with open_video(film("joined.ts")) as reader:
        assert reader.num_frames == 200
        assert [films.read_number(f) for f in reader.read([99, 100, 199])] == [99, 0, 99]
        assert reader.timestamps([99, 100, 199]) == pytest.approx([3.96, 4.0, 7.96], abs=1e-3)
        assert any("clock" in warning for warning in reader.warnings)


@pytest.mark.parametrize("decoder", ["opencv", "pyav"])
def test_tracks_that_appear_on_the_way(film: Films, decoder: str) -> None:
    with open_video(film("gains-tracks.ts"), decoder=decoder) as reader:
        assert reader.num_frames == 1850
        wanted = [0, 899, 900, 949, 950, 1849]
        shown = [films.read_number(frame) for frame in reader.read(wanted)]
    assert shown == [index % 256 for index in (0, 899, 0, 49, 0, 899)]


def test_frames_before_an_edit_list_are_not_shown(film: Films) -> None:
    path = film("edit-list.mp4")
    with open_video(path) as reader:
        truth = films.sequential_frames(path, "opencv")
        assert reader.num_frames == len(truth) == 50
        frames = reader.read([0, 49, 20])
    assert [films.read_number(frame) for frame in frames] == [10, 59, 30]


def test_a_changing_size_is_brought_back_to_the_first(film: Films) -> None:
    with open_video(film("size-changes.ts")) as reader:
        frames = reader.read([0, 49, 50, 99, 51])
        assert frames.shape == (5, 64, 96, 3)
        assert [films.read_number(frame) for frame in frames] == [0, 49, 0, 49, 1]


def test_interlacing_that_starts_later_is_noticed(film: Films) -> None:
    with open_video(film("becomes-interlaced.ts")) as reader:
        frames = reader.read([10, 60, 61, 75, 99])
        assert [films.read_number(frame) for frame in frames] == [10, 10, 11, 25, 49]
        assert reader.info.decoder == "pyav"


@pytest.mark.parametrize(
    ("name", "size"),
    [("dv.avi", (768, 576)), ("dv.mov", (768, 576)), ("dv.dv", (768, 576)), ("dv-ntsc.avi", (640, 480))],
)
def test_camcorder_tapes(film: Films, name: str, size: tuple[int, int]) -> None:
    with open_video(film(name)) as reader:
        assert (reader.info.decoder, reader.num_frames, reader.warnings) == ("pyav", 40, ())
        wanted = [39, 0, 17, 17, 16]
        frames = reader.read(wanted)
        assert (frames.shape[2], frames.shape[1]) == size
        assert [films.read_number(frame) for frame in frames] == wanted
        assert reader.timestamps([39]) == pytest.approx([39 / reader.fps], abs=2e-3)


def test_a_still_picture_stays_with_opencv(film: Films) -> None:
    with open_video(film("still.mp4")) as reader:
        frames = reader.read([0, 5, 10, 20])
        assert {films.read_number(frame) for frame in frames} == {5}
        assert reader.info.decoder == "opencv"


@pytest.mark.parametrize(
    ("name", "shape"),
    [("rotated-90.mp4", (96, 64)), ("rotated-180.mp4", (64, 96)), ("rotated-270.mp4", (96, 64))],
)
def test_both_decoders_turn_a_picture_upright_alike(film: Films, name: str, shape: tuple[int, int]) -> None:
    with open_video(film(name)) as ours, open_video(film(name), decoder="pyav") as other:
        frame = ours.read([9])[0]
        assert frame.shape[:2] == shape
        np.testing.assert_array_equal(frame, other.read([9])[0])
        assert (ours.info.height, ours.info.width) == shape


@pytest.mark.parametrize(
    ("name", "size"),
    [("wide-pixels.mp4", (137, 64)), ("narrow-pixels.mp4", (85, 64)), ("wide-pixels-rotated.mp4", (64, 144))],
)
@pytest.mark.parametrize("decoder", ["opencv", "pyav"])
def test_pixels_come_out_square(film: Films, name: str, size: tuple[int, int], decoder: str) -> None:
    with open_video(film(name), decoder=decoder) as reader:
        assert reader.read([3]).shape == (1, size[1], size[0], 3)
        assert (reader.info.width, reader.info.height) == size


def test_names_are_only_names(film: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "a:b.mp4",
        "100%.mp4",
        "img_%04d.mp4",
        "-dash.mp4",
        "two\nlines.mp4",
        "film.txt",
        "ä ö.mp4",
        "no_suffix",
    ):
        shutil.copy(film("h264.mp4"), name)
        with open_video(name) as reader:
            assert films.read_number(reader.read([17])[0]) == 17


@pytest.mark.parametrize("source", ["h264.mp4", "av1.mp4", "h264.ts"])
def test_a_name_that_is_no_text(film: Films, tmp_path: Path, source: str) -> None:
    name = os.fsencode(tmp_path) + b"/bytes\xff\xfe.mp4"
    shutil.copy(film(source), name)
    found = discover([tmp_path])
    assert os.fsencode(found[0].path) == name
    with open_video(found[0].path) as reader:
        assert films.read_number(reader.read([17])[0]) == 17
        assert reader.info.path == found[0].path


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.mp4", b"hello\n" * 200, "text"),
        ("empty.mp4", b"", "empty"),
        ("list.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "text"),
        ("hls.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mp4\n#EXT-X-ENDLIST\n", "text"),
        ("noise.mp4", bytes(range(256)) * 40, "no video"),
    ],
)
def test_what_is_no_video_is_not_opened(film: Films, tmp_path: Path, name: str, content: bytes, says: str) -> None:
    shutil.copy(film("h264.mp4"), tmp_path / "other.mp4")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotAVideoError, match=says) as caught:
        open_video(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_picture_named_like_a_video(tmp_path: Path) -> None:
    path = films.write_film(tmp_path / "jpeg.mp4", container="mjpeg", codec="mjpeg", pix_fmt="yuvj420p", count=1)
    with pytest.raises(NotAVideoError, match="picture"):
        open_video(path)


def test_an_animated_webp_is_a_video(film: Films, tmp_path: Path) -> None:
    with open_video(film("animation.webp")) as reader:
        assert (reader.info.decoder, reader.num_frames, reader.fps, reader.warnings) == ("pillow", 40, 25.0, ())
        wanted = [39, 0, 17, 17, 16, 38]
        np.testing.assert_array_equal(reader.read(wanted), np.stack([films.numbered_frame(i) for i in wanted]))
    with open_video(film("uneven.webp")) as reader:
        assert reader.timestamps(range(40)) == pytest.approx([(40 * i + 7 * (i % 3)) / 1000 for i in range(40)])
    with pytest.raises(NotAVideoError, match="picture"):
        open_video(film("picture.webp"))
    with pytest.raises(DecodeError, match="WebP"):
        open_video(film("animation.webp"), decoder="pyav")
    stump = tmp_path / "stump.webp"
    stump.write_bytes(film("animation.webp").read_bytes()[:50])
    with pytest.raises(NotAVideoError, match="start of an animation"):
        open_video(stump)


def test_an_animation_is_read_in_any_order(film: Films) -> None:
    with open_video(film("animation.webp")) as reader:
        wanted = [39, *range(0, 40, 3), 5, 39, 0]
        assert [films.read_number(frame) for frame in reader.read(wanted)] == wanted


@pytest.mark.parametrize("name", ["cut-off.webp", "overwritten.webp"])
def test_a_damaged_animation_gives_the_frames_before(film: Films, name: str) -> None:
    with open_video(film(name)) as reader:
        count = reader.num_frames
        assert count == {"cut-off.webp": 24, "overwritten.webp": 26}[name]
        assert [films.read_number(frame) for frame in reader.read(range(count))] == list(range(count))
        found = re.search(r"(\d+) of (\d+) frames decoded", " ".join(reader.warnings))
        assert found
        assert int(found[1]) == count
        assert 37 <= int(found[2]) <= 43


@pytest.mark.parametrize("cover", [False, True])
def test_audio_is_no_video_even_with_a_cover(tmp_path: Path, cover: bool) -> None:
    path = films.write_audio(tmp_path / "sound.mp4", cover=cover)
    with pytest.raises(NotAVideoError, match="only audio"):
        open_video(path)


def test_a_header_without_pictures(film: Films) -> None:
    with pytest.raises(VideoError):
        open_video(film("header-only.mp4"))


def test_only_regular_files(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/null"), tmp_path / "missing.mp4"):
        if path != tmp_path:  # a folder may be a clip of pictures, which opening it finds out
            with pytest.raises(VideoNotFoundError):
                check_readable(str(path))
        with pytest.raises(VideoNotFoundError):
            open_video(path)


def test_nothing_reaches_stderr_unless_debugging(film: Films) -> None:
    paths = [str(film(name)) for name in ("overwritten.ts", "size-changes.ts", "cut-off.mp4", "h264-interlaced.mp4")]
    script = (
        "import sys; from videomae_cli.video import discover, open_video\n"
        "for path in sys.argv[1:]:\n"
        "    r = open_video(path); r.read([0, 20, r.num_frames - 1]); open_video(path, decoder='pyav').read([5])"
    )
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == ""
    # With --debug ffmpeg speaks, and not through PyAV, which takes Python's lock for it: whoever frees a decoder holds that while
    # it waits for the decoder's threads, which may want to say something.
    script = f"from videomae_cli.video.native import set_debug; set_debug(True); {script}\nimport av; print(av.logging.get_level())"
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert "[hevc" in done.stderr or "[h264" in done.stderr
    assert done.stdout == "None\n"

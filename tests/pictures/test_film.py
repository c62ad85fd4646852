"""Films and images are decoded again: their size, frames, times and colours, and what browsers and phones need."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from videomae_cli.api.viewing import check_outputs
from videomae_cli.cli.outputs.found_places import Search
from videomae_cli.errors import DependencyError, OptionError, OutputError
from videomae_cli.files import write_file
from videomae_cli.pictures.clip import write_clip
from videomae_cli.pictures.encoding import ENCODERS
from videomae_cli.pictures.film import write_film, write_image
from videomae_cli.pictures.picture_files import check_free, pick_format

Film = npt.NDArray[np.uint8]
SECONDS = [0.16] * 7 + [0.32]


def coloured(count: int = 8, height: int = 66, width: int = 98) -> Film:
    """Red, green and blue thirds, and a white bar that moves from frame to frame."""
    film = np.zeros((count, height, width, 3), np.uint8)
    for channel in range(3):
        film[:, :, channel * width // 3 : (channel + 1) * width // 3, channel] = 200
    for number in range(count):
        film[number, 8 * number : 8 * number + 8] = 255
    return film


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "h264"), ("a.webm", "vp9")])
def test_films_decode_to_what_was_written(name: str, codec: str, tmp_path: Path) -> None:
    film = coloured()
    written = write_film(tmp_path / name, film, SECONDS)
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(video=0))
        assert stream.codec_context.name == codec
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == (98, 66) == (written.width, written.height)
        times = [float(frame.pts * frame.time_base) for frame in frames]
    assert len(frames) == len(film)
    np.testing.assert_allclose(times, np.cumsum([0, *SECONDS[:-1]]), atol=2e-3)
    for frame, expected in zip(frames, film, strict=True):
        # Colours: each third's middle, away from the edges that half-size chroma blurs.
        shown = frame.to_ndarray(format="rgb24").astype(int)
        for x in (16, 49, 82):
            rows = [y for y in range(4, 66, 8) if (expected[y - 3 : y + 3, x] == expected[y, x]).all()]
            assert np.abs(shown[rows, x] - expected[rows, x]).max() <= 16


def test_mp4_is_what_browsers_and_phones_play(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", coloured(), SECONDS)
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat"), "the index must come first (faststart)"
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.profile == "High"
        assert stream.codec_context.colorspace == 1, "BT.709 must be said, or players guess the colours"
        assert stream.codec_context.color_range == 1
        assert container.duration == pytest.approx(sum(SECONDS) * 1e6, abs=5e3)


def test_gif_has_its_frames_times_and_colours(tmp_path: Path) -> None:
    film = coloured()
    write_film(tmp_path / "a.gif", film, SECONDS)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.size) == (8, (98, 66))
        assert image.info["loop"] == 0
        durations = []
        for number, expected in enumerate(film):
            image.seek(number)
            durations.append(image.info["duration"])
            shown = np.asarray(image.convert("RGB")).astype(int)
            assert np.abs(shown - expected).max() <= 24
    assert durations == [160] * 7 + [320]


def test_gif_times_add_up_though_each_is_rounded(tmp_path: Path) -> None:
    film = coloured()
    write_film(tmp_path / "a.gif", film, [1 / 30] * 8)
    with Image.open(tmp_path / "a.gif") as image:
        total = 0
        for number in range(8):
            image.seek(number)
            total += image.info["duration"]
    assert total == 270  # 8 / 30 s in hundredths


def test_flat_areas_stay_flat_and_small_colours_survive_in_a_gif(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    film = np.full((4, 120, 160, 3), 255, np.uint8)
    film[:, 20:100, 10:80] = rng.integers(60, 140, (4, 80, 70, 1)).astype(np.uint8)  # grey, all shades
    film[:, 20:100, 85:150] = (124, 124, 128)
    film[:, 110:114, 10:40] = (250, 200, 40)
    write_film(tmp_path / "a.gif", film, [0.1] * 4)
    with Image.open(tmp_path / "a.gif") as image:
        shown = np.asarray(image.convert("RGB"))
    assert (shown[20:100, 85:150] == (124, 124, 128)).all()
    assert (shown[:20] == 255).all()
    assert np.abs(shown[110:114, 10:40].astype(int) - (250, 200, 40)).max() < 30


def test_a_gif_that_would_be_giant_is_reduced_to_under_five_megabytes(tmp_path: Path) -> None:
    film = np.random.default_rng(0).integers(0, 256, (16, 600, 800, 3), dtype=np.uint8)
    written = write_film(tmp_path / "a.gif", film, [0.1] * 16)
    assert written.size == (tmp_path / "a.gif").stat().st_size <= 5_000_000
    with Image.open(tmp_path / "a.gif") as image:
        assert image.size == (written.width, written.height)
        assert image.n_frames == 16
    assert written.reduced < 1


def test_png_holds_the_image_itself(tmp_path: Path) -> None:
    image = coloured(1)[0]
    write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)


def test_without_an_encoder_the_error_names_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "mp4", ("no_such_encoder",))
    with pytest.raises(DependencyError, match=r"no encoder for mp4 \(no_such_encoder\): write a \.gif"):
        write_film(tmp_path / "a.mp4", coloured(), SECONDS)
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_complete_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.gif"
    write_file(target, b"whole")
    assert target.read_bytes() == b"whole"
    assert target.stat().st_mode & 0o444 == 0o444

    def no_rename(self: Path, to: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_rename)
    with pytest.raises(OutputError, match=r"can't write .*a\.gif: No space left"):
        write_file(target, b"half")
    assert target.read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real.gif", tmp_path / "link.gif"
    real.write_bytes(b"old")
    link.symlink_to(real)
    write_file(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    there = tmp_path / "a.gif"
    there.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"is there already: give another name, or overwrite=True"):
        check_free([there], overwrite=False)
    check_free([there], overwrite=True)
    with pytest.raises(OutputError, match="is a folder"):
        check_free([tmp_path], overwrite=True)
    with pytest.raises(OutputError, match="there is no folder"):
        check_free([tmp_path / "missing" / "a.gif"], overwrite=True)


def test_formats_go_by_the_name() -> None:
    assert [pick_format(Path(name)) for name in ("a.gif", "b.MP4", "c.webm", "d.png")] == ["gif", "mp4", "webm", "png"]
    with pytest.raises(
        OptionError, match=r"can't tell the format of 'a\.avi': end it in \.gif, \.mp4, \.webm or \.png"
    ):
        pick_format(Path("a.avi"))


def test_without_pyav_a_gif_is_written_and_a_film_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    write_film(tmp_path / "a.gif", coloured(), SECONDS)
    with Image.open(tmp_path / "a.gif") as image:
        assert getattr(image, "n_frames", 1) == len(coloured())
    for write in (
        lambda: write_film(tmp_path / "a.mp4", coloured(), SECONDS),
        lambda: write_film(tmp_path / "a.webm", coloured(), SECONDS),
        lambda: write_clip(tmp_path / "b.mp4", [(0.0, coloured()[0])], end=1.0, rate=25.0),
        # Said before a model is loaded, not after it has run.
        lambda: check_outputs(tmp_path / "c.mp4", None, overwrite=False),
        lambda: Search("label", 1, tmp_path / "cuts", "table", None, overwrite=False),
    ):
        with pytest.raises(DependencyError, match=r"PyAV can't be loaded \(.*\): pip install .*av$"):
            write()
    check_outputs(tmp_path / "c.gif", None, overwrite=False)
    assert [file.name for file in tmp_path.iterdir()] == ["a.gif"]

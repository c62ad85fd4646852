"""Files that PyAV can't look into, for whatever reason: OpenCV decodes them, and says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from videomae_cli.errors import DecodeError, DependencyError, NotAVideoError
from videomae_cli.video import captures, probe
from videomae_cli.video.reader import open_video

Films = Callable[[str], Path]


def _raiser(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def _missing(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "av", None)


def _broken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(probe, "load_av", _raiser(DependencyError("PyAV can't be loaded (libx.so): pip install av")))


def _other_arguments(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(av, "open", _raiser(TypeError("open() got an unexpected keyword argument 'options'")))


def _no_attribute(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(probe._Scan, "index", _raiser(AttributeError("'Stream' object has no attribute 'frames'")))


def _late_import(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(probe, "BitstreamCheck", _raiser(ImportError("cannot import name 'Packet' from 'av'")))


def _no_decoder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(probe, "_choose_stream", _raiser(probe.NoDecoderError("a format that nothing here decodes")))


TROUBLES = {
    "PyAV can't be loaded (import of av halted": _missing,
    "libx.so": _broken,
    "TypeError: open() got an unexpected keyword argument 'options'": _other_arguments,
    "AttributeError: 'Stream' object has no attribute 'frames'": _no_attribute,
    "ImportError: cannot import name 'Packet'": _late_import,
    "a format that nothing here decodes": _no_decoder,
}


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "mjpeg.avi"])
@pytest.mark.parametrize("why", TROUBLES)
def test_opencv_reads_it_alone(film: Films, monkeypatch: pytest.MonkeyPatch, why: str, name: str) -> None:
    path = str(film(name))
    with open_video(path) as usual:
        expected = usual.read(range(usual.num_frames))
        times = usual.times
    TROUBLES[why](monkeypatch)
    with open_video(path) as alone:
        assert alone.info.decoder == "opencv"
        assert np.array_equal(alone.read(range(alone.num_frames)), expected)
        assert alone.times == pytest.approx(times, abs=1e-3)
        assert len(alone.warnings) == 1
        assert alone.warnings[0].startswith("decoded by OpenCV alone")
        assert why in alone.warnings[0]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "h264.mkv",
            "h264.mov",
            "h264.m2ts",
            "h264.flv",
            "h264.h264",
            "h264-odd.mp4",
            "vp9.webm",
            "mpeg2.mpg",
            "mpeg2.mxf",
        ),
        *(
            "wmv2.wmv",
            "raw.y4m",
            "animation.gif",
            "rotated-90.mp4",
            "rotated-180.mp4",
            "rotated-270.mp4",
            "wide-pixels.mp4",
        ),
    ],
)
def test_every_usual_container_is_known_by_its_first_bytes(
    film: Films, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = str(film(name))
    with open_video(path) as usual:
        expected, info = usual.read([0, 5, 20]), usual.info
    _missing(monkeypatch)
    with open_video(path) as alone:
        assert np.array_equal(alone.read([0, 5, 20]), expected)
        assert (alone.info.width, alone.info.height, alone.num_frames) == (info.width, info.height, info.num_frames)
        assert alone.info.fps == pytest.approx(info.fps, rel=0.02)


def test_what_pyav_alone_should_decode_goes_to_opencv_too(film: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    """An HDR film, whose packets PyAV could list before its decoder failed."""
    monkeypatch.setattr(captures.PyAVCapture, "restart", _raiser(TypeError("unsupported operand")))
    with open_video(str(film("hlg.mp4"))) as alone:
        assert alone.info.decoder == "opencv"
        assert alone.read([3]).shape == (1, 64, 96, 3)
        assert "HDR" in alone.warnings[0]


def test_a_picture_that_repeats_is_believed_where_pyav_can_not_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import films

    still = tmp_path / "still.mp4"
    films.write_film(still, frames=[films.numbered_frame(3)] * 10)
    monkeypatch.setattr(captures.PyAVCapture, "restart", _raiser(TypeError("unsupported operand")))
    with open_video(str(still)) as video:
        assert len(video.read(range(10))) == 10


def test_one_who_insists_on_pyav_gets_its_error(film: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    _missing(monkeypatch)
    with pytest.raises(DependencyError, match="pip install"):
        open_video(str(film("h264.mp4")), decoder="pyav")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", b"ffconcat version 1.0\nfile 'real.mp4'\n"),
        ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nreal.mp4\n#EXT-X-ENDLIST\n"),
        ("notes.mp4", b"Dear diary, nothing happened today.\n" * 40),
        ("empty.mp4", b""),
        ("broken.mp4", b"\0\0\0\x18ftypmp42" + bytes(500)),
    ],
)
def test_no_list_of_other_files_is_opened_and_the_reason_is_kept(
    film: Films, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / "real.mp4").write_bytes(film("h264.mp4").read_bytes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotAVideoError), open_video(str(tmp_path / name)):
        pass
    _missing(monkeypatch)
    with pytest.raises(DependencyError, match="PyAV can't be loaded"), open_video(str(tmp_path / name)):
        pass
    monkeypatch.undo()
    _other_arguments(monkeypatch)
    with pytest.raises(DecodeError, match=r"PyAV failed .TypeError.*OpenCV"), open_video(str(tmp_path / name)):
        pass

"""How long films say they are, from their headers, and what files say nothing."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomae_cli.video.stated_length import stated_seconds


def write(path: Path, *, options: dict[str, str] | None = None, codec: str = "mpeg4", count: int = 50) -> Path:
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 48, "yuv420p", Fraction(1, 25)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "options", "codec"),
    [
        ("a.mp4", {}, "mpeg4"),
        ("a.mp4", {"movflags": "faststart"}, "mpeg4"),
        ("a.mov", {}, "mpeg4"),
        ("a.3gp", {}, "mpeg4"),
        ("a.mkv", {}, "mpeg4"),
        ("a.webm", {}, "libvpx"),
        ("caf\udce9.mp4", {}, "mpeg4"),
    ],
)
def test_a_header_states_the_length(name: str, options: dict[str, str], codec: str, tmp_path: Path) -> None:
    made = write(tmp_path / f"made{Path(name).suffix}", options=options, codec=codec)
    os.rename(made, tmp_path / name)  # noqa: PTH104 - a name of any bytes
    assert stated_seconds(str(tmp_path / name)) == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {"movflags": "frag_keyframe+empty_moov"}), ("a.mkv", {"live": "1"}), ("a.avi", {}), ("a.ts", {})],
)
def test_what_states_no_length_is_not_searched_for_one(name: str, options: dict[str, str], tmp_path: Path) -> None:
    assert stated_seconds(str(write(tmp_path / name, options=options))) is None


def test_what_is_no_film_on_this_disk_states_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film" * 100)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")  # nobody writes: opening it would wait for ever
    for name in (*map(str, tmp_path.iterdir()), str(tmp_path), "-", "", "s3://bucket/a.mp4", "rtsp://camera", "a\0b"):
        assert stated_seconds(name) is None, name


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (struct.pack(">12xII", 1000, 2500), 2.5),
        (struct.pack(">B19xIQ", 1, 1000, 2**33), 2**33 / 1000),
        (struct.pack(">12xII", 0, 2500), None),
        (struct.pack(">12xII", 1000, 0), None),
        (struct.pack(">12xII", 1000, 2**32 - 1), None),
        (struct.pack(">B19xIQ", 1, 1000, 2**64 - 1), None),
        (b"", None),
    ],
)
def test_the_header_of_an_mp4_is_read_as_its_version_has_it(
    header: bytes, expected: float | None, tmp_path: Path
) -> None:
    film = tmp_path / "a.mp4"
    film.write_bytes(box(b"ftyp", b"isom") + box(b"mdat", bytes(100)) + box(b"moov", box(b"mvhd", header)))
    assert stated_seconds(str(film)) == expected


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("films")
    return [write(folder / f"a.{ending}", count=5).read_bytes() for ending in ("mp4", "mkv")]


@given(data=st.data())
def test_no_bytes_break_it(data: st.DataObject, films: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    film = bytearray(data.draw(st.sampled_from(films)))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(film) - 1), st.integers(0, 255)), max_size=20)):
        film[place] = value
    del film[data.draw(st.integers(0, len(film))) :]
    path = tmp_path_factory.getbasetemp() / "broken"
    path.write_bytes(film)
    found = stated_seconds(str(path))
    assert found is None or 0 < found < float("inf")

"""Where files end: inside something that holds pictures, behind it, or where they were meant to."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import films
import pytest

from videomae_cli.errors import VideoError
from videomae_cli.video import open_video
from videomae_cli.video.bitstream import BitstreamCheck
from videomae_cli.video.structure import is_whole

Films = Callable[[str], Path]


class _Pipe(io.RawIOBase):
    """What a program writes to that can't go back."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def piped(source: Path, container: str) -> bytes:
    """The packets of a film, in a container that was written to a pipe."""
    pipe = SimpleNamespace(write=(sink := _Pipe()).write)
    with av.open(str(source)) as film, av.open(pipe, "w", format=container) as output:
        stream = output.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return bytes(sink.data)


def said(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with open_video(path) as reader:
        return "; ".join(reader.warnings)


@pytest.mark.parametrize(("name", "container"), [("mpeg4.avi", "avi"), ("wmv2.wmv", "asf"), ("h264.mkv", "matroska")])
def test_recordings_that_were_written_to_a_pipe(film: Films, tmp_path: Path, name: str, container: str) -> None:
    data = piped(film(name), container)
    copy = tmp_path / name
    assert said(copy, data) == ""
    for part in (0.4, 0.6, 0.9):
        copy.write_bytes(data)
        cut = data[: films.middle_of_packets(copy, part)]
        try:
            words = said(copy, cut)
        except VideoError as error:
            words = error.kind
        # In ASF all of these packets begin in one block, which is lost as a whole.
        assert "cut off" in words or (container, words) == ("asf", "decode")


def test_a_matroska_file_that_lost_pictures_before_its_last_one(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mkv"
    films.write_film(whole, count=24, options={"g": "24", "bf": "3", "sc_threshold": "0"})
    copy = tmp_path / "copy.mkv"
    data = whole.read_bytes()
    index = data.rindex(b"\x1c\x53\xbb\x6b")
    assert said(copy, data) == said(copy, data[: index + 9]) == ""
    with av.open(str(whole)) as source:
        places = [packet.pos for packet in source.demux(video=0) if packet.size]
    for place in places[-5:]:
        # Stored last are pictures that are shown before others.
        assert "cut off" in said(copy, data[: place + 9])
    assert said(copy, data + b"\0" * 100) == said(copy, data + b"left over") == ""


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_transport_stream_that_ends_between_two_packets_of_a_picture(tmp_path: Path, codec: str) -> None:
    copy = tmp_path / "copy.ts"
    films.write_film(copy, count=12, codec=codec, size=(640, 480), options={"g": "4"})
    data = copy.read_bytes()
    # Packets of the pictures: whether each is the first of one.
    first = {
        at: data[at + 1] >> 6 & 1 for at in range(0, len(data), 188) if data[at + 1] & 31 == 1 and not data[at + 2]
    }
    inside = max(at for at in first if first[at] and first.get(at + 188) == 0) + 188
    assert "cut off" in said(copy, data[:inside])
    assert said(copy, data[: max(at for at in first if first[at])]) == said(copy, data) == ""
    blu_ray = b"".join(bytes(4) + data[at : at + 188] for at in range(0, len(data), 188))
    copy.write_bytes(blu_ray[: inside // 188 * 192])
    assert is_whole(str(copy), "mpegts") is False
    copy.write_bytes(blu_ray)
    assert is_whole(str(copy), "mpegts")


def test_a_disc_fills_up_its_sectors(film: Films, tmp_path: Path) -> None:
    with av.open(str(film("mpeg2.mpg"))) as source, av.open(str(tmp_path / "disc.mpg"), "w", format="vcd") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size and packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    data = (tmp_path / "disc.mpg").read_bytes()
    data = data[:2324] + bytes(20) + data[2324:] if data[2324:2328] == b"\0\0\1\xba" else data
    copy = tmp_path / "copy.mpg"
    copy.write_bytes(data)
    assert is_whole(str(copy), "mpeg") is not False
    copy.write_bytes(data[: len(data) * 3 // 5 // 2048 * 2048 + 1000])
    assert is_whole(str(copy), "mpeg") is False


def test_pictures_of_an_open_group_that_was_cut_before_it(film: Films, tmp_path: Path) -> None:
    copy = tmp_path / "part.mkv"
    with av.open(str(film("mpeg2.ts"))) as source, av.open(str(copy), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        keys = [place for place, packet in enumerate(packets) if packet.is_keyframe]
        begin = packets[keys[1]].pts
        for packet in packets[keys[1] :]:
            # Two pictures before the key, which ffmpeg -c copy gives the first time that it may.
            packet.pts = max(packet.pts, begin)
            packet.stream = stream
            output.mux(packet)
    with open_video(copy) as reader:
        assert not reader.warnings
        assert 0 < reader.num_frames < len(packets) - keys[1]


def test_headers_of_theora_are_no_pictures() -> None:
    check = BitstreamCheck(SimpleNamespace(codec=SimpleNamespace(canonical_name="theora"), extradata=None))
    assert [check(b"\x80theora"), check(b"\x82theora"), check(b"\0picture"), check(b"\x40picture")] == [
        "hidden",
        "hidden",
        "plain",
        "plain",
    ]

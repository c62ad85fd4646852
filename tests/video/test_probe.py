"""What the packets tell, without decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from videomae_cli.errors import NotAVideoError
from videomae_cli.video.bitstream import BitstreamCheck
from videomae_cli.video.probe import probe_video
from videomae_cli.video.structure import is_whole
from videomae_cli.video.transport import is_intact

Films = Callable[[str], Path]


@pytest.mark.parametrize("name", ["h264-refresh.mp4", "h264-refresh.ts"])
def test_a_gradual_refresh_is_no_place_to_start(film: Films, name: str) -> None:
    assert list(probe_video(str(film(name))).index.keys) == [0]


@pytest.mark.parametrize("name", ["h264-open-gop.mp4", "h264-open-gop.ts", "h264.mp4", "hevc.ts"])
def test_intra_pictures_are(film: Films, name: str) -> None:
    index = probe_video(str(film(name))).index
    assert list(index.keys) == list(range(0, len(index.times), 12))


@pytest.mark.parametrize(("first_byte", "kind"), [(0b10000, "plain"), (0b00000, "hidden"), (0b00001, "hidden")])
def test_vp8_pictures_that_are_never_shown(first_byte: int, kind: str) -> None:
    check = BitstreamCheck(av.CodecContext.create("vp8", "r"))
    assert check(av.Packet(bytes([first_byte, 1, 2, 3]))) == kind


@pytest.mark.parametrize(
    "name",
    [
        *("overwritten.mp4", "overwritten.ts", "cut-off.mp4", "spoiled-slice.mp4", "spoiled-slice.mkv"),
        *("spoiled-kind.mp4", "spoiled-bit.mp4", "spoiled-picture.avi"),
    ],
)
def test_damage_means_the_index_is_not_used(film: Films, name: str) -> None:
    assert not probe_video(str(film(name))).index.reliable


@pytest.mark.parametrize(
    ("name", "reliable"),
    [
        ("cut-off.mp4", False),  # a packet is promised a size that is not there
        ("cut-off.avi", False),
        ("cut-off.mkv", True),  # the cluster's last block is left out as if it had never been
        ("cut-off.ts", True),
        ("cut-between.mp4", True),
        ("cut-between.avi", True),
        ("cut-between.mkv", True),
        ("cut-between.ts", True),
    ],
)
def test_what_is_left_of_a_file_hangs_on_where_it_was_cut(film: Films, name: str, reliable: bool) -> None:
    index = probe_video(str(film(name))).index
    assert index.reliable == reliable
    # Nothing tells of a transport stream that ends between two pictures that there were more.
    assert index.whole == (name == "cut-between.ts")
    assert not index.complete
    assert len(index.times) == (72 if reliable else 73), "the one that is cut counts where its size is known"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_a_file_that_is_cut_in_its_header_is_no_video(film: Films, suffix: str) -> None:
    with pytest.raises(NotAVideoError, match="holds no video that can be read"):
        probe_video(str(film(f"cut-in-header.{suffix}")))


def test_transport_streams_number_their_packets(film: Films, tmp_path: Path) -> None:
    data = film("h264.ts").read_bytes()
    pid = 256
    assert is_intact(str(film("h264.ts")), pid)
    assert is_intact(str(film("h264.m2ts")), 0x1011)
    mine = [
        at for at in range(0, len(data), 188) if (data[at + 1] & 31) << 8 | data[at + 2] == pid and data[at + 3] & 16
    ]
    lost = tmp_path / "lost.ts"
    lost.write_bytes(data[: mine[20]] + data[mine[20] + 188 :])
    assert not is_intact(str(lost), pid)
    shifted = tmp_path / "shifted.ts"
    shifted.write_bytes(data[: 188 * 20] + data[188 * 20 + 5 :])
    assert not is_intact(str(shifted), pid)


def test_an_avi_is_whole_when_its_outermost_chunks_are(film: Films, tmp_path: Path) -> None:
    whole = film("mpeg4.avi").read_bytes()
    chunk = b"RIFF" + (12).to_bytes(4, "little") + b"AVIX" + bytes(8)
    odd = b"RIFF" + (5).to_bytes(4, "little") + b"AVIX\0" + b"\0"
    copy = tmp_path / "copy.avi"
    for content, expected in [
        (whole, True),
        (whole + b"left over", True),
        (whole + chunk, True),
        (whole + odd + chunk, True),
        (whole + odd[:-1], True),
        (whole[:-1], False),
        (whole[:6], False),
        (whole + chunk[:-1], False),
        (whole + chunk[:5], False),
        (whole[:4] + bytes(4) + whole[8:], True),
        (whole[:4] + b"\xff" * 4 + whole[8:], True),
        (whole[:4] + bytes(4) + whole[8:-9], False),
        (whole[:4] + bytes(4) + whole[8 : len(whole) * 3 // 5], False),
        (b"not RIFF", False),
        (b"", False),
    ]:
        copy.write_bytes(content)
        assert bool(is_whole(str(copy), "avi")) == expected, content[-20:]
    assert not is_whole(str(tmp_path / "missing.avi"), "avi")

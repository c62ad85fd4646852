"""Clips inside tar archives, read in place: the same frames as from files, and archives that mean harm."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from pictures_of_clips import jpeg, read_members, write_frames, write_tar

from videomae_cli.api.footage import demo_clip
from videomae_cli.errors import VideoError, VideoNotFoundError
from videomae_cli.video import Filter, discover, open_video
from videomae_cli.video.tar_members import index_of, opened


def listed(archive: Path, mode: str = "auto") -> dict[str, str | None]:
    """The clips in an archive by their names in it, with their errors."""
    found = discover([archive], only=Filter(frame_folders=mode))
    return {v.path.removeprefix(f"{archive}/"): str(v.error) if v.error is not None else None for v in found}


@pytest.fixture(scope="module")
def film() -> bytes:
    return demo_clip().read_bytes()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_of_webdataset(tmp_path: Path, film: bytes, format: int) -> None:
    """KEY.mp4 and KEY.0001.jpg, with labels beside them, in every kind of archive and with long names."""
    clip, long = write_frames(tmp_path / "clip", range(1, 13)), "sub/" * 30 + "x" * 60
    members = {
        "b.mp4": film,
        "b.cls": b"3",
        **read_members(clip, "a"),
        "a.json": b"{}",
        f"{long}.mp4": film,
    }
    archive = write_tar(tmp_path / "shard.TAR", members, format)  # type: ignore[arg-type]
    assert listed(archive) == {"a": None, "b": None, long: None}
    assert listed(archive, "never") == {"b": None, long: None}
    with open_video(f"{archive}/a") as reader, open_video(clip) as same:
        assert np.array_equal(reader.read(range(12)), same.read(range(12)))
        assert reader.info.path == f"{archive}/a"
    with open_video(f"{archive}/a.%04d.jpg#frames=3-5") as reader:
        assert reader.num_frames == 3


@pytest.mark.parametrize("decoder", ["opencv", "pyav"])
def test_a_film_in_an_archive_is_the_film(tmp_path: Path, film: bytes, decoder: str) -> None:
    archive = write_tar(tmp_path / os.fsdecode(b"sh\xffard.tar"), {"pad.txt": b"x" * 700, "a.mp4": film, "b.txt": b"y"})
    for name in ("a", "a.mp4"):
        with (
            open_video(f"{archive}/{name}", decoder=decoder) as reader,
            open_video(demo_clip(), decoder=decoder) as file,
        ):
            assert reader.num_frames == file.num_frames
            assert reader.times == file.times
            assert np.array_equal(reader.read([290, 0, 150]), file.read([290, 0, 150]))
            assert reader.warnings == ()


def test_containers_whose_ends_are_looked_at(tmp_path: Path) -> None:
    """Transport streams and Matroska are read by this program itself too: inside the archive, and to the member's end."""
    import av

    for name in ("a.ts", "a.mkv", "a.avi"):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(30):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 8, np.uint8))))
            container.mux(stream.encode())
        content = (tmp_path / name).read_bytes()
        archive = write_tar(
            tmp_path / "x.tar", {"a": b"G" * 1000, name: content, "cut-" + name: content[: -len(content) // 3]}
        )
        with open_video(f"{archive}/{name}") as reader, open_video(tmp_path / name) as file:
            assert np.array_equal(reader.read(range(30)), file.read(range(30)))
            assert reader.warnings == file.warnings
        (tmp_path / ("cut-" + name)).write_bytes(content[: -len(content) // 3])
        with open_video(f"{archive}/cut-{name}") as reader, open_video(tmp_path / ("cut-" + name)) as file:
            assert reader.warnings == file.warnings


def test_an_animation_in_an_archive(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.new("RGB", (32, 32), (level, 0, 0)) for level in (0, 120, 240)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    archive = write_tar(tmp_path / "x.tar", {"a.gif": (tmp_path / "a.gif").read_bytes()})
    assert listed(archive) == {"a": None}
    with open_video(f"{archive}/a") as reader:
        assert reader.num_frames == 3


def test_pictures_in_webp_are_one_clip(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (32, 32), (90, 0, 0)).save(tmp_path / "a.webp")
    content = (tmp_path / "a.webp").read_bytes()
    archive = write_tar(tmp_path / "x.tar", {f"clip/{number:04}.webp": content for number in range(1, 11)})
    assert listed(archive) == {"clip": None}


def test_folders_in_an_archive_are_clips_and_single_pictures_are_not(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", range(1, 13))
    pictures = {f"train/walk/{file.name}": file.read_bytes() for file in clip.iterdir()}
    single = {f"{number:06}.{kind}": jpeg() for number in range(20) for kind in ("jpg", "cls")}
    archive = write_tar(tmp_path / "x.tar", {"./top.txt": b"", **pictures, **single})
    assert listed(archive) == {"train/walk": None}
    assert list(listed(archive, "always")) == ["", "train/walk"]
    with open_video(f"{archive}/train/walk") as reader:
        assert reader.num_frames == 12
    images = write_tar(tmp_path / "images.tar", single)
    assert "no clips in archive" in str(listed(images))


def test_keys_that_several_things_have(tmp_path: Path, film: bytes) -> None:
    clip = write_frames(tmp_path / "clip", range(1, 11))
    members = {"a.left.mp4": film, "a.right.mp4": film, "b.mp4": film}
    members |= {f"b/{file.name}": file.read_bytes() for file in clip.iterdir()}
    archive = write_tar(tmp_path / "x.tar", members)
    assert listed(archive) == {"a.left.mp4": None, "a.right.mp4": None, "b.mp4": None, "b": None}
    with open_video(f"{archive}/b") as pictures, open_video(f"{archive}/b.mp4") as video:
        assert (pictures.num_frames, video.num_frames) == (10, 300)


def test_found_in_folders_and_by_patterns(tmp_path: Path, film: bytes) -> None:
    for name in ("s-000.tar", "s-001.tar"):
        write_tar(tmp_path / name, {"k.mp4": film})
    write_tar(tmp_path / "backup.tar", {"letter.txt": b"dear"})
    expected = [f"{tmp_path}/s-000.tar/k", f"{tmp_path}/s-001.tar/k"]
    assert [video.path for video in discover([tmp_path])] == expected
    assert [video.name for video in discover([tmp_path])] == ["s-000.tar/k", "s-001.tar/k"]
    assert [video.path for video in discover([f"{tmp_path}/s-*.tar"], globs=True)] == expected
    assert [video.path for video in discover([*expected[:1], tmp_path])] == expected
    assert [video.path for video in discover([tmp_path], only=Filter(exclude=("s-000*",)))] == expected[1:]
    (missing,) = discover([f"{tmp_path}/s-000.tar/other"])
    assert isinstance(missing.error, VideoNotFoundError)


# --- hostile archives -------------------------------------------------------------------------


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_links_are_not_followed(tmp_path: Path, film: bytes) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(film)
    clip = write_frames(tmp_path / "clip", range(1, 13))
    members = {
        "a.mp4": link("a.mp4", str(secret)),
        "h.mp4": link("h.mp4", "b.mp4", tarfile.LNKTYPE),
        "b.mp4": film,
        **read_members(clip, "c"),
        "c.0003.jpg": link("c.0003.jpg", "/etc/passwd"),
    }
    archive = write_tar(tmp_path / "x.tar", members)
    found = listed(archive)
    assert {name for name, error in found.items() if error is None} == {"b", "c"}
    assert "is a link, and links in archives are not followed" in str(found["a"])
    assert "is a link" in str(found["h"])
    for name in ("a", "a.mp4"):
        with pytest.raises(VideoNotFoundError, match="is a link"):
            open_video(f"{archive}/{name}")
    with open_video(f"{archive}/c") as reader, pytest.raises(VideoError, match="links in archives are not followed"):
        reader.read([2])


def test_names_that_lead_out_open_nothing(tmp_path: Path, film: bytes) -> None:
    (tmp_path / "out.mp4").write_bytes(film)
    members = {
        "../out.mp4": film,
        "/etc/x.0001.jpg": jpeg(),
        "/etc/x.0002.jpg": jpeg(),
        "a/../../b.mp4": film,
        "ok.mp4": film,
    }
    found = listed(write_tar(tmp_path / "x.tar", members))
    assert [name for name, error in found.items() if error is None] == ["ok"]
    assert sorted(name for name, error in found.items() if "leads out of the archive" in str(error)) == [
        *("../out", "/etc/x", "a/../../b")
    ]
    with pytest.raises(VideoNotFoundError):
        open_video(f"{tmp_path}/x.tar/../out.mp4")


def test_names_of_any_bytes(tmp_path: Path, film: bytes) -> None:
    name = os.fsdecode(b"k\xff\n\x1b[31m.mp4")
    archive = write_tar(tmp_path / "x.tar", {name: film}, tarfile.GNU_FORMAT)
    (video,) = discover([archive])
    assert os.fsencode(video.path) == os.fsencode(archive) + b"/k\xff\n\x1b[31m"
    with open_video(video) as reader:
        assert reader.num_frames == 300


@pytest.mark.parametrize("keep", [0, 100, 512, 700, -700])
def test_archives_that_are_cut_off(tmp_path: Path, film: bytes, keep: int) -> None:
    content = write_tar(tmp_path / "whole.tar", {"a.mp4": film, "b.mp4": film}).read_bytes().rstrip(b"\0")
    archive = tmp_path / "x.tar"
    archive.write_bytes(content[:keep])
    found = discover([archive])
    assert found[-1].error is not None
    assert [v.path for v in found if v.error is None] == ([f"{archive}/a"] if keep < 0 else [])


def test_rubbish_never_raises(tmp_path: Path, film: bytes) -> None:
    """Each byte of the headers changed in turn: an error or the clips, and nothing that is outside the archive."""
    good = write_tar(
        tmp_path / "good.tar", {"a" * 120 + ".mp4": film[:600], "b.mp4": film[:600]}, tarfile.PAX_FORMAT
    ).read_bytes()
    archive = tmp_path / "x.tar"
    for place in range(0, 2048, 7):
        broken = bytearray(good)
        broken[place] ^= 0x9D
        archive.write_bytes(broken)
        for video in discover([archive]):
            assert video.path.startswith(str(archive))
            if video.error is None:
                with opened(video.path) as file:
                    assert len(file.read()) <= len(good)


def test_headers_that_lie(tmp_path: Path) -> None:
    """A size beyond the end, a negative one, and an extended header of gigabytes: nothing is read for them."""
    for field in (b"77777777777\0", b"\xff" * 12, b"\x80" + b"\x7f" * 11):
        for kind in (b"0", b"x", b"L"):
            head = bytearray(tarfile.TarInfo("a.mp4").tobuf(tarfile.USTAR_FORMAT))
            head[124:136], head[156:157], head[148:156] = field, kind, b" " * 8
            head[148:156] = f"{sum(head):06o}\0 ".encode()
            archive = tmp_path / "x.tar"
            archive.write_bytes(bytes(head) + bytes(2048))
            (video,) = discover([archive])
            assert video.error is not None


def test_a_member_reads_as_a_file_does(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5
    archive = write_tar(tmp_path / "x.tar", {"pad": b"1", "a.mp4": content, "end": b"2"})
    with opened(f"{archive}/a.mp4") as file:
        assert file.read() == content
        assert file.seek(-10, io.SEEK_END) == len(content) - 10
        assert (file.read(100), file.read()) == (content[-10:], b"")
        assert (file.seek(300), file.read(3)) == (300, content[300:303])
    assert index_of(str(archive)).members["a.mp4"].size == len(content)


def test_what_is_no_plain_file_is_said_to_be_that(tmp_path: Path, film: bytes) -> None:
    holes = tarfile.TarInfo("GNUSparseFile.1/s.mp4")
    holes.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s.mp4"}
    pipe = link("p.mp4", "", tarfile.FIFOTYPE)
    archive = write_tar(tmp_path / "x.tar", {"s.mp4": holes, "p.mp4": pipe, "a.mp4": film})
    found = listed(archive)
    assert found.keys() == {"a", "p", "s"}
    for name in ("p", "s"):
        assert "is a pipe, a device or a file with holes in the archive" in str(found[name])


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_an_archive_that_is_compressed_under_a_plain_name(tmp_path: Path, film: bytes, kind: str) -> None:
    plain = write_tar(tmp_path / "plain.tar", {"a.mp4": film})
    with tarfile.open(tmp_path / "x.tar", f"w:{kind}") as archive:  # type: ignore[call-overload]
        archive.add(plain, "a.tar")
    (error,) = listed(tmp_path / "x.tar").values()
    assert "is no plain tar archive, it is compressed" in str(error)
    assert "unpack it first" in str(error)


def test_names_in_an_archive_that_are_no_clips(tmp_path: Path, film: bytes) -> None:
    archive = write_tar(tmp_path / "x.tar", {"k.mp4": film, "k.avi": film, "k.txt": b"x"})
    for name, said in {
        "k": rf"is the key of 2 videos: give {archive}/k\.mp4 or {archive}/k\.avi",
        "k.txt": "is a file in the archive, but no clip",
        "no": "there is no .* in the archive",
    }.items():
        with pytest.raises(VideoError, match=said):
            open_video(f"{archive}/{name}")

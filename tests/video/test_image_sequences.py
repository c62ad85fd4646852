"""Folders of numbered pictures as clips: which pictures, in which order, at which times, and the same pixels as Pillow's."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures_of_clips import film_frames, jpeg, write_frames
from PIL import Image, ImageOps

from videomae_cli.errors import DecodeError, NotAVideoError, VideoError, VideoMAEError, VideoNotFoundError
from videomae_cli.video import ClipRequest, Decoder, Filter, PassRequest, SamplingSpec, discover, open_video
from videomae_cli.video.clip_names import ClipName, NamePattern
from videomae_cli.video.image_capture import MOST_PIXELS
from videomae_cli.video.image_sequences import LEAST_PICTURES, annotated_clip, find_sequence


def found_in(folder: Path, mode: str = "auto", *, recursive: bool = True) -> list[str]:
    """The clips in a folder, relative to it; an error is shown by its message."""
    videos = discover([folder], only=Filter(frame_folders=mode), recursive=recursive)
    return [os.path.relpath(video.path, folder) if video.error is None else str(video.error) for video in videos]


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        ClipName("clip"),
        ClipName("a/b#c", 3, 10),
        ClipName("clip/img_%05d.jpg", 0, 0, fps=29.97),
        ClipName("clip", count=12, fps=60.0),
    ],
)
def test_a_name_says_everything_about_a_clip(name: ClipName) -> None:
    assert ClipName.parse(str(name)) == name


@pytest.mark.parametrize("path", ["clip#1", "clip#frames=1", "#frames=1-2", "a#fps=x", "a#frames=1-2&", "a#t=1,2"])
def test_other_names_are_left_alone(path: str) -> None:
    assert ClipName.parse(path) == ClipName(path)


def test_patterns_are_those_of_c() -> None:
    pattern = NamePattern.parse("100%%_%05d.jpg")
    assert pattern is not None
    numbers = [pattern.number(f"100%_{text}.jpg") for text in ("00012", "12", "123456", "012345", "x0012")]
    assert numbers == [12, None, 123456, None, None]
    assert NamePattern.parse("img_%d_%d.jpg") is NamePattern.parse("img.jpg") is NamePattern.parse("50%.jpg") is None


# --- order, times and gaps --------------------------------------------------------------------


def test_pictures_follow_each_other_by_number(tmp_path: Path) -> None:
    """2 comes before 10, whatever the digits."""
    clip = write_frames(tmp_path / "clip", range(1, 31), pattern="frame%d.png")
    with open_video(clip, fps=10) as reader:
        assert reader.info.decoder == "pillow"
        assert (reader.num_frames, reader.fps, reader.info.codec, reader.info.duration) == (30, 10, "png", 3.0)
        assert np.array_equal(reader.read(range(30)), np.stack(film_frames()[1:31]))
        assert reader.timestamps([0, 1, 29]) == [0, 0.1, 2.9]
        assert reader.warnings == ()


def test_gaps_are_said_and_keep_their_time(tmp_path: Path) -> None:
    numbers = [n for n in range(1, 41) if n not in (7, 20, 21)]
    with open_video(write_frames(tmp_path / "clip", numbers), fps=10) as reader:
        assert reader.warnings == ("3 of 40 pictures are missing (numbers 7, 20 to 21)",)
        assert reader.num_frames == 37
        assert reader.timestamps([0, 5, 6, 36]) == [0, 0.5, 0.7, 3.9]


def test_every_fifth_frame_is_no_gap(tmp_path: Path) -> None:
    with open_video(write_frames(tmp_path / "clip", range(0, 60, 5)), fps=10) as reader:
        assert reader.warnings == ()
        assert reader.timestamps([0, 11]) == [0, 1.1]
    with open_video(write_frames(tmp_path / "gap", [0, 5, 10, 20, 25, 30, 35, 40])) as reader:
        assert reader.warnings[0] == "1 of 9 pictures is missing (number 15)"


def test_a_rate_is_assumed_and_said(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip")
    with open_video(clip) as reader:
        assert reader.fps == 30
        assert reader.warnings == ("30 frames per second assumed: fps says how many the pictures have",)
    with open_video(f"{clip}#fps=12.5", fps=60) as reader:
        assert (reader.fps, reader.warnings) == (12.5, ())


def test_parts_by_number_and_by_count(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", pattern="img_%05d.png")
    with open_video(f"{clip}/img_%05d.png#frames=11-20") as reader:
        assert np.array_equal(reader.read([0, 9]), np.stack([film_frames()[11], film_frames()[20]]))
        assert (reader.num_frames, reader.info.path) == (10, f"{clip}/img_%05d.png#frames=11-20")
    with open_video(f"{clip}#count=5") as reader:
        assert reader.num_frames == 5
    with open_video(f"{clip}#frames=39-44") as reader:
        assert reader.warnings[0] == "4 of 6 pictures are missing (numbers 41 to 44)"
    (clip / "img_00002.png").unlink()
    for last in (3, 4):  # the distance of two numbers is that of the whole clip
        with open_video(f"{clip}#frames=1-{last}&fps=10") as reader:
            assert reader.timestamps([0, 1]) == pytest.approx([0.0, 0.2])
    with open_video(f"{clip}#count=50") as reader:
        assert reader.warnings[0].startswith("39 pictures of 50 are there; 1 of 40 pictures is missing")
    with pytest.raises(DecodeError, match="has no such pictures: the numbers of its 39 go from 1 to 40"):
        open_video(f"{clip}#frames=100-120")
    with pytest.raises(DecodeError, match="a clip of 0 pictures shows nothing"):
        open_video(f"{clip}#count=0")
    with pytest.raises(VideoNotFoundError, match="there is no"):
        open_video(f"{tmp_path}/none#frames=1-2")


def test_lines_of_annotation_lists(tmp_path: Path) -> None:
    clip = str(write_frames(tmp_path / "a clip"))
    lines = {
        f"{clip} 3 20 7": f"{clip}#frames=3-22",
        f"{clip}, 3, 20": f"{clip}#frames=3-22",
        f"{clip}/img_%05d.jpg 0 5": f"{clip}/img_%05d.jpg#frames=0-4",
        f'"{clip}" 3 20 7': f"{clip}#frames=3-22",
        f"{clip} 3 20 walk the dog": f"{clip}#frames=3-22",
        f"{clip} 3 0 walk": f"{clip}#count=0",
        f"{clip} 3": None,
        f"{tmp_path}/other 3 20 7": None,
    }
    assert {line: annotated_clip(line, labelled=False) for line in lines} == lines
    assert annotated_clip(f"{clip} 20", labelled=True) == f"{clip}#count=20"
    assert annotated_clip("a clip 3 20", labelled=True, folder=str(tmp_path)) == "a clip#frames=3-22"


# --- pixels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_as_pillow_applies_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    clip = write_frames(tmp_path / "clip", range(1, 4), exif=exif)
    with open_video(clip) as reader, Image.open(clip / "img_00002.jpg") as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        assert (reader.info.width, reader.info.height) == expected.shape[1::-1]
        assert np.array_equal(reader.read([1])[0], expected)


def test_pixels_are_pillows_and_nearly_opencvs(tmp_path: Path) -> None:
    """OpenCV's own JPEG decoder may round in another way: by at most 3 of 255 levels, as docs/frame-folders.md says."""
    clip = write_frames(tmp_path / "clip", quality=85)
    with open_video(clip) as reader:
        frames = reader.read(range(40))
    files = sorted(clip.iterdir())
    assert np.array_equal(frames, np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]))
    theirs = np.stack([cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in files])
    assert np.abs(frames.astype(int) - theirs).max() <= 3


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_pictures_of_every_kind_become_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    for number in range(1, 4):
        image = Image.fromarray(film_frames()[number])
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
        else:
            image = image.convert(mode)
        image.save(tmp_path / f"{number}.{suffix}")
    with open_video(tmp_path) as reader:
        frame = reader.read([2])[0].astype(int)
    grey = np.asarray(Image.fromarray(film_frames()[3]).convert("L")).astype(int)
    spread = np.abs(frame.mean(axis=2) - grey).mean()
    assert frame.shape == (90, 160, 3)
    assert spread < (90 if mode == "1" else 16)


def test_clips_and_windows_of_a_folder_are_those_of_its_frames(tmp_path: Path) -> None:
    """By the decoding process, in any order, and in one pass."""
    clip = write_frames(tmp_path / "clip", pattern="%d.png")
    frames = np.stack(film_frames()[1:41])
    with Decoder() as decoder:
        video = decoder.decode(ClipRequest(clip, SamplingSpec(frames=8, family="uniform", clips=2, fps=10)))
        assert np.array_equal(video.frames[:, 0], frames[video.plan.indices])
        assert (video.info.fps, video.plan.clips[0][0], video.plan.clips[1][-1]) == (10, 0, 39)
        with decoder.stream(PassRequest(clip, start=1.0, end=2.0, fps=10)) as stream:
            passed = [block for block in stream if len(block.frames)]
    assert np.array_equal(np.concatenate([block.frames for block in passed]), frames[10:20])
    with open_video(clip) as reader:
        assert np.array_equal(reader.read([39, 3, 20, 3]), frames[[39, 3, 20, 3]])


# --- which folders are clips ------------------------------------------------------------------


def test_folders_of_frames_are_found_among_videos(tmp_path: Path) -> None:
    write_frames(tmp_path / "b" / "clip 10", range(1, 10))
    write_frames(tmp_path / "b" / "clip 2", range(0, 9), pattern="%d.png")
    (tmp_path / "b" / "clip 2" / "info.json").write_text("{}")
    (tmp_path / "a.mp4").touch()
    assert found_in(tmp_path) == ["a.mp4", "b/clip 10", "b/clip 2"]
    assert found_in(tmp_path, "never") == ["a.mp4"]
    assert found_in(tmp_path / "b", recursive=False) == ["clip 10", "clip 2"]
    assert [video.path for video in discover([f"{tmp_path}/b/clip 2/"])] == [f"{tmp_path}/b/clip 2"]
    assert [video.path for video in discover([f"{tmp_path}/b/*"], globs=True)] == [
        f"{tmp_path}/b/clip 10",
        f"{tmp_path}/b/clip 2",
    ]
    deep = discover([f"{tmp_path}/**"], globs=True)
    assert {video.name for video in deep} == {"a.mp4", "b/clip 10", "b/clip 2"}
    assert [v.name for v in discover([tmp_path], only=Filter(exclude=("*10",)))] == ["a.mp4", "b/clip 2"]
    assert [v.name for v in discover([tmp_path], only=Filter(include=("clip*",)))] == ["b/clip 10", "b/clip 2"]


def test_optical_flow_beside_frames_is_left_out(tmp_path: Path) -> None:
    for prefix in ("img", "flow_x", "flow_y"):
        write_frames(tmp_path / "clip", range(1, 11), pattern=prefix + "_%05d.jpg")
    assert found_in(tmp_path) == ["clip"]
    assert len(find_sequence(f"{tmp_path}/clip") or ()) == 10


def holiday(folder: Path, why: str) -> str:
    """Make a folder of pictures that is no clip; returns what says so."""
    numbers = list(range(1, 15))
    if why == "camera names":
        write_frames(folder, numbers, pattern="IMG_%04d.JPG")
        return "named as a camera names them"
    if why == "messenger":
        write_frames(folder, numbers, pattern="IMG-20240501-WA%04d.jpg")
        return "named as a camera names them"
    if why == "camera data":
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "Canon", "EOS R5"
        write_frames(folder, numbers, pattern="Italy %02d.jpg", exif=exif)
        return "were taken by a camera"
    if why == "dates":
        write_frames(folder, [120301 + 371 * n + n * n for n in numbers], pattern="20240501_%06d.jpg")
        return "don't follow each other"
    if why == "gaps":
        write_frames(folder, [n * n for n in numbers])
        return "don't follow each other"
    if why == "few":
        write_frames(folder, range(LEAST_PICTURES - 1))
        return "fewer than 8"
    if why == "two kinds":
        write_frames(folder, numbers)
        write_frames(folder, numbers, pattern="depth_%05d.png")
        return "numbered in 2 ways"
    if why == "no numbers":
        for name in ("beach", "sea", "us"):
            (folder / f"{name}.jpg").write_bytes(jpeg())
        return "have no numbers"
    write_frames(folder, numbers)
    (folder / "film.mp4").touch()
    return "videos beside"


@pytest.mark.parametrize(
    "why", ["camera names", "messenger", "camera data", "dates", "gaps", "few", "two kinds", "no numbers", "videos"]
)
def test_photos_are_no_clip_and_the_reason_is_said(tmp_path: Path, why: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    said = holiday(folder, why)
    if why == "videos":
        assert found_in(tmp_path) == ["photos/film.mp4"]
        return
    (line,) = found_in(tmp_path)
    assert "no video files in folder" in line
    assert said in line
    assert ('frame_folders="always" takes them' in line) == (why not in ("two kinds", "no numbers"))
    always = found_in(tmp_path, "always")
    if why in ("camera names", "messenger", "camera data", "gaps", "few"):
        assert always == ["photos"]


def test_always_says_what_it_can_not_take(tmp_path: Path) -> None:
    write_frames(tmp_path / "good", [3])
    for pattern in ("a_%d.jpg", "b_%d.jpg"):
        write_frames(tmp_path / "two", range(1, 4), pattern=pattern)
    found = found_in(tmp_path, "always")
    assert found[0] == "good"
    assert "a pattern such as img_%05d.jpg takes one" in found[1]
    with open_video(f"{tmp_path}/two/b_%d.jpg") as reader:
        assert reader.num_frames == 3


def test_a_wrong_way_is_refused() -> None:
    with pytest.raises(VideoMAEError, match="auto, never or always"):
        Filter(frame_folders="perhaps")


# --- hostile pictures -------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says that it is huge."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


HOSTILE = {
    "truncated": (lambda good: good[: len(good) // 2], r"picture 'img_00012.jpg' of '.*' is damaged \(image file is"),
    "zero bytes": (lambda good: b"", "picture 'img_00012.jpg' of '.*' is empty"),
    "text": (lambda good: b"no picture at all", "is no picture"),
    "other size": (lambda good: jpeg((90, 160)), "is 90x160 pixels, and the first one, 'img_00001.jpg', 160x90"),
    "large": (lambda good: bomb(10_000, 10_000), "is 10000x10000 pixels, and only pictures of at most 67 million"),
    "bomb": (lambda good: bomb(200_000, 200_000), "is larger, and only pictures of at most 67 million"),
}


def test_a_damaged_png_is_not_shown_in_part(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", range(1, 21), pattern="img_%05d.png")
    for number in (1, 12):
        bad = clip / f"img_{number:05}.png"
        good = bad.read_bytes()
        middle = len(good) // 2
        bad.write_bytes(good[:middle] + b"\x00" * 64 + good[middle + 64 :])
        said = rf"picture '{bad.name}' of '.*' is damaged"
        with pytest.raises(DecodeError, match=said), open_video(clip) as reader:
            reader.read(range(20))
        bad.write_bytes(good)


# The first picture has the size of the clip.
@pytest.mark.parametrize(
    ("kind", "place"), [(kind, place) for kind in HOSTILE for place in (1, 12) if (kind, place) != ("other size", 1)]
)
def test_a_bad_picture_is_the_error_of_its_clip(tmp_path: Path, kind: str, place: int) -> None:
    make, said = HOSTILE[kind]
    clip = write_frames(tmp_path / "clip", range(1, 21))
    bad = clip / f"img_{place:05}.jpg"
    bad.write_bytes(make(bad.read_bytes()))
    with pytest.raises(DecodeError, match=said.replace("img_00012.jpg", bad.name)), open_video(clip) as reader:
        reader.read(range(20))
    if place == 12:
        with open_video(clip) as reader:
            assert len(reader.read([0, 10, 12])) == 3, "a picture that nobody asks for does no harm"


def test_the_largest_picture_is_larger_than_films() -> None:
    assert MOST_PIXELS >= 2 * 7680 * 4320


def test_what_is_no_file_among_pictures(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", range(1, 11))
    (clip / "img_00005.jpg").unlink()
    os.mkfifo(clip / "img_00005.jpg")
    (clip / "img_00006.jpg").unlink()
    (clip / "img_00006.jpg").symlink_to("nowhere.jpg")
    (clip / "img_00007.jpg").unlink()
    (clip / "img_00007.jpg").mkdir()
    with open_video(clip) as reader:
        assert reader.num_frames == 9
        for index in (4, 5):
            with pytest.raises(DecodeError, match="can't be read"):
                reader.read([index])
    assert found_in(tmp_path) == ["clip"]


def test_names_of_any_bytes(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/cl\xffip\n")
    clip = write_frames(Path(folder), range(1, 11), pattern=os.fsdecode(b"\xfe_%d.jpg"))
    assert [video.path for video in discover([tmp_path])] == [folder]
    with open_video(clip) as reader:
        assert len(reader.read([0, 9])) == 2


def test_two_pictures_with_one_number(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", range(1, 11), pattern="%d.jpg")
    (clip / "03.jpg").write_bytes(jpeg())
    with pytest.raises(NotAVideoError, match=r"two of its pictures have the number of '3.jpg'"):
        open_video(clip)
    assert "don't follow each other" in found_in(tmp_path)[0]


def test_very_long_numbers_are_no_numbers(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{10**30 + number}.jpg").write_bytes(jpeg())
    with pytest.raises(NotAVideoError, match="have no numbers"):
        open_video(tmp_path)


def test_a_folder_of_100000_pictures(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for number in range(100_000):
        picture = tmp_path / f"{number // 20_000}.jpg"  # a file has 65,000 names at most
        if not picture.exists():
            picture.write_bytes(jpeg())
        os.link(picture, clip / f"{number:06}.jpg")
    assert found_in(tmp_path) == ["clip"]
    with open_video(clip) as reader:
        assert reader.num_frames == 100_000
        assert reader.read([0, 50_000, 99_999, 12]).shape == (4, 90, 160, 3)


def test_a_part_of_a_video_by_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(VideoError, match=r"but '.*a.mp4' is a file: give a part of a video in seconds"):
        open_video(f"{tmp_path}/a.mp4#frames=1-10")


def test_a_clip_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from videomae_cli.video import clips

    clip = write_frames(tmp_path / "clip", range(1, 21))
    decode = clips._decode

    def grow(*arguments: object) -> object:
        done = decode(*arguments)  # type: ignore[arg-type]
        (clip / "img_00021.jpg").write_bytes(jpeg())
        return done

    monkeypatch.setattr(clips, "_decode", grow)
    with pytest.raises(VideoError, match="changed while it was read"):
        clips.decode_clips(ClipRequest(clip))

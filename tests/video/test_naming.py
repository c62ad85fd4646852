"""What a user types: patterns, lists, standard input, filters; and names that only look like something else."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from pathlib import Path

import pytest

from videomae_cli import filesystem
from videomae_cli.errors import OptionError, VideoNotFoundError
from videomae_cli.video import Filter, find_videos
from videomae_cli.video.lists import names_in


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of films, and the working directory."""
    for name in ("b.mp4", "a.MKV", "notes.txt", "sub/c.webm", "sub/deep/d.mp4", "sub/raw/e.mp4", "sub/raw/f.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str, recursive: bool = True, include: str | None = None, exclude: str | None = None) -> list[str]:
    only = Filter((include,) if include else (), (exclude,) if exclude else ())
    found = find_videos(arguments, recursive=recursive, only=only)
    return [f"{v.path}!" if v.error else v.path for v in found]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.mp4", ["b.mp4"]),
        ("sub/*/*.mp4", ["sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("**/*.mp4", ["b.mp4", "sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("sub/raw/*.dat", ["sub/raw/f.dat"]),
        ("sub/*", ["sub/c.webm", "sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("sub/**", ["sub/c.webm", "sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("[ab].*", ["a.MKV", "b.mp4"]),
        ("no*.mov", ["no*.mov!"]),
    ],
)
def test_patterns_that_the_shell_left(archive: Path, pattern: str, expected: list[str]) -> None:
    assert names(pattern) == expected
    assert names(str(archive / pattern)) == [str(archive / name) for name in expected]


@pytest.mark.parametrize(
    "name", ["*.mp4", "a?b.mp4", "[x].mp4", "%05d.mp4", "file:x.mp4", "-i.mp4", "~.mp4", "a  b.mp4"]
)
def test_a_name_that_looks_like_something_else_is_that_file(archive: Path, name: str) -> None:
    (archive / name).touch()
    assert names(name) == [name]


def test_lists_hold_names_whatever_they_look_like(archive: Path) -> None:
    for name in ("*.mp4", "@list", "-x.mp4", " lead.mp4", "#.mp4"):
        (archive / name).touch()
    (archive / "list").write_text("*.mp4\n@list\n\n-x.mp4\n lead.mp4\n#.mp4\nsub/deep\n-\ngone.mp4\nq?.mp4")
    assert names("b.mp4", "@list") == [  # "@list" is a file here
        "b.mp4",
        "@list",
    ]
    assert names("b.mp4", "@./list", "a.MKV") == [
        *("b.mp4", "*.mp4", "@list", "-x.mp4", " lead.mp4", "#.mp4", "sub/deep/d.mp4"),
        *("-!", "gone.mp4!", "q?.mp4!", "a.MKV"),
    ]


def test_standard_input_is_a_list(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"b.mp4\0sub/deep\0two\nlines.mp4\0\xff.mp4\0")))
    (archive / "two\nlines.mp4").touch()
    assert names("a.MKV", "-") == ["a.MKV", "b.mp4", "sub/deep/d.mp4", "two\nlines.mp4", os.fsdecode(b"\xff.mp4") + "!"]


def test_a_list_on_standard_input_may_be_given_as_one(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"b.mp4\nsub/deep\n")))
    assert names("a.MKV", "@-") == ["a.MKV", "b.mp4", "sub/deep/d.mp4"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\0\0\0\x18ftypmp42" + bytes(99))))
    with pytest.raises(OptionError, match=r"standard input: it holds no names, it is a video .*give it without the @"):
        names("@-")
    (archive / "@-").touch()
    assert names("@-") == ["@-"], "a file that is called so"


def test_lists_from_windows() -> None:
    assert names_in(b"a.mp4\r\nb c.mp4\r\n\r\n") == ["a.mp4", "b c.mp4"]
    assert names_in(b"a.mp4\r\nb.mp4\n") == ["a.mp4\r", "b.mp4"]  # then it is part of a name
    assert names_in(b"") == []


def test_a_list_that_is_not_there_stops_everything(archive: Path) -> None:
    with pytest.raises(OptionError, match=r"nowhere\.txt"):
        names("b.mp4", "@nowhere.txt")


def test_a_file_is_listed_once_however_it_is_given(archive: Path) -> None:
    (archive / "link.mp4").symlink_to("b.mp4")
    (archive / "list").write_text("b.mp4\n./b.mp4\n" + str(archive / "b.mp4"))
    assert names("sub/../b.mp4", "@list", "b.mp4", "*.mp4", ".") == [
        *("sub/../b.mp4", "./a.MKV", "./sub/c.webm", "./sub/deep/d.mp4", "./sub/raw/e.mp4"),
    ]


def test_linked_folders_are_searched_and_loops_end(archive: Path) -> None:
    (archive / "elsewhere").mkdir()
    (archive / "elsewhere" / "g.mp4").touch()
    (archive / "tree").mkdir()
    (archive / "tree" / "link").symlink_to(archive / "elsewhere")
    (archive / "tree" / "again").symlink_to(archive / "elsewhere")
    (archive / "tree" / "loop").symlink_to(archive / "tree")
    (archive / "elsewhere" / "back").symlink_to(archive / "tree")
    (archive / "tree" / "self").symlink_to("self")
    assert names("tree") == ["tree/again/g.mp4"]


def test_filters(archive: Path) -> None:
    assert names(".", recursive=False) == ["./a.MKV", "./b.mp4"]
    assert names(".", include="*.dat") == ["./sub/raw/f.dat"]
    assert names(".", exclude="*.mp4") == ["./a.MKV", "./sub/c.webm"]
    assert names(".", exclude="raw") == ["./a.MKV", "./b.mp4", "./sub/c.webm", "./sub/deep/d.mp4"]
    assert names(".", include="*/deep/*") == ["./sub/deep/d.mp4"]
    assert names("b.mp4", "a.MKV", "notes.txt", include="*.mp4") == ["b.mp4"]
    assert names("b.mp4", exclude="b.*") == []


def test_a_folder_emptied_by_filters_is_an_error_of_its_own(archive: Path) -> None:
    (video,) = find_videos(["sub"], only=Filter(include=("*.avi",)))
    assert isinstance(video.error, VideoNotFoundError)


# --- lists as people save them ----------------------------------------------------------------

NAMES = ["a.mp4", "sub/b c.mp4", "Straße.mp4", "视频.mp4", "x.mp4"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_every_encoding_of_a_list_gives_its_names(encoding: str, end: str, last: bool) -> None:
    text = end.join(NAMES) + (end if last else "")
    assert names_in(text.encode(encoding)) == NAMES
    big = b"\xfe\xff" + text.encode("utf-16-be")
    assert names_in(big) == NAMES
    for name in NAMES:
        assert names_in((name + end).encode(encoding)) == [name]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "gbk", "shift-jis"])
def test_names_of_old_encodings_are_their_bytes(encoding: str) -> None:
    name = "Straße.mp4" if encoding in ("latin-1", "cp1252") else "日本.mp4"
    raw = name.encode(encoding)
    assert names_in(b"a.mp4\n" + raw + b"\nb.mp4\n") == ["a.mp4", os.fsdecode(raw), "b.mp4"]
    assert names_in(b"a.mp4\0" + raw + b"\0") == ["a.mp4", os.fsdecode(raw)]


def test_names_that_end_in_zero_bytes_are_taken_as_they_are() -> None:
    odd = [" lead.mp4 ", "two\nlines.mp4", '"q".mp4', "#.mp4", "file:///x.mp4", "~", "a", "视", "C:\\x.mp4\r"]
    assert names_in(b"".join(os.fsencode(name) + b"\0" for name in odd)) == odd
    assert names_in(b"a\0b\0c\0") == ["a", "b", "c"]
    assert names_in(b"one.mp4\0") == ["one.mp4"]
    assert names_in(b"./\0./a.mp4\0./b.mp4\0") == ["./a.mp4", "./b.mp4"]  # find . -print0


def test_what_people_write_around_names(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(archive))
    for name in ("b c.mp4", '"q".mp4', "#1.mp4", "50%25.mp4", "tail .mp4 "):
        (archive / name).touch()
    lines = [
        *("# my films", '"b.mp4"', "'b c.mp4'", "  b.mp4 \t", "", "   ", '""', "#gone.mp4", "#1.mp4", '"q".mp4'),
        *(f"file://{archive}/b%20c.mp4", f"file://localhost{archive}/50%2525.mp4", "~/b.mp4", "tail .mp4 "),
        *("gone.mp4  ", '"gone too.mp4"', "“b.mp4”", "s3://bucket/x y.mp4 "),
    ]
    assert names_in("\n".join(lines).encode()) == [
        *("b.mp4", "b c.mp4", "b.mp4", "#1.mp4", '"q".mp4', str(archive / "b c.mp4"), str(archive / "50%25.mp4")),
        *(str(archive / "b.mp4"), "tail .mp4 ", "gone.mp4", "gone too.mp4", "b.mp4", "s3://bucket/x y.mp4"),
    ]


@pytest.mark.parametrize("name", ["/", "//", ".", "..", "./", "../..", "\\"])
@pytest.mark.parametrize("before", ["", "a.mp4\n"])
def test_no_list_turns_into_a_whole_disk(name: str, before: str) -> None:
    for content in ((before + name + "\n").encode(), (before + name).replace("\n", "\0").encode() + b"\0"):
        if content.startswith(b"\\") and b"\0" in content:
            continue
        with pytest.raises(OptionError, match="whole folder or disk"):
            names_in(content)


def test_an_empty_name_is_not_the_working_directory(archive: Path) -> None:
    assert names("") == ["!"]
    assert names("b.mp4", "") == ["b.mp4", "!"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"path,label\na.mp4,1\n", "table with commas"),
        (b"video\tclass\na.mp4\tx\n", "table with tabs"),
        ("Datei;label\na;b\n".encode("utf-16"), "table with semicolons"),
        (b'["a.mp4", "b.mp4"]', "JSON"),
        (b'{"path": "a.mp4"}\n{"path": "b.mp4"}\n', "JSON"),
        (b'{\n  "path": [1,\n 2]}\n', "JSON"),
        (b"[" * 100_000, "JSON|names"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04rest", "zip"),
        (b"\x1f\x8b\x08\0\0\0", "gzip"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "video"),
        (b"\0\0\x10\0free" + bytes(5000), "video"),
        (b"\x1aE\xdf\xa3" + bytes(range(256)), "video"),
        (b"G\x40\0\x10" + bytes(184) + b"G\x40\0\x10" + bytes(184) + b"G", "video"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "picture"),
        (bytes(range(256)) * 20, "bytes of a program"),
        (b"\x01\x02\x03\0\x04\x05\0/\0.\0\x07\x08\0" * 50, "bytes of a program|whole folder|neither text"),
        (b"\xff\xfea\0b", "marked as UTF-16"),
    ],
)
def test_a_list_that_is_something_else_is_told(archive: Path, content: bytes, said: str) -> None:
    (archive / "list").write_bytes(content)
    with pytest.raises(OptionError, match=said) as raised:
        names("@list")
    assert "'list'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_table_whose_first_line_is_a_file_is_a_list(archive: Path) -> None:
    (archive / "path,label").touch()
    assert names_in(b"path,label\nb.mp4\n") == ["path,label", "b.mp4"]


# --- paths that the file system has something against -------------------------------------------

IMPOSSIBLE = [
    "n" * 300 + ".mp4",
    "d/" * 3000 + "x.mp4",
    "a\0b.mp4",
    "loop/x.mp4",
    "b.mp4/x.mp4",
    "\ud800.mp4",
    "closed/x.mp4",
]


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize("way", ["typed", "pattern", "list"])
def test_one_impossible_path_is_one_record(archive: Path, name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "loop").symlink_to("loop")
    real = os.stat

    def refusing(path: object, *arguments: object, **options: object) -> os.stat_result:
        if str(path).startswith("closed/"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", refusing)
    given = name if way != "pattern" else "*/" + name + "*"
    if way == "list":
        if "\ud800" in name:
            return  # no bytes of a list are that
        if "\0" in name:
            given = "a\x0eb.mp4"
        (archive / "list").write_bytes(os.fsencode(f"b.mp4\n{given}\na.MKV\n"))
        found = find_videos(["@list"])
    else:
        found = find_videos(["b.mp4", given, "a.MKV"])
    assert [video.path for video in found] == ["b.mp4", given, "a.MKV"]
    assert [video.error is None for video in found] == [True, False, True]
    assert "\n" not in str(found[1].error)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO])
def test_whatever_the_file_system_says_is_the_answer(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: object, *arguments: object, **options: object) -> os.stat_result:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "stat", failing)
    monkeypatch.setattr(os, "lstat", failing)
    place = filesystem.look("x.mp4")
    assert (place.kind, place.reason) == ("unknown", os.strerror(code))
    assert not filesystem.is_named("x.mp4")
    assert not filesystem.same("x.mp4", "y.mp4")
    [video] = find_videos(["x.mp4"])
    assert os.strerror(code) in str(video.error)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("https://www.youtube.com/watch?v=abc", "download it first"),
        ("youtu.be/abc", "download it first"),
        ("https://vimeo.com/1234", "download it first"),
        ("https://huggingface.co/MCG-NJU/videomae-base/tree/main", "where the model is named"),
        ("hf://MCG-NJU/videomae-base", "where the model is named"),
        ("MCG-NJU/videomae-base@main", 'revision="REV"'),
        ("-x.mp4", r"\./-x\.mp4"),
        ("models--MCG-NJU--videomae-base", "where the model is named"),
    ],
)
def test_names_that_look_like_something_else_get_the_way_on(archive: Path, name: str, said: str) -> None:
    [video] = find_videos([name])
    assert video.error is not None
    assert re.search(said, str(video.error))


def test_a_folder_with_a_model_in_the_place_of_videos_is_told(archive: Path) -> None:
    (archive / "model").mkdir()
    (archive / "model" / "config.json").write_text("{}")
    [video] = find_videos(["model"])
    assert "where the model is named" in str(video.error)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.ts", b"export const a = 1;\n", "TypeScript"),
        ("p.m3u8", b"#EXTM3U\n#EXT-X-VERSION:3\nseg0.ts\n", "playlist"),
        ("p.mpd", b'<?xml version="1.0"?><MPD/>', "DASH"),
        ("lfs.mp4", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("p.mp4", b"\xff\xd8\xff\xe0\0\x10JFIF", "picture"),
        ("z.mp4", b"\x1f\x8b\x08\0\0\0", "unpack"),
        ("z.mkv", b"PK\x03\x04", "unpack"),
        ("d.avi", b"%PDF-1.7", "PDF"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"{}", "where the model is named"),
    ],
)
def test_files_that_are_something_else_say_what(name: str, content: bytes, said: str, archive: Path) -> None:
    from videomae_cli.errors import NotAVideoError
    from videomae_cli.video import open_video

    (archive / name).write_bytes(content)
    with pytest.raises(NotAVideoError, match=said):
        open_video(name)

"""What a user types: patterns, lists, standard input, filters; and names that only look like something else."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from videomae_cli.errors import OptionError, VideoNotFoundError
from videomae_cli.video import Filter, find_videos
from videomae_cli.video.naming import split_names


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


def test_lists_from_windows() -> None:
    assert split_names(b"a.mp4\r\nb c.mp4\r\n\r\n") == ["a.mp4", "b c.mp4"]
    assert split_names(b"a.mp4\r\nb.mp4\n") == ["a.mp4\r", "b.mp4"]  # then it is part of a name
    assert split_names(b"") == []


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

"""From paths and folders to files; a wrong path is a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videomae_cli.errors import VideoNotFoundError
from videomae_cli.video import discover, open_video
from videomae_cli.video.discovery import Filter


def test_files_and_folders_in_the_order_given(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "sub/c.webm", ".trash/d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = discover([tmp_path / "notes.txt", tmp_path])
    assert [item.path for item in found] == [str(tmp_path / n) for n in ("notes.txt", "a.MKV", "b.mp4", "sub/c.webm")]
    assert all(item.error is None for item in found)
    assert [item.path for item in discover([tmp_path], recursive=False)] == [
        str(tmp_path / n) for n in ("a.MKV", "b.mp4")
    ]


def test_wrong_paths_keep_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "empty").mkdir()
    found = discover([tmp_path / "missing.mp4", tmp_path / "a.mp4", tmp_path / "empty", "https://example.org/a.mp4"])
    assert [type(item.error) for item in found] == [VideoNotFoundError, type(None), *[VideoNotFoundError] * 2]
    assert "no such file" in str(found[0].error)
    assert "no video files" in str(found[2].error)
    assert "download" in str(found[3].error)


def test_a_file_reached_twice_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
    assert len(discover([tmp_path, tmp_path / "a.mp4", str(tmp_path) + "/../" + tmp_path.name + "/a.mp4"])) == 1


@pytest.mark.parametrize("given", ["", "/", "/.", "/*", "/**/*.mp4", "/sub/../*"])
def test_names_below_what_was_searched_are_those_of_any_machine(given: str, tmp_path: Path) -> None:
    """They choose the shard of a file, wherever its folder is mounted."""
    seen = []
    for mount in ("disk", "mnt/elsewhere"):
        (tmp_path / mount / "sub").mkdir(parents=True)
        for name in ("a.mp4", "sub/b.mp4"):
            (tmp_path / mount / name).touch()
        found = discover([f"{tmp_path / mount}{given}"], globs=True)
        seen.append([item.name for item in found])
        assert [item.path for item in found] != seen[-1]
    assert seen[0] == seen[1]
    assert sorted(name.removeprefix("sub/../") for name in seen[0]) == ["a.mp4", "sub/b.mp4"]


def test_a_file_that_is_named_has_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    assert [item.name for item in discover(["./a.mp4"])] == ["./a.mp4"]
    assert [item.name for item in discover(["gone.mp4", str(tmp_path / "a.mp4")])] == [
        "gone.mp4",
        str(tmp_path / "a.mp4"),
    ]
    assert [item.name for item in discover(["."])] == ["a.mp4"]


def test_a_link_to_a_parent_folder_ends(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(discover([tmp_path])) == 1


def test_messages_are_one_line_whatever_the_name() -> None:
    error = discover(["two\nlines\x1b[31m.mp4"])[0].error
    assert str(error) == r"no such file: 'two\nlines\x1b[31m.mp4'"


def test_an_animated_webp_in_a_folder_is_a_video_and_a_picture_beside_it_is_none(tmp_path: Path) -> None:
    """Downloaders lay a preview of that name beside each film."""
    images = [Image.fromarray(np.full((8, 8, 3), 80 * number, np.uint8)) for number in range(3)]
    images[0].save(
        tmp_path / "moving.WEBP", save_all=True, append_images=images[1:], duration=[40, 60, 50], lossless=True
    )
    images[1].save(tmp_path / "preview.webp")
    (tmp_path / "empty.webp").touch()
    moving, preview, empty = (str(tmp_path / name) for name in ("moving.WEBP", "preview.webp", "empty.webp"))
    assert [item.path for item in discover([tmp_path])] == [empty, moving]
    assert [item.path for item in discover([preview])] == [preview]  # named: its error says what it is
    assert [item.path for item in discover([tmp_path / "*.webp"], globs=True)] == [empty, preview]
    assert [item.path for item in discover([tmp_path], only=Filter(include=("pre*",)))] == [preview]
    # Of an object nothing is read while folders are listed: it is taken where it is named.
    (tmp_path / "film.mp4").touch()
    below = f"{tmp_path.as_uri()}/"
    assert [item.path for item in discover([below], addresses=True)] == [f"{below}film.mp4"]
    assert [item.path for item in discover([f"{below}moving.WEBP"], addresses=True)] == [f"{below}moving.WEBP"]
    assert [item.path for item in discover([below], addresses=True, only=Filter(include=("*.WEBP",)))] == [
        f"{below}moving.WEBP"
    ]
    with open_video(moving) as reader:
        assert [int(frame.mean()) for frame in reader.read(range(3))] == [0, 80, 160]
        assert reader.timestamps(range(3)) == [0.0, 0.04, 0.1]

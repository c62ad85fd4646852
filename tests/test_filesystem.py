"""What is at a path, and what is in it, whatever the path is: an answer or an OSError, and never a wait for ever."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from videomae_cli import filesystem

Make = Callable[[Path], str]
unix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


def make_loop(folder: Path) -> str:
    (folder / "loop").symlink_to("loop")
    return str(folder / "loop")


def make_below_file(folder: Path) -> str:
    (folder / "file").write_text("text")
    return str(folder / "file" / "x")


def make_pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


def make_socket(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(folder)  # the address of a socket has few bytes
        listening.bind("socket")
    return str(folder / "socket")


ODD: dict[str, Make] = {
    "long": lambda folder: str(folder / ("a" * 300)),
    "deep": lambda folder: str(folder / "/".join(["d" * 100] * 50)),
    "zero byte": lambda folder: f"{folder}/a\0b",
    "half a pair": lambda folder: f"{folder}/\ud800",
    "empty": lambda folder: "",
    "loop": make_loop,
    "below a file": make_below_file,
    "below a loop": lambda folder: make_loop(folder) + "/x",
    "pipe": make_pipe,
    "socket": make_socket,
    "endless device": lambda folder: "/dev/zero",
}


@unix
@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_every_question_has_an_answer(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(filesystem, "_WRITER_SECONDS", 0.0)
    path = make(tmp_path)
    assert not filesystem.is_file(path)
    assert not filesystem.is_folder(path)
    assert filesystem.entries(path) == []
    assert filesystem.is_link(path) == path.endswith("loop")
    assert isinstance(filesystem.real(path), str)
    assert not filesystem.same(path, tmp_path)
    for read in (filesystem.opened, filesystem.contents):
        with pytest.raises(OSError, match=r"\S"):
            read(path)


@unix
def test_no_permission_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("stat", "lstat", "listdir"):
        monkeypatch.setattr(os, name, refuse)
    assert filesystem.look("x").reason == "Permission denied"
    assert not filesystem.is_link("x")
    assert filesystem.entries("x") == []


def test_entries_are_those_that_match_in_their_order(tmp_path: Path) -> None:
    for name in ("b.npy", "a.npy", "A.NPY", ".c.npy"):
        (tmp_path / name).touch()
    assert filesystem.entries(tmp_path, "[ab]*.npy") == [tmp_path / "a.npy", tmp_path / "b.npy"]
    assert len(filesystem.entries(tmp_path)) == len(list(tmp_path.iterdir()))


@unix
def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = Path(make_pipe(tmp_path))
    content = b"a.mp4\n" * 50_000  # more than a pipe holds
    writer = threading.Thread(target=pipe.write_bytes, args=[content])
    writer.start()
    assert filesystem.contents(pipe) == content
    writer.join()
    assert filesystem.contents(os.devnull) == b""


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "file/below"])
def test_a_folder_that_cannot_be_is_an_oserror(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"null|such a name|Not a directory"):
        filesystem.make_folder(tmp_path / name)
    filesystem.make_folder(tmp_path / "a" / "b")
    filesystem.make_folder(tmp_path / "a")
    assert (tmp_path / "a" / "b").is_dir()

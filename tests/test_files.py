"""Whole files, locks and links, also where the system lacks the function: the result is the same, or a line says otherwise."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest

from videomae_cli import files
from videomae_cli.errors import OutputError

POSIX = os.name == "posix"


def _fails(number: int) -> Callable[..., Any]:
    def function(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return function


@pytest.mark.skipif(not POSIX, reason="rights are of POSIX")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_as_readable_as_any_new_one(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        files.write_file(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_a_link_is_written_through_or_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    files.write_file(tmp_path / "link", b"new")
    assert (tmp_path / "real").read_bytes() == b"new"
    files.write_file(tmp_path / "link", b"other", through_link=False)
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_that_syncs_nothing_still_takes_files(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _fails(number))
    files.write_file(tmp_path / "a", b"x")
    files.sync_file(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_disk_that_breaks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", _fails(errno.EIO))
    with pytest.raises(OutputError, match="can't write"):
        files.write_file(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_folders_that_can_t_be_opened_are_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", _fails(errno.EACCES))  # as Windows says of any folder
    files.sync_folder(tmp_path)


@pytest.mark.parametrize(("refusals", "arrives"), [(2, True), (9, False)])
def test_a_file_that_is_open_elsewhere_gets_a_moment(
    refusals: int, arrives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, pauses, rename = [refusals], list[float](), Path.replace

    def replace(self: Path, target: Path) -> Path:
        if left[0]:
            left[0] -= 1
            error = PermissionError(errno.EACCES, "it is used by another process")
            error.winerror = 32  # type: ignore[attr-defined,unused-ignore]
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    if arrives:
        files.write_file(tmp_path / "a", b"x")
        assert (tmp_path / "a").read_bytes() == b"x"
        assert len(pauses) == refusals
    else:
        with pytest.raises(OutputError, match="used by another process"):
            files.write_file(tmp_path / "a", b"x")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", ["there", "missing", "refused"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_new_file_takes_the_first_free_name(
    links: str, alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not alone:
        monkeypatch.setattr(files, "_renamed_alone", lambda temporary, name: False)
    if links == "missing":
        monkeypatch.delattr(os, "link")
    elif links == "refused":
        monkeypatch.setattr(os, "link", _fails(errno.EPERM))
    (tmp_path / "a.mp4").write_bytes(b"mine")
    (tmp_path / "a-2.mp4").write_bytes(b"mine too")
    (tmp_path / ".part").write_bytes(b"new")
    assert files.publish_new(tmp_path / ".part", tmp_path / "a.mp4") == tmp_path / "a-3.mp4"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.mp4": b"mine",
        "a-2.mp4": b"mine too",
        "a-3.mp4": b"new",
    }


@pytest.mark.parametrize("alone", [True, False])
def test_a_name_never_has_an_empty_file(alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk without links, at the moment when the rename is made and fails."""
    there: list[list[str]] = []

    def rename(*arguments: Any) -> None:
        there.append([path.name for path in tmp_path.iterdir() if not path.name.startswith(".")])
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.delattr(os, "link")
    if alone:
        monkeypatch.setattr(files, "_renamed_alone", rename)
    else:
        monkeypatch.setattr(files, "_renamed_alone", lambda temporary, name: False)
        monkeypatch.setattr(Path, "replace", rename)
    (tmp_path / ".part").write_bytes(b"new")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        files.publish_new(tmp_path / ".part", tmp_path / "a.mp4")
    assert there == [[]]
    assert [path.name for path in tmp_path.iterdir()] == [".part"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="renameat2 is Linux's")
def test_a_rename_that_replaces_nothing_is_one_step(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "there").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        files._renamed_alone(tmp_path / "new", tmp_path / "there")
    with pytest.raises(FileNotFoundError):
        files._renamed_alone(tmp_path / "nothing", tmp_path / "free")
    if files._renamed_alone(tmp_path / "new", tmp_path / "free"):  # else the disk has no such thing
        assert [(path.name, path.read_bytes()) for path in sorted(tmp_path.iterdir())] == [
            ("free", b"new"),
            ("there", b"mine"),
        ]


def _writing(output: Path) -> subprocess.Popen[bytes]:
    """A process that has begun to write a file, and ends it when its standard input ends."""
    script = (
        "import sys; from pathlib import Path; from videomae_cli import files\n"
        f"with files.whole_file(Path({os.fspath(output)!r})) as sink:\n"
        "    sink.write(b'late'); print(flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.skipif(not POSIX, reason="kills")
def test_what_a_killed_process_left_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    killed = _writing(out)
    (left,) = tmp_path.iterdir()
    killed.kill()
    killed.communicate()
    foreign = {
        ".out.jsonl.0123abcd.part",
        left.name.replace("jsonl", "csv"),
        left.name + "x",
        f"{left.name[:-13]}deadbeef.part",
    }
    for name in foreign:  # of another version, of another output, of nobody here, and a link
        (tmp_path / name).write_bytes(b"mine") if "deadbeef" not in name else (tmp_path / name).symlink_to("mine")
    running = _writing(out)
    assert not left.exists()
    files.write_file(out, b"whole")
    assert out.read_bytes() == b"whole"
    running.communicate()
    assert (running.returncode, out.read_bytes()) == (0, b"late")
    assert {path.name for path in tmp_path.iterdir()} == {*foreign, out.name}


@pytest.mark.skipif(not POSIX, reason="locks of open files")
def test_a_new_file_that_was_taken_for_a_leftover_gets_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process tidies up between the making of a file and its lock."""
    holds, taken = files._holds, []

    def late(stream: Any, place: Path) -> bool:
        if not taken:
            taken.append(place)
            files.remove_leftovers(tmp_path, ".a.", files.PART)
            assert not place.exists()
        return holds(stream, place)

    monkeypatch.setattr(files, "_holds", late)
    files.write_file(tmp_path / "a", b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"whole")]


@pytest.mark.skipif(not POSIX, reason="locks of open files")
def test_where_there_are_no_locks_nothing_is_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, place = files.new_file(tmp_path, ".a.", files.PART)
    stream.close()
    monkeypatch.setattr(files._fcntl, "flock", _fails(errno.ENOLCK))
    files.write_file(tmp_path / "a", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([place.name, "a"])


@pytest.mark.parametrize("lacking", [(), ("symlink",), ("symlink", "link")])
def test_a_file_can_be_read_under_another_name(
    lacking: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in lacking:
        monkeypatch.setattr(os, name, _fails(errno.EPERM))  # Windows' answer to who may make no links
    file, name = tmp_path / "film", tmp_path / "plain"
    file.write_bytes(b"first")
    files.stand_in(file, name)
    before = name.lstat()
    files.stand_in(file, name)  # nothing is made a second time
    assert (name.read_bytes(), name.lstat().st_ino) == (b"first", before.st_ino)
    file.unlink()
    file.write_bytes(b"another film")
    files.stand_in(file, name)
    assert name.read_bytes() == b"another film"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film", "plain"]


def test_one_at_a_time_has_a_lock(tmp_path: Path) -> None:
    first = files.lock(tmp_path / "lock")
    assert first.exclusive
    with pytest.raises(files.FileLockedError):
        files.lock(tmp_path / "lock")
    first.release(remove=True)
    first.release()
    assert not (tmp_path / "lock").exists()
    with files.lock(tmp_path / "lock") as second:
        assert second.exclusive


def test_a_lock_that_is_let_go_leaves_that_of_the_next_alone(tmp_path: Path) -> None:
    first = files.lock(tmp_path / "lock")
    first.release(remove=True)
    with files.lock(tmp_path / "lock"):
        first.release(remove=False)
        assert (tmp_path / "lock").exists()


@pytest.mark.skipif(not POSIX, reason="flock is POSIX's")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_locks_a_line_says_that_nobody_is_kept_out(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", _fails(number))
    with caplog.at_level(logging.WARNING), files.lock(tmp_path / "lock") as lock:
        assert not lock.exclusive
    assert f"there are no file locks in {tmp_path}" in caplog.text


def test_a_system_without_locks_says_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filelock, "FileLock", filelock.SoftFileLock)  # what filelock does without fcntl
    (tmp_path / "lock").touch()  # a kill left it
    with caplog.at_level(logging.WARNING):
        assert not files.lock(tmp_path / "lock").exclusive
    assert "no file locks" in caplog.text


@pytest.mark.skipif(not POSIX, reason="flock is POSIX's")
def test_other_errors_of_a_lock_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", _fails(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        files.lock(tmp_path / "lock")


def test_without_a_home_a_line_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from videomae_cli.engines import timings
    from videomae_cli.engines.store import store_folder

    for name in ("VIDEOMAE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does without HOME and without an entry
    with pytest.raises(OutputError, match="set VIDEOMAE_CACHE to a folder"):
        store_folder()
    timings.keep_fastest("weights", timings.Fastest("torch", "float32", 1.0))
    assert timings.fastest("weights") is None


@pytest.mark.skipif(os.name == "nt", reason="there are no groups")
def test_a_lock_of_a_group_is_one_that_the_group_may_take(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with files.lock(tmp_path / "lock", mode=0o664):
            assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of every file, then the folders that name them, then the name of the whole and the folder that holds it."""
    steps: list[str] = []
    names: dict[int, str] = {}
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        steps.append(names[os.fstat(descriptor).st_ino])

    def replace(source: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    names[tmp_path.stat().st_ino] = "parent"
    with files.whole_folder(tmp_path / "model") as folder:
        (folder / "inner").mkdir()
        for name in ("weights", "inner/config"):
            (folder / name).write_text("x")
        names |= {(folder / name).stat().st_ino: name for name in (".", "weights", "inner", "inner/config")}
    assert steps == (
        ["inner/config", "inner", "weights", ".", "rename", "parent"]
        if POSIX
        else ["inner/config", "weights", "rename"]
    )
    assert sorted(path.name for path in (tmp_path / "model").rglob("*")) == ["config", "inner", "weights"]


@pytest.mark.skipif(not POSIX, reason="Windows has no locks of folders: there they stay")
def test_what_a_killed_process_left_of_a_folder_goes_and_what_lives_stays(tmp_path: Path) -> None:
    """Also of folders of other names; never of a process that is still at it, of another machine, or what is no such folder."""
    code = """
import signal, sys
from pathlib import Path
from videomae_cli import files
with files.whole_folder(Path(sys.argv[1])) as folder:
    (folder / "weights").write_text("half")
    print("written", flush=True)
    signal.pause()
"""
    killed = subprocess.Popen([sys.executable, "-c", code, tmp_path / "killed"], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"written\n"
    (left,) = tmp_path.iterdir()
    stays = [
        tmp_path / left.name.replace(files._machine(), "zzzz"),
        tmp_path / f"notes{files.PART}",
        tmp_path / "linked",
    ]
    for folder in stays:
        folder.mkdir()
    link = tmp_path / f"link-{files._machine()}01234567{files.PART}"
    link.symlink_to("linked")
    with files.whole_folder(tmp_path / "mine"):
        pass
    assert (left / "weights").read_text() == "half", "its process lives"
    killed.kill()
    killed.communicate(timeout=300)
    with files.whole_folder(tmp_path / "mine too") as mine, files.whole_folder(tmp_path / "another"):
        assert mine.is_dir(), "a second one of this process does not take it either"
    assert not left.exists()
    assert all(folder.is_dir() for folder in [*stays, tmp_path / "mine", tmp_path / "mine too", link])


def test_a_folder_that_breaks_off_or_comes_second_leaves_nothing(tmp_path: Path) -> None:
    with contextlib.suppress(KeyError), files.whole_folder(tmp_path / "cache" / "model") as folder:
        (folder / "weights").write_text("half")
        raise KeyError
    assert list((tmp_path / "cache").iterdir()) == []
    for text in ("first", "second"):
        with files.whole_folder(tmp_path / "cache" / "model") as folder:
            (folder / "weights").write_text(text)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["model"]
    assert (tmp_path / "cache" / "model" / "weights").read_text() == "first"
    (tmp_path / "cache" / "taken").write_text("a file")
    with pytest.raises(OSError, match=r"."), files.whole_folder(tmp_path / "cache" / "taken") as folder:
        (folder / "weights").write_text("x")
    assert (tmp_path / "cache" / "taken").read_text() == "a file"


@pytest.mark.parametrize(
    ("name", "overwrite", "words"),
    [
        ("new.csv", False, None),
        ("old.csv", True, None),
        (os.devnull, False, None),
        ("old.csv", False, "old.csv is there already: overwrite=True replaces it"),
        ("clip.mp4", True, "clip.mp4 is what is read: give another name with output"),
        ("folder", True, "folder is a folder: give a file name to write to"),
        ("folder", False, "folder is a folder: give a file name to write to"),
        ("missing/new.csv", True, "can't write missing/new.csv: there is no folder missing"),
        ("old.csv/new.csv", False, "can't write old.csv/new.csv: there is no folder old.csv"),
    ],
)
def test_what_can_not_be_written_is_told_before_the_work(
    name: str, overwrite: bool, words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for there in ("old.csv", "clip.mp4"):
        Path(there).touch()
    Path("folder").mkdir()
    if words is None:
        files.check_new(Path(name), overwrite=overwrite, sources=["clip.mp4"])
        return
    with pytest.raises(OutputError) as caught:
        files.check_new(Path(name), overwrite=overwrite, sources=["clip.mp4"])
    assert str(caught.value) == words

"""A folder for outputs: the same on a disk, in a bucket, and behind fsspec."""

from __future__ import annotations

import errno
import os
import pickle
import re
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from objectstore import ObjectStore, closed_port

from videomae_cli.errors import OutputError, OutputUnavailableError
from videomae_cli.storage import folders
from videomae_cli.storage.folders import Folder


@pytest.fixture(params=["disk", "file", "s3", "s3-options", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Folder:
    if request.param == "disk":
        return Folder(str(tmp_path / "out"))
    if request.param == "file":
        return Folder(f"file://{tmp_path}/out")
    if request.param == "memory":
        return Folder(f"memory://{bucket}/out/")
    store: ObjectStore = request.getfixturevalue("store")
    address = store.bucket(bucket) + "/out"
    if request.param == "s3":
        return Folder(address)
    request.getfixturevalue("monkeypatch").delenv("AWS_ENDPOINT_URL")
    return Folder(f"{address}?endpoint_override={store.url.removeprefix('http://')}&scheme=http")


def test_all_that_a_job_does_with_it(folder: Folder) -> None:
    assert folder.remote == folder.location.startswith(("s3", "memory"))
    assert folder.names() == []
    folder.make()
    assert folder.names() == []
    for name, content in (
        ("b.parquet", b"old"),
        ("b.parquet", b"bbb"),
        ("a b%.parquet", b"a"),
        ("_partial/x.bin", b"x"),
    ):
        with folder.writing(name) as sink:
            sink.write(content)
    again: Folder = pickle.loads(pickle.dumps(folder))
    assert again == folder
    assert again.names() == ["a b%.parquet", "b.parquet"]
    assert again.names("_partial") == ["x.bin"]
    assert again.names("nothing") == []
    assert [again.exists(name) for name in ("b.parquet", "_partial/x.bin", "_partial", "c")] == [
        True,
        True,
        False,
        False,
    ]
    assert (again.read("b.parquet"), again.read("_partial/x.bin")) == (b"bbb", b"x")
    with again.local("a b%.parquet") as file:
        assert file.read_bytes() == b"a"
        assert file.suffix == ".parquet"
    assert file.exists() != folder.remote
    folder.remove("b.parquet")
    folder.remove("b.parquet")
    with folder.writing("_partial/notes.txt") as sink:
        sink.write(b"mine")
    for kept in (["notes.txt"], []):
        folder.remove_own(re.compile(r"x\.bin"), "_partial")
        assert folder.names("_partial") == kept
        folder.remove("_partial/notes.txt")
    assert folder.names() == ["a b%.parquet"]


def test_a_subfolder_that_others_write_to_is_left_without_loss(folder: Folder) -> None:
    folder.make()
    leaving = threading.Event()

    def leave() -> None:
        while not leaving.wait(0.001):
            folder.leave("_owners")

    with ThreadPoolExecutor(1) as pool:
        left = pool.submit(leave)
        try:
            for number in range(40):
                name = f"_owners/{number}"
                with folder.writing(name) as sink:
                    sink.write(b"x")
                assert folder.read(name) == b"x"
                folder.remove(name)
        finally:
            leaving.set()
        left.result()
    folder.leave("_owners")
    assert folder.names("_owners") == []


def break_off(folder: Folder, name: str) -> None:
    with folder.writing(name) as sink:
        sink.write(b"x" * 100_000)
        raise ZeroDivisionError


def test_a_failure_in_the_middle_leaves_what_was_there(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    folder.make()
    with folder.writing("kept") as sink:
        sink.write(b"before")
    for name in ("kept", "sub/new"):
        with pytest.raises(ZeroDivisionError):
            break_off(folder, name)
    assert folder.names() == ["kept"]
    assert folder.names("sub") == []
    assert folder.read("kept") == b"before"
    with pytest.raises(ZeroDivisionError), folder.local("kept"):
        raise ZeroDivisionError
    assert list(scratch.iterdir()) == []


def test_what_is_not_there_is_said(folder: Folder) -> None:
    folder.make()
    with pytest.raises(OutputError, match=r"can't read.*gone"):
        folder.read("gone")
    with pytest.raises(OutputError, match=r"can't read.*gone"), folder.local("gone"):
        pass


def test_no_bucket(store: ObjectStore, bucket: str) -> None:
    folder = Folder(f"s3://{bucket}/out")
    with pytest.raises(OutputError, match=f"can't make: there is no bucket '{bucket}'"):
        folder.make()
    with pytest.raises(OutputError, match="can't write: there is no bucket"), folder.writing("x") as sink:
        sink.write(b"x")


def test_no_server() -> None:
    folder = Folder(f"s3://bucket/out?endpoint_override=127.0.0.1:{closed_port()}&scheme=http&region=x")
    with pytest.raises(OutputError, match="can't reach the server of 's3://bucket/out"):
        folder.make()


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = Folder(str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"can't make .*file: File exists"):
        folder.make()
    with pytest.raises(OutputError, match=r"can't write .*file/x: (Not a directory|File exists)"), folder.writing("x"):
        pass


def test_several_files_are_read_and_removed_at_once(folder: Folder) -> None:
    names = [f"_partial/{number:02}.bin" for number in range(40)]
    folder.make()
    for name in names:
        with folder.writing(name) as sink:
            sink.write(name.encode())
    copies = folder.copies(names)
    for name, copy in zip(names, copies, strict=True):
        assert copy.read_bytes() == name.encode()
        before = copy
    assert before.exists() == (not folder.remote), "a copy is deleted"
    stopped = folder.copies(names)
    first = next(stopped)
    stopped.close()
    assert first.exists() == (not folder.remote)
    folder.remove_all([*names[:30], "_partial/none.bin"])
    assert folder.names("_partial") == [name.removeprefix("_partial/") for name in names[30:]]
    with pytest.raises(OutputError):
        list(folder.copies([names[35], names[0]]))
    folder.remove_own(re.compile(r"[0-9]+\.bin"), "_partial")
    assert folder.names("_partial") == []


def test_copies_are_deleted_whatever_ends_the_reading(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not folder.remote:
        return
    with folder.writing("a.bin") as sink:
        sink.write(b"a")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with pytest.raises(OutputError):
        list(folder.copies(["a.bin", "none.bin", "a.bin", "a.bin"]))
    copies = folder.copies(["a.bin"] * 30)
    next(copies)
    copies.close()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_disk_that_fails_is_a_machine_s_and_what_is_missing_is_missing_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(str(tmp_path))
    opened: list[object] = []

    def fail(*given: object, **more: object) -> None:
        opened.append(given)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(folders, "replacing", fail)
        with pytest.raises(OutputUnavailableError, match=r"can't write .*x: Input/output error"), folder.writing("x"):
            pass
    assert len(opened) == 1, "what stays is not tried again"
    with pytest.raises(OutputError) as missing:
        folder.read("gone")
    assert not isinstance(missing.value, OutputUnavailableError)


def test_a_folder_that_is_not_there_is_not_made_again(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "share" / "out"))
    folder.make()
    (tmp_path / "share" / "out").rmdir()  # as a share that is not mounted any more leaves its mount point
    for name in ("a", "_partial/a"):
        with pytest.raises(OutputUnavailableError, match="can't write"):
            break_off(folder, name)
    assert list((tmp_path / "share").iterdir()) == []

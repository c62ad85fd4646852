"""What a machine is asked for before a job begins is really tried; no Ray needed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from objectstore import BUSY, ObjectStore, Road

from videomae_cli.cluster.requirements import Requirements
from videomae_cli.storage import stores
from videomae_cli.storage.folders import Folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "TRIES", 1)
    monkeypatch.setenv("VIDEOMAE_STORAGE_SECONDS", "1")


def test_names_that_begin_nowhere_need_no_folder() -> None:
    out = Folder("s3://bucket/out")
    objects = [f"s3://bucket/{number}.mp4" for number in range(9)]
    needed = Requirements.of(objects, "/home/me", out, [])
    assert (needed.home, needed.paths, needed.objects, needed.output) == ("", (), tuple(objects[:3]), out)
    needed = Requirements.of(["/films/a.mp4", *objects], "/home/me", out, ["/there"])
    assert (needed.home, needed.paths, len(needed.objects)) == ("", ("/films/a.mp4", "/there"), 3)
    assert Requirements.of([*objects, "a.mp4"], "/home/me", out, []).home == "/home/me"


def test_reading_and_writing_are_tried_and_leave_nothing(store: ObjectStore, bucket: str) -> None:
    store.bucket(bucket, {"a.mp4": b"film", "out/_job.json": b"{}"})
    needed = Requirements(objects=(f"s3://{bucket}/a.mp4",), output=Folder(f"s3://{bucket}/out"))
    assert needed.lacking() is None
    assert store.keys(bucket) == ["a.mp4", "out/_job.json"]


@pytest.mark.parametrize(
    ("shut", "blocked", "words"),
    [
        (b"GET /", BUSY, "can't read the job's files (the server of "),
        (b"PUT /", BUSY, "can't write the output (can't write: the server of "),
        (True, b"", "can't read the job's files ("),
    ],
    ids=["no-read", "no-write", "cut-off"],
)
def test_a_machine_that_can_not_read_or_write_says_so(
    shut: bool | bytes, blocked: bytes, words: str, store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bucket(bucket, {"a.mp4": b"film"})
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    road = Road(store)
    options = f"?endpoint_override={road.place}&scheme=http&region=us-east-1"
    needed = Requirements(objects=(f"s3://{bucket}/a.mp4{options}",), output=Folder(f"s3://{bucket}/out{options}"))
    road.shut, road.blocked = shut, blocked
    lacking = needed.lacking() or ""
    road.shut = False
    assert lacking.startswith(words), lacking
    assert needed.lacking() is None
    road.close()


def test_one_bad_object_is_not_the_machines_fault(store: ObjectStore, bucket: str) -> None:
    locked = f"{bucket}-locked"
    store.bucket(locked, {"a.mp4": b"film"})
    store.bucket(bucket, {"a.mp4": b"film"})
    store.lock(locked)
    refused = Requirements(objects=(f"s3://{locked}/a.mp4",))
    assert "no permission" in (refused.lacking() or "")
    assert Requirements(objects=(*refused.objects, f"s3://{bucket}/a.mp4")).lacking() is None
    assert Requirements(objects=(f"s3://{bucket}/gone.mp4",)).lacking() is None, "the server answered"


def test_a_disk_is_tried_where_the_output_will_be(tmp_path: Path) -> None:
    needed = Requirements.of([], "/", Folder(str(tmp_path / "new" / "out")), [])
    assert needed.output == Folder(str(tmp_path))
    assert needed.lacking() is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    unwritable = Requirements(output=Folder(str(tmp_path / "file")))
    assert (unwritable.lacking() or "").startswith("can't write the output (can't write ")


def test_a_file_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = tmp_path / "a.mp4"
    film.write_bytes(b"film")
    needed = Requirements(paths=(str(film), str(tmp_path)))
    assert needed.lacking() is None

    def refuse(*given: object) -> None:  # root, as whom tests may run, is refused nothing
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert needed.lacking() == f"can't read {film} (Permission denied)"


def test_a_share_that_is_not_mounted_any_more_is_missed_and_a_removed_file_is_not(tmp_path: Path) -> None:
    films = [str(tmp_path / "share" / folder / "a.mp4") for folder in "abcd"]
    for film in films:
        Path(film).parent.mkdir(parents=True)
        Path(film).write_bytes(b"film")
    needed = Requirements.of(films, "/", Folder(str(tmp_path)), [])
    assert needed.films == tuple(films[:3])
    assert needed.unread() is None
    shutil.rmtree(tmp_path / "share" / "a")
    (tmp_path / "share" / "b" / "a.mp4").unlink()
    assert needed.unread() is None, "one of them is seen"
    (tmp_path / "share" / "c" / "a.mp4").rename(tmp_path / "share" / "c" / "other.mp4")
    assert needed.unread() is None, "a folder with something in it is mounted"
    shutil.rmtree(tmp_path / "share")
    (tmp_path / "share").mkdir()
    assert (needed.unread() or "").startswith(f"does not see {films[0]}: ")

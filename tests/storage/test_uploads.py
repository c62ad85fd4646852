"""An upload that failed is never taken for one that succeeded, and none is visible in part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from objectstore import BUSY, ObjectStore, Road

from videomae_cli.errors import OutputError
from videomae_cli.storage import objects, patience, stores
from videomae_cli.storage.folders import Folder

SMALL, LARGE = 10, 25 * 2**20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PAUSES", (0.01,))
    monkeypatch.setattr(patience, "_answered", set())
    monkeypatch.setattr(stores, "TRIES", 1)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def folder_of(road: Road, bucket: str) -> Folder:
    return Folder(f"s3://{bucket}/out?endpoint_override={road.place}&scheme=http&region=us-east-1")


def write(folder: Folder, content: bytes) -> None:
    with folder.writing("a.bin") as sink:
        sink.write(content)


@pytest.mark.parametrize(
    ("size", "shut", "blocked"),
    [
        (0, b"PUT /", BUSY),
        (SMALL, b"PUT /", BUSY),
        (SMALL, b"PUT /", b""),
        (LARGE, b"PUT /", BUSY),
        (LARGE, b"POST /", BUSY),
        (LARGE, b"partNumber=2", BUSY),
    ],
    ids=["empty", "small", "small-cut-off", "large", "large-begin", "large-second-part"],
)
@pytest.mark.parametrize("before", [None, b"what was there"], ids=["new", "replaced"])
def test_a_failed_upload_is_an_error_and_leaves_what_was_there(
    size: int,
    shut: bytes,
    blocked: bytes,
    before: bytes | None,
    road: Road,
    store: ObjectStore,
    bucket: str,
    tmp_path: Path,
) -> None:
    store.bucket(bucket, {} if before is None else {"out/a.bin": before})
    folder, content = folder_of(road, bucket), bytes(size)
    road.shut, road.blocked = shut, blocked
    with pytest.raises(OutputError, match="can't write"):
        write(folder, content)
    road.shut = False
    assert store.keys(bucket) == ([] if before is None else ["out/a.bin"])
    if before is not None:
        assert folder.read("a.bin") == before
    write(folder, content)
    assert folder.read("a.bin") == content


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_one_that_fails_once_is_tried_again(size: int, road: Road, store: ObjectStore, bucket: str) -> None:
    store.bucket(bucket)
    folder = folder_of(road, bucket)
    assert folder.names() == [], "it has answered"
    road.shut, road.once = b"PUT /", True
    write(folder, bytes(size))
    assert road.refused == 1
    assert len(folder.read("a.bin")) == size


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_an_interrupt_publishes_nothing_or_all(
    seconds: float, store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    store.bucket(bucket)
    folder = Folder(f"s3://{bucket}/out")
    sending = threading.Event()
    send = objects._send

    def told(*given: object) -> None:
        sending.set()
        send(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(objects, "_send", told)

    def interrupt() -> None:
        sending.wait(60)
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the signal comes in or after the first line
        write(folder, bytes(LARGE))
        thread.join()
        time.sleep(1)
    for one in threading.enumerate():  # the sender goes on where the signal came before the block knew of it
        if one.name.startswith("upload"):
            one.join(60)
    assert [len(folder.read(name)) for name in folder.names()] in ([], [LARGE])


def test_a_small_object_is_one_request(road: Road, store: ObjectStore, bucket: str) -> None:
    store.bucket(bucket)
    write(folder_of(road, bucket), b"content")
    assert road.asked == 1


def test_storage_whose_uploads_are_seen_in_part_gets_another_name_first(bucket: str) -> None:
    folder = Folder(f"memory://{bucket}/out")
    write(folder, bytes(LARGE))
    assert folder.names() == ["a.bin"]
    assert len(folder.read("a.bin")) == LARGE


def test_copies_of_a_killed_process_are_removed_by_the_next(
    store: ObjectStore, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = store.bucket(bucket, {"a.mp4": b"film"}) + "/a.mp4"
    code = (
        "import sys, time\nfrom videomae_cli.storage import local_copy\n"
        f"with local_copy({film!r}) as copy:\n    print(copy, flush=True)\n    time.sleep(1e6)"
    )
    environment = {**os.environ, **store.environment, "TMPDIR": str(tmp_path)}

    def begun() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    (dead, left), (alive, used) = begun(), begun()
    dead.kill()
    dead.wait()
    assert left.read_bytes() == used.read_bytes() == b"film"
    assert left.parent.stat().st_mode & 0o077 == 0, "nobody else may read it"
    (tmp_path / "videomae-mine").mkdir()
    last, third = begun()
    assert (left.parent.exists(), used.exists(), third.exists()) == (False, True, True)
    assert (tmp_path / "videomae-mine").exists()
    for process in (alive, last):
        process.kill()
        process.wait()

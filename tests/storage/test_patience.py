"""A server that is away for a while, or too busy, costs time and nothing else."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest
from objectstore import BUSY, ObjectStore, Road

from videomae_cli import storage
from videomae_cli.errors import ObjectNotFoundError, OutputError, StorageUnavailableError
from videomae_cli.storage import patience, stores
from videomae_cli.storage.folders import Folder
from videomae_cli.storage.patience import expect, patiently

PAUSES = patience._PAUSES


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PAUSES", (0.01,) * 9)
    monkeypatch.setattr(patience, "_answered", set())
    monkeypatch.setattr(patience, "_expected", set())
    monkeypatch.setattr(stores, "TRIES", 1)


@pytest.mark.parametrize("blocked", [BUSY, b""], ids=["busy", "cut-off"])
def test_everything_that_is_done_with_storage_waits(
    blocked: bytes, road: Road, store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bucket(bucket)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    folder = Folder(f"s3://{bucket}/out?endpoint_override={road.place}&scheme=http&region=us-east-1")
    folder.make()
    road.blocked = blocked
    steps = itertools.count(1)

    def block() -> None:
        assert road.left == 0
        road.left = 2
        next(steps)

    block()
    with folder.writing("a/x.bin") as sink:
        sink.write(b"content")
    block()
    assert folder.names("a") == ["x.bin"]
    block()
    assert folder.read("a/x.bin") == b"content"
    block()
    with folder.local("a/x.bin") as file:
        assert file.read_bytes() == b"content"
    block()
    assert folder.exists("a/x.bin")
    block()
    folder.remove("a/x.bin")
    assert store.keys(bucket) == []
    assert (road.left, road.refused) == (0, 2 * (next(steps) - 1))


def test_a_server_that_never_answered_is_not_waited_for(
    road: Road, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PAUSES", (1e6,))
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    road.left = 100
    folder = Folder(f"s3://{bucket}/out?endpoint_override={road.place}&scheme=http&region=us-east-1")
    with pytest.raises(OutputError, match="can't list"):
        folder.names()
    assert road.refused < 10


def calls(*outcomes: Exception | int) -> tuple[list[Exception | int], object]:
    left = list(outcomes)

    def call() -> int:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return left, call


AWAY = StorageUnavailableError("away")


def test_tries_are_ten_and_then_none_is_repeated_until_the_server_answers() -> None:
    left, call = calls(*[AWAY] * 30)
    expect("s3://bucket/a")
    with pytest.raises(StorageUnavailableError):
        patiently("s3://bucket/b", call)  # type: ignore[arg-type]
    assert len(left) == 20
    with pytest.raises(StorageUnavailableError):
        patiently("s3://bucket/c", call)  # type: ignore[arg-type]
    assert len(left) == 19
    with pytest.raises(ObjectNotFoundError):  # which is an answer
        patiently("s3://bucket/d", calls(ObjectNotFoundError("no"))[1])  # type: ignore[arg-type]
    assert patiently("s3a://bucket/e", calls(AWAY, AWAY, 5)[1]) == 5  # type: ignore[arg-type]
    with pytest.raises(StorageUnavailableError):
        patiently("s3://other/e", calls(AWAY, 5)[1])  # type: ignore[arg-type]


def test_a_server_that_stayed_away_is_expected_once() -> None:
    expect("s3://bucket/a")
    with pytest.raises(StorageUnavailableError):
        patiently("s3://bucket/b", calls(*[AWAY] * 10)[1])  # type: ignore[arg-type]
    expect("s3://bucket/c")
    left, call = calls(AWAY, 5)
    with pytest.raises(StorageUnavailableError):
        patiently("s3://bucket/c", call)  # type: ignore[arg-type]
    assert left == [5]


@pytest.mark.parametrize(("given", "seconds"), [("0", 0.0), ("7.5", 7.5), ("-1", 0.0), ("long", 150.0), ("", 150.0)])
def test_the_wait_can_be_set(given: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOMAE_STORAGE_SECONDS", given)
    assert patience.most_seconds() == seconds


def test_who_waits_is_told() -> None:
    heard: list[str] = []
    patience.on_wait(lambda error: heard.append(str(error)))
    try:
        expect("s3://bucket/a")
        assert patiently("s3://bucket/a", calls(AWAY, AWAY, 5)[1]) == 5  # type: ignore[arg-type]
    finally:
        patience._listeners.clear()
    assert heard == ["away", "away"]


def test_a_wait_can_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PAUSES", (1e6,))
    expect("s3://bucket/a")
    with pytest.raises(StorageUnavailableError):
        patiently("s3://bucket/a", calls(AWAY, 5)[1], stopped=lambda: True)  # type: ignore[arg-type]


def test_a_server_that_takes_everything_and_says_nothing_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_MOST_SECONDS", -1.0)
    expect("s3://bucket/a")
    left, call = calls(AWAY, 5)
    with pytest.raises(StorageUnavailableError):
        patiently("s3://bucket/a", call)  # type: ignore[arg-type]
    assert left == [5]


def test_pauses_bridge_a_break_of_a_minute() -> None:
    assert sum(PAUSES) * 0.6 > 60
    assert sum(PAUSES) < 150
    assert (len(PAUSES) + 1, max(PAUSES)) == (10, 32)


def test_a_copy_is_begun_again_from_nothing(
    tmp_path: Path, store: ObjectStore, bucket: str, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off in the middle of an object of several chunks."""
    content = bytes(range(256)) * 2**12
    store.bucket(bucket, {"film.mp4": content})
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setattr("videomae_cli.storage.objects.CHUNK_BYTES", 2**18)
    address = f"s3://{bucket}/film.mp4?endpoint_override={road.place}&scheme=http&region=us-east-1"
    expect(address)
    began = threading.Event()

    def block() -> None:
        began.wait(60)
        road.blocked, road.left = b"", 2

    threading.Thread(target=block, daemon=True).start()
    asked = itertools.count()

    def stopped() -> bool:
        if next(asked) == 1:
            began.set()
            time.sleep(0)
        return False

    with storage.local_copy(address, stopped=stopped) as copy:
        assert copy.read_bytes() == content

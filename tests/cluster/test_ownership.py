"""One run at a time writes an output, wherever it is; no Ray needed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from objectstore import ObjectStore

from videomae_cli import system
from videomae_cli.cluster import ownership
from videomae_cli.cluster.output import open_output
from videomae_cli.cluster.ownership import OWNERS, Claim, Ownership
from videomae_cli.cluster.plan import ClusterPlan
from videomae_cli.errors import OutputError
from videomae_cli.jobs import CLUSTER_HEADER, Settings
from videomae_cli.storage.folders import Folder

ELSEWHERE = Claim("10.0.0.9", 4711, "another-boot 1 2", "2001-01-01 00:00:00+00:00", owner=True, beat=7)
SETTINGS = Settings("classify", "0", {"model": "m", "revision": None, "top_k": 5})
PLAN = ClusterPlan(files=1, task=1, shard=1, batch=1, group=1)


@pytest.fixture(params=["disk", "s3", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Folder:
    if request.param == "disk":
        return Folder(str(tmp_path))
    if request.param == "memory":
        return Folder(f"memory://{bucket}/out")
    store: ObjectStore = request.getfixturevalue("store")
    return Folder(store.bucket(bucket) + "/out")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(ownership, "_PAUSE_SECONDS", 0.02)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that wait for a claim to be silent; in the others a request that takes as long must not make one so."""
    monkeypatch.setattr(ownership, "DEAD_SECONDS", 0.3)


def write(folder: Folder, claim: Claim, name: str = "0123456789abcdef.json") -> None:
    with folder.writing(f"{OWNERS}/{name}") as sink:
        sink.write(claim.to_json())


def acquired(folder: Folder) -> Ownership:
    claimed = Ownership(folder, "out")
    claimed.acquire()
    return claimed


def test_the_second_is_told_who_the_first_is(folder: Folder) -> None:
    first = acquired(folder)
    for attempt in (lambda: acquired(folder), lambda: Ownership(folder, "out").check_free(certain=True)):
        with pytest.raises(
            OutputError, match=rf"another process is writing out: {os.getpid()} on .+, since 20..-"
        ) as said:
            attempt()
        assert "resume=True goes on" in str(said.value)
    first.check(now=True)
    assert len(folder.names(OWNERS)) == 1, "nothing is left of the second"
    first.release()
    assert folder.names(OWNERS) == []
    acquired(folder).release()


def test_of_runs_that_begin_at_one_moment_never_two_go_on(folder: Folder) -> None:
    together = threading.Barrier(3)

    def run() -> Ownership | OutputError:
        claimed = Ownership(folder, "out")
        together.wait(60)
        try:
            claimed.acquire()
        except OutputError as error:
            return error
        return claimed

    with ThreadPoolExecutor(3) as pool:
        ended = [future.result() for future in [pool.submit(run) for _ in range(3)]]
    owners = [one for one in ended if isinstance(one, Ownership)]
    assert all("another process is writing out" in str(one) for one in ended if one not in owners)
    assert len(owners) <= 1
    assert len(folder.names(OWNERS)) == len(owners)
    for claimed in owners:
        claimed.check(now=True)
        claimed.release()


def test_a_claim_that_is_withdrawn_never_comes_back(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lists it, finds it gone and looks again would take it for one that can't be read."""
    written: list[str] = []
    write_one = Ownership._write

    def noted(self: Ownership) -> None:
        if self._folder == folder:  # and no other test's, which may still beat
            written.append(self._name)
        write_one(self)

    monkeypatch.setattr(Ownership, "_write", noted)
    monkeypatch.setattr(ownership, "_PAUSE_SECONDS", 0.0)
    write(folder, replace(ELSEWHERE, owner=False))
    with pytest.raises(OutputError, match="another process is writing out"):
        acquired(folder)
    assert len(written) == len(set(written)) == ownership._TRIES


def test_a_process_that_died_here_is_known_at_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "DEAD_SECONDS", 1e6)
    code = "from videomae_cli import system; print(*system.process_identity(), sep=';')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    pid, _, process = out.strip().partition(";")
    if process == "None":
        pytest.skip("this system doesn't tell one process from another")
    write(folder, replace(ELSEWHERE, pid=int(pid), process=process))
    claimed = acquired(folder)
    assert len(folder.names(OWNERS)) == 1
    # A process that got the same id later is another.
    assert system.is_running(os.getpid(), f"{process.rpartition(' ')[0]} 1") is False
    claimed.release()


@pytest.mark.usefixtures("impatient")
def test_one_elsewhere_that_is_silent_is_dead_after_a_while_and_one_that_beats_is_not(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for certain in (True, False):
        write(folder, ELSEWHERE)
        checked = Ownership(folder, "out")
        if certain:
            checked.check_free(certain=True)
        else:
            with pytest.raises(OutputError, match=r"4711 on 10\.0\.0\.9, since 2001"):
                checked.check_free(certain=False)
    acquired(folder).release()
    assert folder.names(OWNERS) == []
    write(folder, ELSEWHERE)
    beats, read = itertools.count(8), Ownership._read

    def read_before_it_beats(self: Ownership, name: str) -> Claim | None:
        claim = read(self, name)
        write(folder, replace(ELSEWHERE, beat=next(beats)))
        return claim

    monkeypatch.setattr(ownership, "DEAD_SECONDS", 1e6)
    monkeypatch.setattr(Ownership, "_read", read_before_it_beats)
    with pytest.raises(OutputError, match=r"4711 on 10\.0\.0\.9"):
        acquired(folder)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("seconds", "watched"), [(-1e6, False), (1e6, True)], ids=["long-ago", "in-the-future"])
def test_only_the_storages_clock_counts(
    seconds: float, watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(str(tmp_path))
    write(folder, ELSEWHERE)
    (claim,) = (tmp_path / OWNERS).iterdir()
    os.utime(claim, (time.time() + seconds,) * 2)
    seen: list[bool] = []
    falls_silent = Ownership._falls_silent
    monkeypatch.setattr(Ownership, "_falls_silent", lambda *given: seen.append(True) or falls_silent(*given))  # type: ignore[func-returns-value]
    acquired(folder).release()
    assert bool(seen) == watched


def test_who_was_taken_for_dead_stops(folder: Folder) -> None:
    first = acquired(folder)
    (name,) = folder.names(OWNERS)
    folder.remove(f"{OWNERS}/{name}")  # as one on another machine does that heard nothing for too long
    second = acquired(folder)
    with pytest.raises(OutputError, match="another run has taken over out"):
        first.check(now=True)
    with pytest.raises(OutputError, match="another run has taken over out"):
        first.check()
    first.release()
    second.check(now=True)
    second.release()


def test_a_claim_that_comes_back_stops_both(tmp_path: Path) -> None:
    """Who was taken for dead wrote its claim at the very moment at which it was removed."""
    first = acquired(Folder(str(tmp_path)))
    write(Folder(str(tmp_path)), ELSEWHERE)
    with pytest.raises(OutputError, match="another run has taken over"):
        first.check(now=True)
    first.release()


@pytest.mark.usefixtures("impatient")
def test_a_damaged_claim_is_one_line(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    for text in (b"", b"{}", b"\xff", b"[1]", b'{"host": 1, "pid": "x"}'):
        with folder.writing(f"{OWNERS}/0123456789abcdef.json") as sink:
            sink.write(text)
        with pytest.raises(OutputError, match="on an unknown machine"):
            Ownership(folder, "out").check_free(certain=False)
    acquired(folder).release()


def test_a_second_job_changes_nothing_in_storage(store: ObjectStore, bucket: str) -> None:
    address = store.bucket(bucket) + "/out/"

    def output(**options: bool) -> object:
        return open_output(address, vectors=False, format=None, **{"resume": False, "overwrite": False, **options})

    with output() as first:  # type: ignore[attr-defined]
        first.begin(SETTINGS, ["a.mp4"], PLAN, shard=None)
        header = first.folder.read(CLUSTER_HEADER)
        choices: list[dict[str, bool]] = [{}, {"resume": True}, {"overwrite": True}]
        for given in choices:
            with pytest.raises(OutputError, match=f"another process is writing s3://{bucket}/out"):
                output(**given).__enter__()  # type: ignore[attr-defined]
        assert first.folder.read(CLUSTER_HEADER) == header
        first.check_owned(now=True)
    assert store.keys(bucket) == [], "nothing was done, so nothing is left"

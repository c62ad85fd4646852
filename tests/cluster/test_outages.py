"""Two machines with ways of their own to one S3 server, of which one or both are cut in the middle of a job."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from objectstore import ObjectStore, Road
from raycluster import ENVIRONMENT, ended, ray_cluster, start, without_waiting
from samples import make_checkpoint, write_video

FILES = 16
OTHER = "127.0.0.2"
# What one machine asks the server for before the job begins: a file is looked at and read, another written and removed.
VISIT = 12


@dataclass
class Machines:
    """A cluster of two machines, whose ways to the server are the roads."""

    cluster: Any
    roads: list[Road]

    def open(self) -> None:
        for road in self.roads:
            road.shut, road.after, road.asked, road.refused, road.opens = False, float("inf"), 0, 0, ()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, s3_server: ObjectStore, quick_python: str) -> Iterator[Machines]:
    roads = [Road(s3_server), Road(s3_server)]
    settings = []
    for road in roads:
        own = {"TMPDIR": tmp_path_factory.mktemp("tmp"), "VIDEOMAE_CACHE": tmp_path_factory.mktemp("cache")}
        settings.append({**road.environment, "VIDEOMAE_STORAGE_SECONDS": "1", **{n: str(p) for n, p in own.items()}})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, **s3_server.environment}.items():
            patch.setenv(name, value)
        with ray_cluster(quick_python, settings=settings) as cluster:
            yield Machines(cluster, roads)
    for road in roads:
        road.close()


@pytest.fixture
def machines(running: Machines) -> Iterator[Machines]:
    running.open()
    yield running
    running.open()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, s3_server: ObjectStore) -> str:
    """The address of many copies of one film."""
    film = write_video(tmp_path_factory.mktemp("films") / "film.mp4", size=(64, 48))
    return s3_server.bucket(f"films-{uuid.uuid4().hex[:8]}", {f"{n:02}.mp4": film for n in range(FILES)})


@pytest.fixture
def embed(
    machines: Machines, films: str, checkpoint: Path, store: ObjectStore, bucket: str, ray_python: str
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `embed` on the cluster, its output in a bucket."""
    store.bucket(bucket)

    def run(*more: str, source: str = films) -> subprocess.CompletedProcess[str]:
        command = ("embed", source, "--model", checkpoint, "--clips", "1", "--batch-size", "1")
        place = ("--cluster", "ray", "--address", machines.cluster.address, "-o", f"s3://{bucket}/out/")
        process = start(ray_python, *command, *place, *more, environment=store.environment)
        out, errors = ended(process)
        return subprocess.CompletedProcess(process.args, process.returncode, out, without_waiting(errors))

    return run


def rows(store: ObjectStore, bucket: str, folder: Path) -> list[dict[str, Any]]:
    (name,) = [key for key in store.keys(bucket) if "part-" in key]
    store.client.download_file(bucket, name, str(folder / "shard.parquet"))
    found: list[dict[str, Any]] = pq.read_table(folder / "shard.parquet").to_pylist()
    return found


def check_whole(store: ObjectStore, bucket: str, folder: Path) -> None:
    found = rows(store, bucket, folder)
    assert [row["path"][-6:] for row in found] == [f"{number:02}.mp4" for number in range(FILES)]
    assert [row["error_kind"] for row in found] == [None] * FILES
    assert {tuple(row["embedding"]) for row in found} == {tuple(found[0]["embedding"])}, "of one film"


def test_a_machine_that_can_not_reach_storage_is_named_before_the_job(
    machines: Machines, embed: Any, store: ObjectStore, bucket: str
) -> None:
    machines.roads[1].shut = True
    for options in (("--dry-run",), ()):
        done = embed(*options)
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1, done.stderr
        line = done.stderr
        assert f"{OTHER} can't read the job's files (" in line
    machines.open()
    machines.roads[1].shut = b"PUT /"
    done = embed("--dry-run")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert f"{OTHER} can't write the output (" in done.stderr
    machines.open()
    done = embed("--dry-run", source=f"s3://{bucket}/gone.mp4")
    assert store.keys(bucket) == []
    assert "time" not in done.stdout


def test_a_machine_that_loses_storage_costs_no_film(
    machines: Machines, embed: Any, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    machines.roads[1].after = VISIT
    done = embed()
    assert done.returncode == 0, done.stderr
    named = [line for line in done.stderr.splitlines() if "gets no more work of this job: it can't" in line]
    assert (len(named), OTHER in named[0]) == (1, True), done.stderr
    check_whole(store, bucket, tmp_path)


def test_storage_that_nobody_reaches_stops_the_job_and_it_continues(
    machines: Machines, embed: Any, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    for road in machines.roads:
        road.after = VISIT
    done = embed()
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "all 2 machines of the cluster lost the storage" in last
    assert "see that it is up" in last
    machines.open()
    done = embed("--resume")
    assert done.returncode == 0, done.stderr
    check_whole(store, bucket, tmp_path)


def test_a_film_that_one_machine_can_not_fetch_is_done_by_another(
    machines: Machines, embed: Any, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    one, other = machines.roads
    one.shut = other.shut = b"/07.mp4 HTTP"
    one.opens, other.opens = [other], [one]  # whichever of them is given the film can't fetch it, the other can
    done = embed()
    assert (done.returncode, "gets no more work" in done.stderr) == (0, False), done.stderr
    assert one.refused + other.refused > 0
    check_whole(store, bucket, tmp_path)


def test_a_film_that_nobody_can_fetch_is_a_row_and_can_be_asked_for_again(
    machines: Machines, embed: Any, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    for road in machines.roads:
        road.shut = b"/07.mp4 HTTP"
    done = embed()
    assert (done.returncode, "gets no more work" in done.stderr) == (1, False), done.stderr
    assert f"15 of {FILES} files embedded, 1 failed (fetch)" in done.stderr
    kinds = [row["error_kind"] for row in rows(store, bucket, tmp_path)]
    assert kinds == [*[None] * 7, "fetch", *[None] * 8]
    machines.open()
    done = embed("--resume")
    assert "1 failed before with fetch: --retry-errors fetch does it again" in done.stderr
    done = embed("--resume", "--retry-errors", "fetch")
    assert done.returncode == 0, done.stderr
    check_whole(store, bucket, tmp_path)


def test_of_two_commands_on_one_output_never_two_write(
    machines: Machines,
    films: str,
    checkpoint: Path,
    store: ObjectStore,
    bucket: str,
    ray_python: str,
    tmp_path: Path,
) -> None:
    """Begun at one moment: one goes on, or both stop with a line; then `--resume` ends it."""
    store.bucket(bucket)
    command = ("embed", films, "--model", checkpoint, "--clips", "1", "--batch-size", "1", "-o", f"s3://{bucket}/out/")
    place = ("--cluster", "ray", "--address", machines.cluster.address)
    both = [start(ray_python, *command, *place, environment=store.environment) for _ in range(2)]
    said_by_both = [(ended(process)[1], process.returncode) for process in both]
    refused = [errors for errors, code in said_by_both if code]
    assert len(refused) in (1, 2), said_by_both
    for errors in refused:
        assert without_waiting(errors).count("\n") == 1, errors
        assert "another process is writing" in errors or "is there already" in errors
    if len(refused) == 2:
        again = start(ray_python, *command, *place, "--resume", environment=store.environment)
        said = ended(again)[1]
        assert again.returncode == 0, said
    check_whole(store, bucket, tmp_path)
    names = [key for key in store.keys(bucket) if "part-" not in key]
    assert names == ["out/_job.json", "out/_list.parquet", "out/_metrics.jsonl"], "nothing is left of who was refused"

"""The log of a job on a cluster: what each line says, across runs, and that it never costs the job; no Ray needed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from objectstore import ObjectStore
from ray.util.metrics import Metric

from videomae_cli.cluster.clip_rows import Group, from_table, to_table
from videomae_cli.cluster.decoding import _Meter
from videomae_cli.cluster.inference import PieceReport
from videomae_cli.cluster.job_log import METRICS, Effort, MetricsLog
from videomae_cli.cluster.session import Cluster, Node
from videomae_cli.errors import ClusterError, NotAVideoError
from videomae_cli.storage import local_copy
from videomae_cli.storage.folders import Folder

CLUSTER = Cluster((Node("a", "10.0.0.1", 4, 1.0), Node("b", "10.0.0.2", 2, 0.0)), local=False)


class Now:
    """A clock and a count of finished files that a test sets."""

    def __init__(self) -> None:
        self.seconds, self.done = 100.0, 0

    def log(self, folder: Folder, **more: Any) -> MetricsLog:
        more = {"run": "5d21c09e", **more}
        return MetricsLog(folder, files=50, done=lambda: self.done, cluster=CLUSTER, clock=lambda: self.seconds, **more)


def lines(folder: Folder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.read(METRICS).splitlines()]


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Folder:
    if request.param == "disk":
        return Folder(str(tmp_path))
    store: ObjectStore = request.getfixturevalue("store")
    return Folder(f"{store.bucket(bucket)}/out")


def test_a_line_a_minute_tells_stages_machines_and_failures(folder: Folder) -> None:
    now = Now()
    now.done = 10
    log = now.log(folder)
    with log.kept():
        log.take([Effort("decode", "a", 2.0, 8, 16, 4000), Effort("model", "b", 4.0, 8, 16)], Counter(fetch=1))
        log.handed_back("b", 3)
        log.lose("b", "can't write")
        now.seconds, now.done = 130.0, 20
        log.take(
            [Effort("decode", "b", 1.0, 2, 2, 500), Effort("write", "b", 0.5, 2, 2, 99)], Counter(fetch=1, crash=2)
        )
        assert len(lines(folder)) == 1, "not yet a minute"
        now.seconds, now.done = 165.0, 36
        log.take([Effort("shard", "c", 0.25, 40)])
        now.seconds, now.done = 170.0, 50
    begun, running, ended = lines(folder)
    assert [line["event"] for line in (begun, running, ended)] == ["begun", "running", "ended"]
    assert (begun["done"], begun["done_before"], begun["stages"], begun["files_per_second"]) == (10, 10, {}, None)
    assert (running["seconds"], running["done"], running["files_per_second"]) == (65.0, 36, 0.4)
    assert (ended["seconds"], ended["done"], ended["files_per_second"]) == (70.0, 50, 2.8)
    assert ended["failed"] == {"crash": 2, "fetch": 2}
    assert ended["stages"]["decode"] == {"seconds": 3.0, "files": 10, "clips": 18, "bytes": 4500, "per_second": 6.0}
    assert ended["stages"]["shard"] == {"seconds": 0.25, "files": 40, "clips": 0, "bytes": 0, "per_second": 160.0}
    first, second, third = ended["hosts"]
    assert (first["address"], first["failed"], first["lost"]) == ("10.0.0.1", {"fetch": 1}, None)
    assert (second["failed"], second["handed_back"]) == ({"crash": 2, "fetch": 1}, 3)
    assert second["lost"] == "can't write"
    assert second["stages"]["write"]["bytes"] == 99
    assert third["address"] is None, "it has joined since"
    assert ended["cost"] == {"machine_seconds": 140.0, "core_seconds": 420.0, "gpu_seconds": 70.0}
    assert {line["schema_version"] for line in (begun, running, ended)} == {1}


def test_a_run_that_goes_on_adds_its_lines(folder: Folder) -> None:
    now = Now()
    with pytest.raises(KeyboardInterrupt), now.log(folder, run="1").kept():
        raise KeyboardInterrupt
    with pytest.raises(ClusterError), now.log(folder, run="2").kept():
        raise ClusterError.about("cluster", "no machine is left")
    with now.log(folder, run="3").kept():
        pass
    assert [(line["run"], line["event"], line.get("reason")) for line in lines(folder)] == [
        *(("1", "begun", None), ("1", "stopped", "KeyboardInterrupt")),
        *(("2", "begun", None), ("2", "stopped", "no machine is left")),
        *(("3", "begun", None), ("3", "ended", None)),
    ]


def test_a_log_that_can_not_be_written_is_said_once(tmp_path: Path) -> None:
    notes: list[str] = []
    with Now().log(Folder(str(tmp_path / "gone")), note=notes.append).kept():
        pass
    assert len(notes) == 1
    assert notes[0].startswith("the log of the job is not written: can't write ")


def test_what_workers_measure_arrives(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    meter = _Meter("decode")
    (tmp_path / "a").write_bytes(b"on a disk")
    meter.see(str(tmp_path / "a"))
    place = store.bucket(bucket, {"b.mp4": b"in a bucket"})
    with local_copy(f"{place}/b.mp4"):
        meter.see(f"{place}/b.mp4")
    with meter.watch.running():
        pass
    effort = meter.effort(2, 5)
    assert (effort.stage, effort.files, effort.clips, effort.bytes) == ("decode", 2, 5, len(b"on a diskin a bucket"))
    assert meter.effort(0, 0).bytes == 0
    (group,) = from_table(to_table(Group(3, (("a", NotAVideoError("no")),), effort=effort)))
    assert group.effort == effort
    report = PieceReport(3, 4, 1, Counter(fetch=1), efforts=(effort, Effort("write", "a", 0.5, 1, 1, 9)))
    assert PieceReport.from_json(report.to_json()) == report


def test_ray_is_told_what_the_log_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[tuple[str, ...]] = Counter()
    shares: list[float] = []

    def inc(self: Metric, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        assert tags is not None
        assert set(tags) == set(self.info["tag_keys"]), "Ray refuses others"
        assert value > 0, "Ray refuses others"
        assert tags["job"] == "5d21c09e"
        counted[self.info["name"], *(tags[key] for key in self.info["tag_keys"][1:])] += value  # type: ignore[assignment]

    monkeypatch.setattr("ray.util.metrics.Counter.inc", inc)
    monkeypatch.setattr("ray.util.metrics.Gauge.set", lambda self, value, tags: shares.append(value))
    now = Now()
    now.done = 10
    log = now.log(Folder(str(tmp_path)))
    with log.kept():
        log.take([Effort("decode", "a", 2.0, 8, 16, 4000), Effort("model", "c", 4.0, 8, 16)], Counter(fetch=1))
        log.take([Effort("decode", "a", 1.0, 2, 2)], Counter(fetch=1, crash=2))
        log.handed_back("b", 3)
        log.lose("b", "can't write")
        now.done = 50
    assert counted["videomae_seconds", "decode", "10.0.0.1"] == 3.0
    assert counted["videomae_clips", "decode", "10.0.0.1"] == 18
    assert counted["videomae_bytes", "decode", "10.0.0.1"] == 4000
    assert counted["videomae_files", "model", "c"] == 8, "it has joined since: Ray's name must do"
    assert (
        counted["videomae_failed_files", "10.0.0.1", "fetch"]
        == counted["videomae_failed_files", "10.0.0.1", "crash"]
        == 2
    )
    assert counted["videomae_handed_back_files", "10.0.0.2"] == 3
    assert counted["videomae_lost_machines", "10.0.0.2"] == 1
    assert (shares[0], shares[-1]) == (0.2, 1.0)

"""Both commands on a real Ray cluster of two nodes, with bad files among the good and workers killed, against one machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hubserver import LocalHub
from objectstore import ObjectStore
from raycluster import (
    ENVIRONMENT,
    NODE,
    STORE_BYTES,
    ended,
    kill_one,
    ray_cluster,
    spilled,
    start,
    wait_for_pieces,
    without_waiting,
)
from samples import Run, make_checkpoint, write_video

from videomae_cli.cluster.models import own_error
from videomae_cli.errors import OutputError, VideoFetchError, Wording
from videomae_cli.writers import read_records

ROOT = Path(__file__).parent.parent.parent
GUIDE = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.M | re.S)
FILES = 30
OPTIONS = ("--clips", "8", "--batch-size", "1")
SIDE = 224
CLIP_BYTES = 16 * SIDE * SIDE * 3


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, s3_server: ObjectStore, quick_python: str) -> Iterator[Any]:
    """Its workers know the object store and have a cache of their own, but no hub."""
    with pytest.MonkeyPatch.context() as patch:
        cache = str(tmp_path_factory.mktemp("cache"))
        for name, value in {**ENVIRONMENT, **s3_server.environment, "VIDEOMAE_CACHE": cache}.items():
            patch.setenv(name, value)
        with ray_cluster(quick_python) as running:
            yield running


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    served = LocalHub()
    yield served
    served.close()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large frames in few patches, so that clips take room and little time."""
    return make_checkpoint(tmp_path_factory.mktemp("model") / "tiny", image_size=SIDE, patch_size=56)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 films of which every sixth is none, one name that is not UTF-8, and one that is empty."""
    folder = tmp_path_factory.mktemp("archive")
    films = [write_video(folder / f"{number:02}.mp4", count=60 + 10 * number).read_bytes() for number in range(4)]
    for number in range(4, FILES):
        (folder / f"{number:02}.mp4").write_bytes(b"a letter" if number % 6 == 4 else films[number % 4])
    (folder / "20.mp4").rename(os.fsdecode(os.fsencode(folder) + b"/2\xff.mp4"))
    (folder / "21.mp4").write_bytes(b"")
    return folder


def on_cluster(cluster: Any, *more: str | Path) -> tuple[str | Path, ...]:
    return ("--cluster", "ray", "--address", cluster.address, *more)


def test_labels_are_those_of_one_machine_though_workers_are_killed(
    cluster: Any, archive: Path, checkpoint: Path, videomae: Run, tmp_path: Path
) -> None:
    alone, out = tmp_path / "alone.jsonl", tmp_path / "out.jsonl"
    command = ("classify", archive, "--model", checkpoint, *OPTIONS)
    done = videomae(*command, "-o", alone)
    process = start(sys.executable, *command, "-o", out, *on_cluster(cluster))
    partial = tmp_path / "out.jsonl.partial"
    assert wait_for_pieces(process, partial, 2) >= 2
    assert kill_one("ray::", "InferenceWorker"), "a worker with a model in it"
    assert kill_one("ray::", "decode_tasks"), "one that decodes"
    _, errors = ended(process)
    assert process.returncode == done.returncode == 1, errors
    assert out.read_bytes() == alone.read_bytes(), "row for row, to the last bit"
    lines = without_waiting(errors).splitlines()
    assert sorted(lines[:-1]) == sorted(done.stderr.splitlines()[:-1])
    assert lines[-1] == done.stderr.splitlines()[-1]
    assert "24 of 30 files classified, 6 failed (not_a_video)" in errors
    assert not partial.exists()
    # Clips of many times the room that there is: decoding waited for the model, and nothing went to the disk.
    assert sum(len(entry["frames"]) for entry in read_records(out)) * CLIP_BYTES > 2.5 * 2 * STORE_BYTES
    assert spilled(cluster) == []


def test_vectors_of_an_interrupted_job_and_a_lost_machine(
    cluster: Any, archive: Path, checkpoint: Path, videomae: Run, ray_python: str, tmp_path: Path
) -> None:
    alone, out = tmp_path / "alone.parquet", tmp_path / "out"
    command = ("embed", archive, "--model", checkpoint, "--clips", "4", "--batch-size", "1")
    assert videomae(*command, "-o", alone).returncode == 1
    shards = on_cluster(cluster, "-o", f"{out}/", "--shard-files", "8")
    process = start(ray_python, *command, *shards)
    wait_for_pieces(process, out, 4)
    process.send_signal(signal.SIGINT)
    _, errors = ended(process)
    assert process.returncode == 130, errors
    last = errors.splitlines()[-1]
    assert f"of 30 files are kept in {out}; --resume continues from there" in last
    kept = {path.name: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert kept

    refused = start(ray_python, *command, *shards)
    _, errors = ended(refused)
    assert (refused.returncode, "--resume completes it" in errors) == (1, True)

    lost = cluster.add_node(**NODE)
    process = start(ray_python, *command, *shards, "--resume")
    wait_for_pieces(process, out, len(kept) + 1)
    cluster.remove_node(lost, allow_graceful=False)
    _, errors = ended(process)
    assert process.returncode == 1, errors
    assert "files are done already" in errors
    assert "24 of 30 files embedded, 6 failed (not_a_video)" in errors

    names = sorted(path.name for path in out.iterdir())
    assert names == [
        "_job.json",
        "_list.parquet",
        "_metrics.jsonl",
        *(f"part-{number:05}-of-00004.parquet" for number in range(4)),
    ]
    for name in kept.keys() & set(names):
        assert (out / name).stat().st_mtime_ns == kept[name], "what was there is not made again"
    one, many = pq.read_table(alone), pq.read_table([str(out / name) for name in names[3:]])
    assert many.schema.equals(one.schema, check_metadata=True)
    assert many.equals(one), "row for row, to the last bit"
    log = [json.loads(line) for line in (out / "_metrics.jsonl").read_text().splitlines()]
    assert [line["event"] for line in log if line["event"] != "running"] == ["begun", "stopped", "begun", "ended"]
    assert (log[-1]["done"], log[-1]["files"], log[-1]["schema_version"]) == (30, 30, 1)
    assert log[-1]["done_before"] > 0
    assert set(log[-1]["stages"]) == {"decode", "model", "write", "shard"}
    assert all(stage["seconds"] > 0 for stage in log[-1]["stages"].values())
    joined = tmp_path / "joined.parquet"
    assert videomae("merge", out, "-o", joined).returncode == 0
    assert pq.read_table(joined).equals(one)
    near = [
        videomae("similar", one_of, table, "--format", "json")
        for one_of in (archive / "00.mp4",)
        for table in (alone, out)
    ]
    assert near[0].stdout == near[1].stdout
    assert near[0].returncode == 0


def test_the_example_of_the_guide_writes_what_the_command_writes(
    cluster: Any, archive: Path, videomae: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what one machine does but for the last bits: batches are filled across all files there, within a task's here."""
    (tmp_path / "videos").mkdir()
    for film in archive.glob("0[0-4].mp4"):
        shutil.copy(film, tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    command = ("embed", "videos/", "--model", "camera-motion-mae", "--clips", "2", "--per-clip")
    videomae(*command, "-o", "alone.parquet")
    done = videomae(*command, "-o", "command.npz", *on_cluster(cluster, "--num-workers", "1"))
    assert done.returncode == 1
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    (example,) = [block for block in GUIDE if "cluster_job(" in block]
    names: dict[str, Any] = {}
    exec(compile(example, "docs/python.md", "exec"), names)
    assert Path("vectors.npz").read_bytes() == Path("command.npz").read_bytes()
    plan, finished = names["plan"], names["finished"]
    assert (plan.files, plan.machines, plan.workers, plan.gpus_per_worker, plan.trial.failed) == (5, 2, 1, 0.0, 1)
    assert (finished.files, finished.failed, finished.output) == (5, {"not_a_video": 1}, "vectors.npz")
    with pytest.raises(OutputError, match=r"vectors\.npz is there already: overwrite=True replaces it"):
        names["job"].run()
    vectors = np.stack([row for row in pq.read_table("alone.parquet")["embedding"].to_pylist() if row is not None])
    with np.load("vectors.npz") as got:
        np.testing.assert_allclose(got["embeddings"], vectors, rtol=1e-5, atol=1e-6)
        assert len(json.loads(str(got["metadata"]))["failures"]) == 1


def test_a_model_of_the_hub_films_and_shards_in_object_storage(
    cluster: Any, store: ObjectStore, hub: LocalHub, archive: Path, checkpoint: Path, ray_python: str, tmp_path: Path
) -> None:
    """One machine asks the hub, once; the others get what it got. Films are read from, and shards written to, a bucket."""
    hub.add("someone/model", {path.name: path.read_bytes() for path in checkpoint.iterdir()})
    names = ("00.mp4", "01.mp4", "16.mp4")
    bucket = store.bucket("films", {f"in/{name}": archive / name for name in names})
    manifest = tmp_path / "films.parquet"
    pq.write_table(pa.table({"path": [f"{bucket}/in/{name}" for name in (*names, "gone.mp4")]}), manifest)
    online = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    command = ("classify", f"@{manifest}", "--model", "someone/model", *OPTIONS)
    process = start(ray_python, *command, *on_cluster(cluster, "-o", f"{bucket}/out/"), environment=online)
    _, errors = ended(process)
    assert process.returncode == 1, errors
    assert "2 of 4 files classified, 2 failed: 1 not_a_video, 1 not_found" in errors
    assert len(hub.fetched()) == len(set(hub.fetched())) == 2, "its two files, each once"
    assert store.keys("films") == [
        *(f"in/{name}" for name in names),
        "out/_job.json",
        "out/_list.parquet",
        "out/_metrics.jsonl",
        "out/part-00000-of-00001.parquet",
    ]
    shard = tmp_path / "shard.parquet"
    store.client.download_file("films", "out/part-00000-of-00001.parquet", str(shard))
    alone = tmp_path / "alone.jsonl"
    offline = online | {"HF_ENDPOINT": "http://hub.invalid", "HF_HUB_OFFLINE": "1"}
    ended(start(ray_python, *command, "-o", alone, environment=offline))
    assert list(read_records(shard)) == list(read_records(alone))
    # Later, without a network: what the machines keep is enough.
    again = start(
        ray_python, *command, *on_cluster(cluster, "-o", f"{bucket}/other/", "--dry-run"), environment=offline
    )
    out, errors = ended(again)
    assert (again.returncode, without_waiting(errors)) == (0, "")
    assert "someone/model" in out


def test_a_dry_run_tells_the_plan(cluster: Any, archive: Path, checkpoint: Path, videomae: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = videomae(
        "classify", archive, "--model", checkpoint, "-o", f"{out}/", "--dry-run", *on_cluster(cluster, "--workers", "1")
    )
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert (done.returncode, without_waiting(done.stderr)) == (0, "")
    assert lines["files"] == "30"
    assert lines["cluster"] == "2 machines, 2 CPUs, no GPU"
    assert lines["tasks"].endswith(", 1 at once")
    assert lines["workers"].startswith(f"2 with {checkpoint}, on CPUs, 1 thread each")
    assert lines["shards"] == "1 shard of at most 16,384 files"
    assert lines["time"].startswith("about ")
    assert not out.exists()
    check_fields_of_errors(cluster.address)


def check_fields_of_errors(address: str) -> None:
    """An error that a worker raises arrives as data: about what it was, to be worded here."""
    import ray

    @ray.remote
    def fail() -> None:
        inner = VideoFetchError.about("/copy/a.mp4", "{subject} is {what}", what="cut off")
        remedy = Wording("{@overwrite:True}")
        raise VideoFetchError.about(
            "/copy", "{subject!r}: {inner}, {why}", inner=inner, why=OSError(5, "no"), remedy=remedy
        )

    with ray.init(address=address, log_to_driver=False), pytest.raises(VideoFetchError) as raised:
        ray.get(fail.remote())
    error = own_error(raised.value)
    assert type(error) is VideoFetchError
    error.rename("/copy", "s3://b")
    assert (error.subject, str(error)) == ("s3://b", "'s3://b': s3://b/a.mp4 is cut off, [Errno 5] no: overwrite=True")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--cluster", "ray", "--address", "127.0.0.1:9"), 1, "can't reach a Ray cluster at 127.0.0.1:9"),
        (("--cluster", "ray", "--address", "nowhere"), 2, "HOST:PORT"),
        (("--cluster", "spark"), 2, "unknown cluster 'spark'"),
        (("--address", "local"), 2, "give --cluster ray too"),
        (("--num-workers", "2"), 2, "give --cluster ray too"),
        (("-o", "s3://bucket/out/"), 2, "one machine writes to its disk"),
    ],
)
def test_wrong_options_are_one_line(
    archive: Path, videomae: Run, tmp_path: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    done = videomae("classify", archive, "--model", "camera-motion", "-o", tmp_path / "o.jsonl", *options)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []

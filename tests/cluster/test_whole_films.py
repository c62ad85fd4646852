"""`embed --window` and `timeline` on a real Ray cluster of two nodes: the records of one machine, whatever happens to workers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from objectstore import ObjectStore
from raycluster import ENVIRONMENT, ended, kill_one, ray_cluster, start, wait_for_pieces, without_waiting
from samples import Run, make_checkpoint, write_video
from typer.testing import CliRunner

from videomae_cli import cluster_job, load_embedder
from videomae_cli.cli.app import app
from videomae_cli.errors import OptionError

FILMS = 12


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, s3_server: ObjectStore, quick_python: str) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        cache = str(tmp_path_factory.mktemp("cache"))
        for name, value in {**ENVIRONMENT, **s3_server.environment, "VIDEOMAE_CACHE": cache}.items():
            patch.setenv(name, value)
        with ray_cluster(quick_python) as running:
            yield running


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of several lengths, of which one is shorter than a window, one is empty and one is none."""
    folder = tmp_path_factory.mktemp("films")
    films = [write_video(folder / f"{n:02}.mp4", count=60 + 30 * n).read_bytes() for n in range(3)]
    for number in range(3, FILMS):
        (folder / f"{number:02}.mp4").write_bytes(films[number % 3])
    write_video(folder / "04.mp4", count=7)
    (folder / "05.mp4").write_bytes(b"")
    (folder / "06.mp4").write_text("a letter")
    return folder


def on_cluster(cluster: Any, *more: str | Path) -> tuple[str | Path, ...]:
    return ("--cluster", "ray", "--address", cluster.address, *more)


def test_windows_are_those_of_one_machine_though_a_worker_is_killed_and_the_job_interrupted(
    cluster: Any, archive: Path, checkpoint: Path, videomae: Run, ray_python: str, tmp_path: Path
) -> None:
    alone, out = tmp_path / "alone.parquet", tmp_path / "out"
    command = ("embed", archive, "--model", checkpoint, "--window", "16f", "--hop", "4f", "--batch-size", "3")
    assert videomae(*command, "-o", alone).returncode == 1
    shards = on_cluster(cluster, "-o", f"{out}/", "--shard-files", "8")
    process = start(ray_python, *command, *shards)
    wait_for_pieces(process, out, 2)
    assert kill_one("ray::", "FilmWorker")
    wait_for_pieces(process, out, 3)
    process.kill()
    ended(process)
    kept = {path.name: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    process = start(ray_python, *command, *shards, "--resume")
    _, errors = ended(process)
    assert process.returncode == 1, errors
    assert "files are done already" in errors
    assert "10 of 12 files embedded, 2 failed (not_a_video)" in errors
    names = sorted(path.name for path in out.iterdir())
    for name in kept.keys() & set(names):
        assert (out / name).stat().st_mtime_ns == kept[name]
    parts = [out / name for name in names if name.startswith("part-")]
    assert len(parts) == 2
    one, many = pq.read_table(alone), pq.read_table([str(part) for part in parts])
    assert many.schema.equals(one.schema, check_metadata=True)
    assert many.equals(one)


def test_timelines_and_what_is_planned(
    cluster: Any,
    archive: Path,
    store: ObjectStore,
    bucket: str,
    ray_python: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of films in a bucket, as shards there and, from Python, as one file, with all windows; one of the films is not there."""
    films = store.bucket(bucket, {f"in/{number}.mp4": archive / f"{number:02}.mp4" for number in (1, 2, 6)})
    (tmp_path / "list.txt").write_text("".join(f"{films}/in/{number}.mp4\n" for number in (1, 2, 6, 7)))
    command = ("timeline", f"@{tmp_path / 'list.txt'}", "--model", "camera-motion", "--windows", "--hop", "0.4s")

    def run(*more: str | Path) -> str:
        process = start(ray_python, *command, *more, environment=store.environment)
        out, errors = ended(process)
        assert process.returncode == (0 if "--dry-run" in more else 1), errors
        return out + without_waiting(errors)

    run("-o", tmp_path / "alone.jsonl")
    run("-o", tmp_path / "alone.parquet")
    said = run("-o", f"{films}/out/", *on_cluster(cluster, "--dry-run"))
    lines = dict(line.split(None, 1) for line in said.splitlines())
    assert lines["tasks"] == "4 that take 1 file each from beginning to end, 2 at once"
    assert lines["failed"].startswith("2 of the 4 files tried (")
    assert "out/_job.json" not in store.keys(bucket)
    assert "2 of 4 files analysed, 2 failed: 1 not_a_video, 1 not_found" in run(
        "-o", f"{films}/out/", *on_cluster(cluster)
    )
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    job = cluster_job(
        "timeline",
        f"@{tmp_path / 'list.txt'}",
        tmp_path / "cluster.jsonl",
        model="camera-motion",
        hop="0.4s",
        windows=True,
        address=cluster.address,
    )
    assert job.run().failed == {"not_a_video": 1, "not_found": 1}
    assert (tmp_path / "cluster.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    store.client.download_file(bucket, "out/part-00000-of-00001.parquet", str(tmp_path / "shard.parquet"))
    assert pq.read_table(tmp_path / "shard.parquet").equals(pq.read_table(tmp_path / "alone.parquet"))
    made = len(pq.read_table(tmp_path / "shard.parquet")["windows"].combine_chunks().flatten())
    assert lines["windows"] == f"about {made}"


def test_a_list_of_films_grows(cluster: Any, archive: Path, checkpoint: Path, tmp_path: Path) -> None:
    """From Python, with the windows of published features; films that came since are done after those of before."""
    films = [archive / f"{number:02}.mp4" for number in (0, 1, 4)]
    given: Any = {"model": checkpoint, "protocol": "thumos14", "address": cluster.address}
    assert cluster_job("embed", films[1:], f"{tmp_path / 'out'}/", **given).run().files == 2
    (shard,) = (tmp_path / "out").glob("part-*.parquet")
    before = pq.read_table(shard)
    assert cluster_job("embed", films, f"{tmp_path / 'out'}/", **given, resume=True).run().files == 3
    alone = tmp_path / "alone.parquet"
    load_embedder(checkpoint, device="cpu").embed_files([*films[1:], films[0]], alone, protocol="thumos14")
    one, grown = pq.read_table(alone), pq.read_table(shard)
    assert grown.equals(one)
    assert grown.slice(0, before.num_rows).equals(before)


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("timeline", {"clips": 2}, "clips does not go with 'timeline'"),
        ("classify", {"window": "2s"}, "window does not go with 'classify'"),
        ("embed", {"window": "2s", "clips": 2}, "clips does not go with window"),
        ("embed", {"protocol": "thumos14", "hop": "2s"}, "the thumos14 protocol fixes hop itself"),
        ("merge", {}, "unknown command 'merge': choose classify, embed or timeline"),
    ],
)
def test_what_does_not_go_together_is_said_at_once(
    archive: Path, tmp_path: Path, command: str, options: Any, words: str
) -> None:
    with pytest.raises(OptionError, match=re.escape(words)):
        cluster_job(command, archive, tmp_path / "out", model="no/model", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "t.srt"), "srt holds one video, and this is one file for all"),
        (("--format", "elan", "-o", "t/"), "a folder holds shards in Parquet: leave out --format elan"),
        (("-o", "t/", "--report", "r.html"), "--report does not go with --cluster"),
        (("--find", "pan left"), "--cluster does not go with --find"),
        ((), "a cluster needs a place to write to"),
    ],
)
def test_what_one_machine_does_alone_is_refused(
    archive: Path, options: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["timeline", str(archive), "--cluster", "ray", *options])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []

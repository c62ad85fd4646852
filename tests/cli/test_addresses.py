"""Commands on videos in a bucket, as a user runs them: the real command, a real S3 server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from objectstore import ObjectStore, closed_port
from samples import Run, write_video

from videomae_cli.video import find_videos


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_bucket_gives_what_the_disk_gives(
    videomae: Run, video: Path, checkpoint: Path, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    clips, scratch = tmp_path / "clips", tmp_path / "scratch"
    (clips / "sub").mkdir(parents=True)
    scratch.mkdir()
    (clips / "a b%.mp4").write_bytes(video.read_bytes())
    write_video(clips / "sub" / "b.mp4", count=50)
    (clips / "sub" / "cut.mp4").write_bytes(video.read_bytes()[:700])
    (clips / "text.mp4").write_text("this is a letter, not a film\n")
    (clips / "notes.txt").write_text("not for me")
    folder = store.bucket(bucket, {str(p.relative_to(clips)): p for p in clips.rglob("*") if p.is_file()})
    options = ("--model", checkpoint, "--format", "jsonl", "--workers", "2")
    local = videomae("classify", clips, *options, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    remote = videomae("classify", f"{folder}/", *options, environment={**store.environment, "TMPDIR": str(scratch)})
    assert (local.returncode, remote.returncode) == (1, 1)
    # All but the path is the same, also in what is said of the bad ones.
    # Batches are filled as files come, and their sums rounded accordingly.
    ours, theirs = (records(text) for text in (remote.stdout.replace(folder, str(clips)), local.stdout))
    scores = [[p.pop("score") for record in found for p in record.get("predictions") or ()] for found in (ours, theirs)]
    assert ours == theirs
    assert scores[0] == pytest.approx(scores[1], abs=2e-6)
    said = [line for line in local.stderr.splitlines() if not line.startswith("import time:")]
    assert remote.stderr.replace(folder, str(clips)).splitlines() == said
    # A job on a disk loads no client of any storage.
    assert "torch.nn" in local.stderr
    assert "pyarrow" not in local.stderr
    assert "fsspec" not in local.stderr
    found = records(remote.stdout)
    assert [r["path"] for r in found] == [
        f"{folder}/{name}" for name in ("a b%.mp4", "sub/b.mp4", "sub/cut.mp4", "text.mp4")
    ]
    assert [r["status"] for r in found] == ["ok", "ok", "error", "error"]
    assert list(scratch.iterdir()) == []


def test_what_can_not_be_had_costs_itself_only(
    videomae: Run, video: Path, checkpoint: Path, store: ObjectStore, bucket: str
) -> None:
    good = store.bucket(bucket, {"good.mp4": video})
    locked = store.bucket(f"{bucket}-locked", {"a.mp4": video})
    store.lock(f"{bucket}-locked")
    down = f"s3://bucket/a.mp4?endpoint_override=127.0.0.1:{closed_port()}&scheme=http"
    given = [
        *(f"{good}/gone.mp4", f"{good}/nothing/", f"{locked}/a.mp4", "s3://no-such-bucket/clips/", down),
        *("https://example.com/a.mp4", "adl://store/a.mp4", f"{good}/good.mp4", str(video)),
    ]
    done = videomae("classify", *given, "--model", checkpoint, "--format", "jsonl", environment=store.environment)
    assert done.returncode == 1
    found = records(done.stdout)
    assert [r["path"] for r in found] == given
    assert [r["error"] and r["error"]["kind"] for r in found] == [
        *("not_found", "not_found", "fetch", "not_found", "fetch", "not_found", "dependency", None, None),
    ]
    lines = done.stderr.splitlines()
    assert len(lines) == 8  # one for each failure, one to sum up
    for line, words in zip(
        lines,
        ("there is no", "there is no", "no permission for", "no bucket", "can't reach the server", "download it first"),
        strict=False,
    ):
        assert words in line
    assert "Traceback" not in done.stderr
    assert found[-2]["predictions"] == found[-1]["predictions"]


def test_embed_from_a_list_in_a_bucket_writes_a_manifest(
    videomae: Run, video: Path, checkpoint: Path, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    folder = store.bucket(bucket, {f"{number}.mp4": video for number in range(2)})
    names = [f"{folder}/1.mp4", f"{folder}/0.mp4"]
    store.put(bucket, "list.txt", "\n".join(names).encode())
    out = tmp_path / "vectors.parquet"
    options = ("--model", checkpoint, "--pool", "time", "-o", out)
    done = videomae("embed", f"@{folder}/list.txt", *options, environment=store.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert [video.path for video in find_videos([f"@{out}"], addresses=True)] == names  # eight rows each, but one name


def test_ctrl_c_leaves_no_copies(
    quick_python: str, checkpoint: Path, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "clip.mp4")
    folder = store.bucket(bucket, {f"{number:02}.mp4": video for number in range(40)})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [quick_python, "-m", "videomae_cli", "classify", folder, "--model", str(checkpoint)]
    process = subprocess.Popen(
        [*command, "--format", "jsonl", "--batch-size", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **store.environment, "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()  # it is at work
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(timeout=300) == 130
    assert "Traceback" not in process.stderr.read()
    assert list(scratch.iterdir()) == []


def test_a_timeline_of_a_bucket_is_that_of_the_disk(
    videomae: Run, video: Path, checkpoint: Path, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    clips, scratch = tmp_path / "clips", tmp_path / "scratch"
    clips.mkdir()
    scratch.mkdir()
    (clips / "a b%.mp4").write_bytes(video.read_bytes())
    (clips / "text.mp4").write_text("this is a letter, not a film\n")
    write_video(clips / "z.mp4", count=50)
    folder = store.bucket(bucket, {p.name: p for p in clips.iterdir()})
    store.put(bucket, "list.txt", "\n".join(f"{folder}/{p.name}" for p in sorted(clips.iterdir())).encode())
    environment = {**store.environment, "TMPDIR": str(scratch)}
    local = videomae("timeline", clips, "-m", checkpoint, "--format", "jsonl")
    for given in (f"{folder}/", f"@{folder}/list.txt"):
        remote = videomae("timeline", given, "-m", checkpoint, "--format", "jsonl", environment=environment)
        assert (local.returncode, remote.returncode) == (1, 1), remote.stderr
        ours, theirs = records(remote.stdout.replace(folder, str(clips))), records(local.stdout)
        assert [record.pop("path") for record in ours] == [record.pop("path") for record in theirs]
        assert ours == theirs
        assert remote.stderr.replace(folder, str(clips)) == local.stderr
    gone = videomae("timeline", f"{folder}/gone.mp4", "-m", checkpoint, environment=environment)
    assert gone.returncode == 1
    assert f"there is no '{folder}/gone.mp4'" in gone.stderr
    assert list(scratch.iterdir()) == []


def test_a_model_is_trained_and_measured_on_a_bucket_as_on_a_disk(
    videomae: Run, few: Path, checkpoint: Path, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    place = store.bucket(bucket, {str(p.relative_to(few)): p for p in few.rglob("*.mp4")})
    gone = f"{place}/val/bikes/gone.mp4,bikes\n{place}/val/bikes/0.mp4,bikes\n"
    store.put(bucket, "lists/val.csv", f"path,label\n../val/carphone_pristine/0.mp4,carphone_pristine\n{gone}".encode())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    there = {**store.environment, "TMPDIR": str(scratch)}
    figures, seen = [], []
    for data, out, environment in ((few, tmp_path / "disk", {}), (place, tmp_path / "stored", there)):
        options = ("--init", checkpoint, "--mode", "head", "--workers", "1")
        done = videomae("finetune", data, "-o", out, *options, environment=environment)
        assert done.returncode == 0, done.stderr
        figures.append(json.loads((out / "training.json").read_text())["figures"])
        seen.append(json.loads((out / "trained_on.json").read_text())["files"])
    assert figures[0] == figures[1]
    assert seen[0] == seen[1]
    options = ("--model", tmp_path / "stored", "--split", "all", "--format", "json", "--workers", "1")
    disk = json.loads(videomae("evaluate", few, *options).stdout)
    stored = json.loads(videomae("evaluate", f"{place}/", *options, environment=there).stdout)
    assert stored.pop("data") == f"{place}/"
    disk.pop("data")
    assert stored == disk
    assert stored["trained_on"] == 6
    measured = videomae("evaluate", f"{place}/lists/val.csv", *options, environment=there)
    assert measured.returncode == 1
    assert measured.stderr.splitlines()[0].endswith(f"there is no '{place}/val/bikes/gone.mp4'")
    document = json.loads(measured.stdout)
    assert (document["clips"], document["failed"]) == (3, 1)
    assert list(scratch.iterdir()) == []


def test_a_video_in_a_bucket_is_compared_with_a_table(
    videomae: Run, video: Path, checkpoint: Path, store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    write_video(tmp_path / "other.mp4", count=50)
    place = store.bucket(bucket, {"query.mp4": video})
    table = tmp_path / "v.parquet"
    videomae("embed", video, tmp_path / "other.mp4", "--model", checkpoint, "-o", table)
    options = (table, "--format", "jsonl", "--include-self")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    there = {**store.environment, "TMPDIR": str(scratch)}
    found = records(videomae("similar", f"{place}/query.mp4", *options, environment=there).stdout)
    same = records(videomae("similar", video, *options).stdout)
    assert [r["path"] for r in found] == [r["path"] for r in same]
    assert [r["score"] for r in found] == pytest.approx([r["score"] for r in same], abs=2e-6)
    missing = videomae("similar", f"{place}/gone.mp4", *options, environment=there)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.count("\n") == 1
    assert f"{place}/gone.mp4 is neither a file nor a name in {table}" in missing.stderr
    assert list(scratch.iterdir()) == []

"""Batches in real processes: killed, interrupted, out of disk, split over machines, and always whole in the end."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from samples import Run, write_video

from videomae_cli.writers import read_records

COUNT = 27
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """27 short films of which every ninth is none, one name without UTF-8, one with a line end."""
    folder = tmp_path_factory.mktemp("archive")
    film = write_video(folder / "00.mp4").read_bytes()
    for number in range(1, COUNT):
        (folder / f"{number:02}.mp4").write_bytes(b"a letter" if number % 9 == 4 else film)
    (folder / "20.mp4").rename(os.fsdecode(os.fsencode(folder) + b"/2\xff.mp4"))
    (folder / "21.mp4").rename(folder / "2\n1.mp4")
    return folder


@pytest.fixture(scope="module")
def whole(archive: Path, checkpoint: Path, videomae: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an uninterrupted run writes."""
    out = tmp_path_factory.mktemp("whole") / "out.jsonl"
    done = videomae("classify", archive, "--model", checkpoint, "-o", out, "--clips", "2", "--batch-size", "3")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "videomae: 24 of 27 files classified, 3 failed (not_a_video)"
    return out


@pytest.fixture(scope="session")
def start(quick_python: str) -> Start:
    """Starts a job that is to be watched while it runs."""

    def begin(
        archive: Path, checkpoint: Path, out: Path, *options: str, python: str = quick_python
    ) -> subprocess.Popen[str]:
        command = [python, "-m", "videomae_cli", "classify", str(archive), "--model", str(checkpoint)]
        return subprocess.Popen(
            [*command, "-o", str(out), "--clips", "2", "--batch-size", "3", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return begin


def kept(out: Path) -> int:
    """Lines in what a running job keeps."""
    try:
        return (out.with_name(out.name + ".partial") / "records.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def wait_for(process: subprocess.Popen[str], out: Path, lines: int) -> None:
    deadline = time.monotonic() + 300
    while process.poll() is None and kept(out) < lines and time.monotonic() < deadline:
        time.sleep(0.003)


def test_killed_at_random_moments_the_output_is_that_of_an_uninterrupted_run(
    start: Start, archive: Path, checkpoint: Path, whole: Path, tmp_path: Path
) -> None:
    chance = random.Random(5)
    for suffix in ("jsonl", "csv"):
        out = tmp_path / f"out.{suffix}"
        wide = ["--wide"] if suffix == "csv" else []
        killed = 0
        while killed < 3:
            process = start(archive, checkpoint, out, "--resume", *wide)
            wait_for(process, out, min(COUNT, kept(out) + chance.randint(0, 8)))
            time.sleep(chance.random() * 0.02)
            process.kill()
            process.communicate()  # until nobody writes any more
            killed += 1
            if out.exists():
                break
        assert kept(out) > 0 or out.exists()
        process = start(archive, checkpoint, out, "--resume", *wide)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1, errors
        assert list(read_records(out)) == list(read_records(whole))
        if suffix == "jsonl":
            assert out.read_bytes() == whole.read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"out.jsonl", "out.csv"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_job_keeps_what_is_done_and_says_so(
    start: Start, archive: Path, checkpoint: Path, whole: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out.jsonl"
    process = start(archive, checkpoint, out, "--workers", "1")
    wait_for(process, out, 5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code
    done = kept(out)
    assert 5 <= done < COUNT
    said = "interrupted: {} of {} files are kept in {}.partial; --resume continues from there"
    # The signal may come after a record is written and before it is counted.
    assert errors.splitlines()[-1].removeprefix("videomae: ") in {said.format(n, COUNT, out) for n in (done, done - 1)}
    assert not out.exists()
    again = start(archive, checkpoint, out)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 1
    assert "--resume continues" in errors
    again = start(archive, checkpoint, out, "--resume", "--top-k", "2")
    _, errors = again.communicate(timeout=300)
    assert (again.returncode, kept(out)) == (1, done)
    assert "top k was 5, now 2" in errors
    last = start(archive, checkpoint, out, "--resume")
    _, errors = last.communicate(timeout=300)
    assert errors.splitlines()[0] == f"videomae: {done} of {COUNT} files are done already"
    assert out.read_bytes() == whole.read_bytes()


def test_a_disk_that_fills_up_loses_nothing(
    start: Start, archive: Path, checkpoint: Path, whole: Path, quick_python: str, tmp_path: Path
) -> None:
    """A limit on the size of files: a real write fails half way through a record, in a real process."""
    out = tmp_path / "out.jsonl"
    limit = whole.stat().st_size // 2
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    command = [quick_python, "-c", f"{limited}; from videomae_cli.cli import main; main()"]
    options = ["--model", str(checkpoint), "-o", str(out), "--clips", "2", "--batch-size", "3"]
    full = subprocess.run([*command, "classify", str(archive), *options], capture_output=True, text=True)
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    assert f"results are kept in {out}.partial, and --resume continues from there" in full.stderr.splitlines()[-1]
    rest = start(archive, checkpoint, out, "--resume")
    rest.communicate(timeout=300)
    assert rest.returncode == 1
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("name", ["out.json", "out.csv", "out.parquet"])
def test_every_format_holds_the_same(
    start: Start, archive: Path, checkpoint: Path, whole: Path, tmp_path: Path, name: str
) -> None:
    process = start(archive, checkpoint, tmp_path / name, *(["--wide"] if name == "out.csv" else []))
    process.communicate(timeout=300)
    assert list(read_records(tmp_path / name)) == list(read_records(whole))


def test_formats_to_a_pipe(videomae: Run, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    for format in ("csv --wide", "parquet"):
        done = videomae("classify", video, "--model", checkpoint, "--format", *format.split(), text=False)
        assert done.returncode == 0
        (tmp_path / f"out.{format.split()[0]}").write_bytes(done.stdout)
        (record,) = read_records(tmp_path / f"out.{format.split()[0]}")
        assert record["path"] == str(video)


def test_shards_join_to_the_whole(
    videomae: Run, start: Start, archive: Path, checkpoint: Path, whole: Path, tmp_path: Path
) -> None:
    outs = [tmp_path / f"{number}.jsonl" for number in (1, 2, 3)]
    for number, out in enumerate(outs, 1):
        process = start(archive, checkpoint, out, "--shard", f"{number}/3", "--ok-on-errors")
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    joined = tmp_path / "all.csv"
    done = videomae("merge", *reversed(outs), "-o", joined, "--wide", fresh=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"videomae: wrote {joined}: 27 files from 3 outputs, 3 of them failed, ")
    records = [record | {"predictions": None} for record in read_records(joined)]
    parts = [list(read_records(out)) for out in outs]
    shards = {record["path"]: f"{number}/3" for number, part in enumerate(parts, 1) for record in part}
    assert len({record.pop("list") for record in records}) == 1, "all shards saw one list"
    assert records == [
        record | {"shard": shards[record["path"]], "predictions": None} for record in read_records(whole)
    ]
    for record, reference in zip(read_records(joined), read_records(whole), strict=True):
        # Another batch rounds its sums differently: the last digit may differ.
        assert [p["label"] for p in record["predictions"]] == [p["label"] for p in reference["predictions"]]
    missing = videomae("merge", outs[0], outs[2], "-o", tmp_path / "two.jsonl")
    assert missing.returncode == 1
    assert "shard 2/3 is missing" in missing.stderr
    assert not (tmp_path / "two.jsonl").exists()
    some = videomae("merge", outs[0], outs[2], "-o", tmp_path / "two.jsonl", "--allow-gaps")
    assert some.returncode == 1
    assert len((tmp_path / "two.jsonl").read_text().splitlines()) == len(parts[0]) + len(parts[2])
    again = videomae("merge", *outs, "-o", joined)
    assert (again.returncode, "--overwrite" in again.stderr) == (1, True)
    (tmp_path / "2.jsonl.partial").mkdir()
    early = videomae("merge", *outs, "-o", tmp_path / "early.jsonl")
    assert "not complete" in early.stderr


def test_a_shard_without_files_is_an_empty_output(videomae: Run, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for number, out in enumerate(outs, 1):
        done = videomae("classify", video, "--model", checkpoint, "--shard", f"{number}/2", "-o", out)
        assert (done.returncode, done.stderr) == (0, "")
    assert sorted(len(out.read_text().splitlines()) for out in outs) == [0, 1]
    done = videomae("merge", *outs, "-o", tmp_path / "all.jsonl")
    assert done.returncode == 0, done.stderr


def test_names_come_from_standard_input(videomae: Run, video: Path, checkpoint: Path) -> None:
    done = videomae("classify", "-", "--model", checkpoint, "--format", "jsonl", input=f"{video}\ngone.mp4\n{video}\n")
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["ok", "error"]
    done = videomae("classify", "-", "--model", checkpoint, input="")
    assert done.returncode == 1
    assert done.stderr.startswith("videomae: no files: ")


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    videomae: Run, archive: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    arguments = [archive, archive / "gone.mp4", "--model", checkpoint, "--clips", "2", "-o", out, "--exclude", "*1.mp4"]
    done = videomae("classify", *arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["files"] == "25 (1 not_found)"
    assert lines["clips"].startswith("about ")
    assert "tiny" in lines["clips"]
    assert lines["time"].startswith("about ")
    assert lines["output"] == str(out)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_told(videomae: Run, checkpoint: Path, tmp_path: Path) -> None:
    """Somebody is still copying: a fifo-like writer appends all the time."""
    film = write_video(tmp_path / "growing.mp4", count=1800)
    content = film.read_bytes()
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nwhile not time.sleep(0.001):\n    with open(sys.argv[1], 'ab') as file: file.write(bytes(9))",
            str(film),
        ]
    )
    try:
        while film.stat().st_size == len(content):
            time.sleep(0.01)  # until it has begun
        done = videomae("classify", film, "--model", checkpoint, "--format", "jsonl")
    finally:
        writer.kill()
        writer.wait()
    assert len(film.read_bytes()) > len(content)
    assert json.loads(done.stdout)["error"]["kind"] == "changed"
    assert "changed while it was read" in done.stderr


@pytest.mark.parametrize(
    "options",
    [["--resume"], ["--progress", "loud"], ["--shard", "3/2"], ["--workers", "0"], ["@nowhere"]],
)
def test_wrong_options(videomae: Run, video: Path, options: list[str]) -> None:
    done = videomae("classify", video, "--model", "camera-motion", *options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="an open file's folder can't be removed there")
@pytest.mark.parametrize("renamed", [True, False])
def test_a_job_whose_results_are_gone_stops_while_its_decoder_hangs(
    start: Start, archive: Path, checkpoint: Path, tmp_path: Path, renamed: bool
) -> None:
    out, kept_in = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    process = start(archive, checkpoint, out, "--workers", "1", "--timeout", "0", python=sys.executable)
    wait_for(process, out, 2)
    for child in psutil.Process(process.pid).children(recursive=True):
        child.suspend()
    if renamed:
        kept_in.rename(tmp_path / "elsewhere")
    else:
        shutil.rmtree(kept_in)
    try:
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "out.jsonl.partial was removed or renamed while this job ran" in said
    assert "are kept" not in said
    assert not out.exists()
    assert not kept_in.exists()


def test_failures_are_done_again(videomae: Run, archive: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Of the kinds asked for, in their place; every other record stays to the byte."""
    folder, out = tmp_path / "clips", tmp_path / "out.jsonl"
    folder.mkdir()
    for name in ("01.mp4", "02.mp4", "03.mp4"):
        shutil.copy(archive / name, folder / name)
    (folder / "02.mp4").write_bytes(b"a letter")
    (folder / "04.mp4").write_bytes(b"")
    command = ["classify", folder, "--model", checkpoint, "-o", out, "--clips", "2", "--batch-size", "3"]
    assert videomae(*command).returncode == 1
    before = out.read_bytes().splitlines()
    shutil.copy(archive / "02.mp4", folder / "02.mp4")
    told = videomae(*command, "--resume", "--retry-errors", "not_a_video", "--dry-run")
    assert "again   2 failed files (2 not_a_video)" in told.stdout
    done = videomae(*command, "--resume", "--retry-errors", "timeout,not_a_video")
    assert done.returncode == 1
    assert "2 files done again" in done.stderr
    after = out.read_bytes().splitlines()
    assert [json.loads(line)["status"] for line in after] == ["ok", "ok", "ok", "error"]
    assert [after[place] for place in (0, 2, 3)] == [before[place] for place in (0, 2, 3)]
    for options, words in (
        (["--retry-errors", "fetch"], "give --resume too"),
        (["--resume", "--retry-errors", "fetsch"], "unknown kind of error 'fetsch'"),
        (["--resume", "--retry-errors", "fetsch", "--cluster", "ray"], "unknown kind of error 'fetsch'"),
        (["--retry-errors", "all", "--cluster", "ray"], "give --resume too"),
    ):
        refused = videomae(*command, *options)
        assert (refused.returncode, words in refused.stderr) == (2, True), refused.stderr

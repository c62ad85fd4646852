"""`videomae classify --report` in real processes: real footage, killed and gone on with, refused before a model loads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from samples import Run, write_video

COUNT = 24


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short films of which every eighth is none."""
    folder = tmp_path_factory.mktemp("archive")
    film = write_video(folder / "00.mp4").read_bytes()
    for number in range(1, COUNT):
        (folder / f"{number:02}.mp4").write_bytes(b"a letter" if number % 8 == 4 else film)
    return folder


def entries(page: Path) -> list[dict[str, Any]]:
    text = page.read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text.split('id="data">')[1].split("</script>")[0])["entries"]
    return found


def strips(page: Path) -> int:
    return page.read_text(encoding="utf-8").count('<script type="text/plain" id="p')


def start(python: str, archive: Path, checkpoint: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [python, "-m", "videomae_cli", "classify", str(archive), "--model", str(checkpoint)]
    return subprocess.Popen(
        [
            *command,
            "-o",
            str(folder / "o.jsonl"),
            "--report",
            str(folder / "r.html"),
            "--clips",
            "2",
            "--batch-size",
            "1",
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def kept(folder: Path) -> int:
    try:
        return (folder / "o.jsonl.partial" / "records.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def test_killed_and_resumed_the_report_shows_every_file(
    archive: Path, checkpoint: Path, quick_python: str, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    process = start(quick_python, archive, checkpoint, tmp_path / "whole")
    process.communicate(timeout=300)
    assert process.returncode == 1  # of those that are no films
    whole = tmp_path / "whole" / "r.html"
    assert (len(entries(whole)), strips(whole)) == (COUNT, COUNT - 3)
    for attempt in range(5):  # on a busy machine a look in between may come late
        folder = tmp_path / f"killed{attempt}"
        folder.mkdir()
        process = start(quick_python, archive, checkpoint, folder)
        deadline = time.monotonic() + 300
        while process.poll() is None and kept(folder) < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if 5 <= kept(folder) < COUNT:
            break
    assert process.returncode == -signal.SIGKILL
    assert 5 <= kept(folder) < COUNT
    assert {file.name for file in folder.iterdir()} == {"o.jsonl.partial"}
    process = start(quick_python, archive, checkpoint, folder, "--resume")
    process.communicate(timeout=300)
    assert process.returncode == 1
    assert (folder / "r.html").read_bytes() == whole.read_bytes()
    assert (folder / "o.jsonl").read_bytes() == (tmp_path / "whole" / "o.jsonl").read_bytes()
    assert {file.name for file in folder.iterdir()} == {"o.jsonl", "r.html"}
    # Complete: nothing to do, and the report stays what it is.
    before = (folder / "r.html").stat().st_mtime_ns
    process = start(quick_python, archive, checkpoint, folder, "--resume")
    process.communicate(timeout=300)
    assert (folder / "r.html").stat().st_mtime_ns == before
    # Asked for afterwards, it is made of the records: without pictures, but of all files.
    (folder / "r.html").unlink()
    process = start(quick_python, archive, checkpoint, folder, "--resume")
    process.communicate(timeout=300)
    assert (len(entries(folder / "r.html")), strips(folder / "r.html")) == (COUNT, 0)


def test_without_an_output_file_it_is_written_in_the_end(
    videomae: Run, video: Path, checkpoint: Path, tmp_path: Path
) -> None:
    page = tmp_path / "r.html"
    plain = videomae("classify", video, "gone.mp4", "--model", checkpoint, "--format", "jsonl")
    done = videomae("classify", video, "gone.mp4", "--model", checkpoint, "--format", "jsonl", "--report", page)
    assert (done.returncode, done.stdout) == (1, plain.stdout)  # the report changes nothing of the results
    good, bad = entries(page)
    record = json.loads(done.stdout.splitlines()[0])
    assert good["labels"][0] == [record["predictions"][0]["label"], round(record["predictions"][0]["score"], 4)]
    assert (good["size"], bad["error"][0]) == ([96, 64], "not_found")
    assert strips(page) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]


def test_files_that_all_fail_are_reported_too(videomae: Run, checkpoint: Path, tmp_path: Path) -> None:
    done = videomae("classify", "gone.mp4", "--model", checkpoint, "--report", tmp_path / "r.html")
    assert done.returncode == 1
    assert [entry["error"][0] for entry in entries(tmp_path / "r.html")] == ["not_found"]


def test_what_cannot_be_written_is_told_before_a_model_is_loaded(videomae: Run, video: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.html"
    there.write_text("mine")
    output = tmp_path / "o.jsonl"
    nowhere = "no-such/model-at-all"  # were it looked for, the line would be about it
    for report, options, said, code in (
        (there, [], "--overwrite replaces it", 1),
        (there, ["--resume", "-o", output], "--overwrite replaces it", 1),  # not a report: no earlier run made it
        (tmp_path / "no" / "r.html", [], "can't write", 1),
        (tmp_path, [], "is a folder", 1),
        (video, ["--overwrite"], "is what is read", 1),
        (output, ["-o", output], "can't be the report and the output", 2),
    ):
        done = videomae("classify", video, "--model", nowhere, "--report", report, *options)
        assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (code, True, 1), done.stderr
    assert there.read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"there.html"}

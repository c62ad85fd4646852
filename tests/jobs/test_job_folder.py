"""What lies where a job keeps its results: a user's own things are never touched, what changed on the disk is no result."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from jobrecords import SETTINGS, names, record

from videomae_cli.errors import OutputError
from videomae_cli.jobs import Job, JobTally


def run(out: Path, count: int, *, stop: int | None = None, **options: bool) -> JobTally:
    with Job(out, format="jsonl", **options) as job:
        tally = job.begin(SETTINGS, names(count))
        for place in tally.left(count):
            if place == stop:
                raise InterruptedError
            job.append(record(place))
        job.finish()
        return tally


def broken_off(out: Path, count: int, stop: int) -> Path:
    with pytest.raises(InterruptedError):
        run(out, count, stop=stop)
    return out.with_name(out.name + ".partial")


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(entry.relative_to(folder)): entry.read_bytes() if entry.is_file() else None
        for entry in sorted(folder.rglob("*"))
        if entry.name != "lock"
    }


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize(
    "content",
    [
        {"notes.txt": b"mine"},
        {"notes.txt": b"mine", "records.jsonl": b"", "job.json": b'{"layout_version": 2, "settings": {}}'},
        {"sub/deep/notes.txt": b"mine"},
        {"job.json": b'{"name": "a job of another program"}'},
        {"job.json": b"[1, 2]"},
        {"records.jsonl": b'{"customer": 1}\n'},
        {"records.jsonl": b"id;name\n1;x\n"},
        {"job.json/x": b"mine"},
        {"lock/x": b"mine"},
        {".hidden": b"mine"},
        {".part": b"mine"},
    ],
)
def test_a_folder_of_the_user_is_left_alone(
    content: dict[str, bytes], options: dict[str, bool], tmp_path: Path
) -> None:
    folder = tmp_path / "out.jsonl.partial"
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="which no job made") as raised:
        run(tmp_path / "out.jsonl", 3, **options)
    assert "\n" not in str(raised.value)
    assert tree(tmp_path) == before


def test_a_file_or_a_link_in_its_place_is_told(tmp_path: Path) -> None:
    place = tmp_path / "out.jsonl.partial"
    place.write_bytes(b"mine")
    with pytest.raises(OutputError, match="in the way"):
        run(tmp_path / "out.jsonl", 3, overwrite=True)
    assert place.read_bytes() == b"mine"
    place.unlink()
    place.symlink_to("nowhere")
    with pytest.raises(OutputError, match="in the way"):
        run(tmp_path / "out.jsonl", 3)
    assert place.is_symlink()


def test_an_empty_folder_is_used_and_removed(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.partial").mkdir()
    run(tmp_path / "out.jsonl", 3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.jsonl"]


def test_what_comes_into_it_while_the_job_runs_stays(tmp_path: Path) -> None:
    folder = tmp_path / "out.jsonl.partial"
    with Job(tmp_path / "out.jsonl", format="jsonl") as job:
        job.begin(SETTINGS, names(1))
        (folder / "notes.txt").write_bytes(b"mine")
        job.append(record(0))
        job.finish()
    assert tree(folder) == {"notes.txt": b"mine"}


def test_hidden_files_of_a_kill_go(tmp_path: Path) -> None:
    folder = broken_off(tmp_path / "out.jsonl", 5, 3)
    (folder / ".out.jsonl.abcd1234.part").write_bytes(b"half")
    run(tmp_path / "out.jsonl", 5, resume=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.jsonl"]


def test_results_without_their_header_are_kept_and_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(tmp_path / "whole.jsonl", 8)
    folder = broken_off(out, 8, 5)
    (folder / "job.json").unlink()
    before = tree(folder)
    with pytest.raises(OutputError, match=r"5 of them; its job\.json is missing"):
        run(out, 8)
    assert tree(folder) == before
    assert run(out, 8, resume=True).done == 8
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_results_of_other_settings_without_a_header_are_not_taken(tmp_path: Path) -> None:
    folder = broken_off(tmp_path / "out.jsonl", 8, 5)
    (folder / "job.json").unlink()
    lines = (folder / "records.jsonl").read_bytes()
    other = re.sub(rb'"fingerprint": "[0-9a-f]+"', b'"fingerprint": "0000000000000000"', lines)
    (folder / "records.jsonl").write_bytes(other)
    with pytest.raises(OutputError, match="can't go on"):
        run(tmp_path / "out.jsonl", 8, resume=True)
    assert (folder / "records.jsonl").exists()


@pytest.mark.parametrize("at", range(0, 5))
@pytest.mark.parametrize("damage", ["digit", "foreign", "array", "deep", "gone", "no checksum", "zeros"])
def test_a_damaged_line_is_done_again_and_said(at: int, damage: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(tmp_path / "whole.jsonl", 8)
    folder = broken_off(out, 8, 5)
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    lines[at] = {
        "digit": lines[at].replace(b"0.5", b"0.6"),
        "foreign": b'{"path": "%d.mp4"}\n' % at,
        "array": b"[1, 2]\n",
        "deep": b"[" * 100_000 + b"\n",
        "gone": b"",
        "no checksum": re.sub(rb', "line_checksum": "\w+"', b"", lines[at]),
        "zeros": bytes(len(lines[at]) - 1) + b"\n",
    }[damage]
    (folder / "records.jsonl").write_bytes(b"".join(lines))
    with Job(out, format="jsonl", resume=True) as job:
        tally = job.begin(SETTINGS, names(8))
        # A line that is gone altogether costs its own file only.
        assert (tally.done, tally.damaged) == ((4, 0) if damage == "gone" else (at, 5 - at))
        assert tally.left(8) == ([at, 5, 6, 7] if damage == "gone" and at < 5 else list(range(at, 8)))
    run(out, 8, resume=True)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_job_of_a_version_without_checksums_is_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(tmp_path / "whole.jsonl", 8)
    folder = broken_off(out, 8, 5)
    header = json.loads((folder / "job.json").read_bytes())
    (folder / "job.json").write_text(json.dumps({**header, "layout_version": 1}))
    lines = (folder / "records.jsonl").read_bytes()
    (folder / "records.jsonl").write_bytes(re.sub(rb', "line_checksum": "\w+"', b"", lines))
    assert run(out, 8, resume=True).done == 8
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    folder = broken_off(tmp_path / "later.jsonl", 8, 5)
    (folder / "job.json").write_text(json.dumps({**header, "layout_version": 99}))
    with pytest.raises(OutputError, match="later version"):
        run(tmp_path / "later.jsonl", 8, resume=True)


@pytest.mark.parametrize(
    "lines", [['{"path": "0.mp4", "index": 0}'], ['{"path": "0.mp4", "index": 0, "error": 3}'], ["[" * 99999]]
)
def test_a_complete_output_of_somebody_else_is_refused(lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(OutputError):
        run(tmp_path / "out.jsonl", 1, resume=True)
    assert (tmp_path / "out.jsonl").read_text() == "\n".join(lines) + "\n"


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced", "header"])
def test_a_folder_that_goes_while_the_job_runs_is_noticed(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videomae_cli.jobs.job.CHECK_SECONDS", 0.0)
    folder = tmp_path / "out.jsonl.partial"

    def disturbed() -> None:
        with Job(tmp_path / "out.jsonl", format="jsonl") as job:
            job.begin(SETTINGS, names(9))
            job.append(record(0))
            if how == "renamed":
                folder.rename(tmp_path / "elsewhere")
            elif how == "header":
                (folder / "job.json").unlink()
            else:
                shutil.rmtree(folder)
            if how == "replaced":
                folder.mkdir()
            job.append(record(1))

    with pytest.raises(OutputError, match="removed or renamed") as raised:
        disturbed()
    assert "are kept" not in str(raised.value)
    if how == "renamed":
        (tmp_path / "elsewhere").rename(folder)
        assert run(tmp_path / "out.jsonl", 9, resume=True).done == 9


def test_an_output_with_the_longest_name_is_a_job_too(tmp_path: Path) -> None:
    out = tmp_path / ("x" * 249 + ".jsonl")
    with pytest.raises(InterruptedError):
        run(out, 5, stop=3)
    assert run(out, 5, resume=True).done == 5
    assert [entry.name for entry in tmp_path.iterdir()] == [out.name]

"""Jobs: nothing is lost whatever happens between two bytes, and nothing is mixed that doesn't belong together."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from jobrecords import SETTINGS, names, record

from videomae_cli.errors import OptionError, OutputError
from videomae_cli.jobs import Job, JobTally, Settings
from videomae_cli.jobs.journal import Journal


def run(out: Path, count: int, *, stop: int | None = None, settings: Settings = SETTINGS, **options: bool) -> JobTally:
    """A job over `count` files that breaks off before file number `stop`."""
    with Job(out, format="jsonl", **options) as job:
        tally = job.begin(settings, names(count))
        for place in range(tally.done, count):
            if place == stop:
                raise InterruptedError
            job.append(record(place, failed=place % 5 == 3))
        job.finish()
        return tally


def broken_off(out: Path, count: int, stop: int) -> None:
    with pytest.raises(InterruptedError):
        run(out, count, stop=stop)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """What an uninterrupted run over 12 files writes."""
    run(tmp_path / "whole.jsonl", 12)
    return (tmp_path / "whole.jsonl").read_bytes()


def test_the_output_appears_when_the_job_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    broken_off(out, 12, 7)
    assert not out.exists()
    kept = (tmp_path / "out.jsonl.partial" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in kept] == names(7)
    tally = run(out, 12, resume=True)
    assert (tally.done, tally.failed["decode"]) == (12, 2)
    assert len(out.read_text().splitlines()) == 12
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


def test_whatever_a_power_cut_leaves_is_gone_on_with(whole: bytes, tmp_path: Path) -> None:
    """The tail cut at every byte of the last two lines, or never written and full of zeros."""
    out = tmp_path / "out.jsonl"
    broken_off(out, 12, 6)
    journal = tmp_path / "out.jsonl.partial" / "records.jsonl"
    content = journal.read_bytes()
    lines = content.splitlines(keepends=True)
    kept = {p.name: p.read_bytes() for p in journal.parent.iterdir()}
    for length in range(len(content) - len(lines[-1]) - len(lines[-2]), len(content) + 1, 7):
        for tail in (b"", b"\0" * 600, b"\0\n", b'{"half": ', b"[1]\n", b"\xff\xfe\n"):
            journal.parent.mkdir(exist_ok=True)
            for name, data in kept.items():
                (journal.parent / name).write_bytes(data)
            journal.write_bytes(content[:length] + tail)
            out.unlink(missing_ok=True)
            run(out, 12, resume=True)
            assert out.read_bytes() == whole, (length, tail)


def test_a_cut_between_rename_and_tidying_up_is_gone_on_with(whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    broken_off(out, 12, 11)
    journal = tmp_path / "out.jsonl.partial" / "records.jsonl"
    journal.write_bytes(whole)
    out.write_bytes(whole)
    assert run(out, 12, resume=True).done == 12
    assert out.read_bytes() == whole
    assert not journal.parent.exists()


KEPT = ("job.json", "records.jsonl", "again.jsonl", "lock")


@pytest.mark.parametrize("left", [names for size in range(5) for names in combinations(KEPT, size)], ids="+".join)
def test_a_kill_while_tidying_up_is_gone_on_with(whole: bytes, left: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever of the job's files was removed by then, in whatever order a folder lists them."""
    out, folder = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    broken_off(out, 12, 11)
    (folder / "records.jsonl").write_bytes(whole)
    out.write_bytes(whole)
    for name in {path.name for path in folder.iterdir()} - set(left):
        (folder / name).unlink()
    assert run(out, 12, resume=True).done == 12
    assert out.read_bytes() == whole
    assert not folder.exists()


def test_a_job_that_lost_its_records_does_all_again(whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    broken_off(out, 12, 6)
    (tmp_path / "out.jsonl.partial" / "records.jsonl").unlink()
    run(out, 12, resume=True)
    assert out.read_bytes() == whole


def test_a_complete_output_is_left_alone(whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "whole.jsonl"
    before = out.stat().st_mtime_ns
    tally = run(out, 12, resume=True)
    assert (tally.done, tally.failed.total()) == (12, 2)
    assert out.stat().st_mtime_ns == before
    assert not out.with_name("whole.jsonl.partial").exists()


def test_nothing_is_overwritten_unless_asked(whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "whole.jsonl"
    with pytest.raises(OutputError, match="overwrite=True"):
        run(out, 3)
    assert out.read_bytes() == whole
    broken_off(tmp_path / "other.jsonl", 5, 2)
    with pytest.raises(OutputError, match="keeps results of an earlier run"):
        run(tmp_path / "other.jsonl", 5)
    run(out, 3, overwrite=True)
    assert len(out.read_text().splitlines()) == 3
    run(tmp_path / "other.jsonl", 5, overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"whole.jsonl", "other.jsonl"}


def test_an_old_output_stays_until_the_new_one_is_complete(whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "whole.jsonl"
    with pytest.raises(InterruptedError):
        run(out, 4, stop=2, overwrite=True)
    assert out.read_bytes() == whole
    run(out, 4, resume=True)
    assert len(out.read_text().splitlines()) == 4


def test_resume_and_overwrite_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        Job(tmp_path / "out.jsonl", format="jsonl", resume=True, overwrite=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"top_k": 3}, "top k was 5, now 3"),
        ({"sampling": {"clips": 2, "stride": 4}}, "sampling clips was not given, now 2"),
        ({"model": "other"}, "model was tiny, now other"),
    ],
)
def test_other_settings_are_refused_with_what_differs(values: dict[str, object], words: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    broken_off(out, 5, 2)
    changed = Settings("classify", "0.1.0", {**SETTINGS.values, **values})
    assert changed.fingerprint != SETTINGS.fingerprint
    with pytest.raises(OutputError, match=words):
        run(out, 5, settings=changed, resume=True)
    # Nothing was lost by trying.
    assert run(out, 5, resume=True).done == 5


@pytest.mark.parametrize(
    ("version", "values", "words"),
    [
        ("0.2.0", {}, "version was 0.1.0, now 0.2.0"),
        ("0.1.0", {"model": "other"}, "model was tiny, now other"),
        ("0.1.0", {"top_k": 3}, "other options"),
    ],
)
def test_a_complete_output_with_other_settings_is_refused(
    version: str, values: dict[str, object], words: str, whole: bytes, tmp_path: Path
) -> None:
    changed = Settings("classify", version, {**SETTINGS.values, **values})
    with pytest.raises(OutputError, match=words):
        run(tmp_path / "whole.jsonl", 12, settings=changed, resume=True)


def test_a_list_that_grew_at_its_end_is_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    broken_off(out, 5, 3)
    assert run(out, 8, resume=True).done == 8


def test_a_damaged_header_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    broken_off(out, 5, 3)
    (tmp_path / "out.jsonl.partial" / "job.json").write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        run(out, 5, resume=True)


def test_two_processes_can_not_write_one_output(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    program = f"""
from pathlib import Path
from videomae_cli.errors import OutputError
from videomae_cli.jobs import Job
try:
    with Job(Path({str(out)!r}), format="jsonl", overwrite=True): print("in")
except OutputError as error: print(error)
"""
    with Job(out, format="jsonl") as job:
        job.begin(SETTINGS, names(2))
        job.append(record(0))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert "another process is writing" in done.stdout
        job.append(record(1))
        job.finish()
    assert len(out.read_text().splitlines()) == 2


def test_a_job_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    with Job(tmp_path / "out.jsonl", format="jsonl"):
        pass  # the model could not be loaded, say
    with Job(tmp_path / "out.jsonl", format="jsonl") as job:
        job.begin(SETTINGS, names(3))  # stopped before the first file
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_a_folder_or_nowhere_is_refused(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "no" / "out.jsonl", tmp_path / ("x" * 250 + ".jsonl")):
        with pytest.raises(OutputError), Job(out, format="jsonl"):
            pass


def test_a_full_disk_keeps_what_was_written(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC half way through a line, as a full disk gives it."""
    out = tmp_path / "out.jsonl"
    real, left = Journal.append, [4]

    def append(journal: Journal, entry: dict[str, object]) -> None:
        if left[0] == 0:
            with (out.with_name("out.jsonl.partial") / "records.jsonl").open("ab") as stream:
                stream.write(b'{"schema_version": 1, "ind')
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        real(journal, entry)

    monkeypatch.setattr(Journal, "append", append)
    with pytest.raises(OutputError, match=r"No space left.*4 results are kept in .*resume=True"):
        run(out, 12)
    monkeypatch.undo()
    run(out, 12, resume=True)
    assert out.read_bytes() == whole

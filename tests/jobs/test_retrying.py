"""Failures are done again in their place, whatever interrupts that, and all other records stay as they are to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jobrecords import LAYOUT, OUTPUTS, SETTINGS, format_of, names, record, vector

from videomae_cli.errors import DecoderCrashError, DecoderKilledError, OptionError, OutputError, failure_kinds
from videomae_cli.jobs import Job, JobTally, Settings
from videomae_cli.jobs.retry import Retry
from videomae_cli.results import Failure

COUNT = 12


def run(
    out: Path,
    *,
    kinds: str | None = None,
    failing: Callable[[int], bool] = lambda place: False,
    stop: int | None = None,
    settings: Settings = SETTINGS,
) -> JobTally:
    """A job that goes on, or begins; `stop`: how many records it makes before it breaks off."""
    vectors = "vectors" in out.name
    retry = Retry(kinds, resume=True)
    resume = out.exists() or out.with_name(f"{out.name}.partial").exists()
    with Job(out, format=format_of(out), resume=resume) as job:
        tally = job.begin(
            settings, names(COUNT), vectors=LAYOUT if vectors else None, counts=lambda record: record not in retry
        )
        for number, place in enumerate(tally.left(COUNT)):
            if number == stop:
                raise InterruptedError
            job.append((vector if vectors else record)(place, failed=failing(place)))
        job.finish()
        return tally


@OUTPUTS
def test_a_complete_output_is_opened_again(name: str, tmp_path: Path) -> None:
    out, whole = tmp_path / name, tmp_path / f"whole-{name}"
    run(whole)
    run(out, failing=lambda place: place % 4 == 1)
    before = out.read_bytes()
    assert run(out, kinds="timeout,fetch").done == COUNT
    assert out.read_bytes() == before  # of these kinds there is none
    for stop in (0, 1, 1):
        with pytest.raises(InterruptedError):
            run(out, kinds="decode", stop=stop)
        assert out.read_bytes() == before  # until the new one is whole
    with Job(out, format=format_of(out), resume=True) as job:
        assert job.failures(Retry("decode", resume=True)) == {"decode": 1}
    tally = run(out, kinds="decode")
    assert (tally.done, tally.failed.total(), len(tally.again)) == (COUNT, 0, 1)
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, whole.name])


@OUTPUTS
def test_one_that_broke_off_goes_on_with_the_rest(name: str, tmp_path: Path) -> None:
    out, whole = tmp_path / name, tmp_path / f"whole-{name}"
    run(whole)
    with pytest.raises(InterruptedError):
        run(out, failing=lambda place: place in (0, 3), stop=7)
    with pytest.raises(InterruptedError):
        run(out, kinds="all", failing=lambda place: place == 3, stop=3)  # 0, 3 and 7
    assert run(out, kinds="all").done == COUNT
    assert out.read_bytes() == whole.read_bytes()


def test_what_fails_again_is_a_failure_still(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    run(out, failing=lambda place: place in (2, 5))
    before = out.read_bytes()
    assert run(out, kinds="all", failing=lambda place: True).failed == {"decode": 2}
    assert out.read_bytes() == before
    with pytest.raises(InterruptedError):
        run(out, kinds="all", stop=1)
    assert run(out).failed == {"decode": 1}  # what was done again counts without being asked for again


def test_a_table_can_not_be_opened_again(tmp_path: Path) -> None:
    with Job(tmp_path / "a.txt", format="table") as job:
        job.begin(SETTINGS, names(1))
        job.append(record(0))
        job.finish()
    with Job(tmp_path / "a.txt", format="table", resume=True) as job, pytest.raises(OutputError, match="read back"):
        job.begin(SETTINGS, names(1))


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ("table", "a text table can't be read back, only jsonl, json, csv and parquet: give such an output instead"),
        (
            "timeline-table",
            "a text table can't be read back, only jsonl, json and parquet: give such an output instead",
        ),
        (
            "timeline-csv",
            "the CSV of a timeline can't be read back, only jsonl, json and parquet: give such an output instead",
        ),
    ],
)
def test_formats_that_can_t_be_opened_again_name_those_that_can(format: str, words: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("complete")
    job = Job(out, format=format, resume=True)
    with pytest.raises(OutputError, match=words), job:
        job.begin(SETTINGS, names(COUNT))
    with pytest.raises(OutputError, match=words), job:  # as --dry-run asks
        job.failures(Retry("all", resume=True))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "complete")]


def test_csv_for_people_and_csv_with_all_columns_are_not_mixed(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    for made, asked, words in (("csv", "csv-wide", "leave out wide=True"), ("csv-wide", "csv", "give wide=True")):
        out.unlink(missing_ok=True)
        for format in (made, asked):
            with Job(out, format=format, resume=out.exists()) as job:
                if format == asked:
                    before = out.read_bytes()
                    with pytest.raises(OutputError, match=words):
                        job.begin(SETTINGS, names(1))
                    assert out.read_bytes() == before
                    continue
                job.begin(SETTINGS, names(1))
                job.append(record(0))
                job.finish()


def test_a_csv_for_people_is_of_its_list_whatever_the_settings(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    run(out, failing=lambda place: place == 2)
    tally = run(out, settings=Settings("classify", "0.1.0", {"model": "other"}))
    assert (tally.done, tally.failed, tally.unknown_settings) == (COUNT, {"decode": 1}, True)
    with Job(out, format="csv", resume=True) as job:
        tally = job.begin(SETTINGS, [*names(COUNT - 1), "other.mp4"])
        assert (tally.gone, tally.left(COUNT), tally.unknown_settings) == (1, [COUNT - 1], True)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    run(out, failing=lambda place: place == 2)
    before = out.read_bytes()
    with pytest.raises(OutputError, match="other settings"):
        run(out, kinds="all", settings=Settings("classify", "0.1.0", {"model": "other"}))
    assert out.read_bytes() == before
    with pytest.raises(InterruptedError):
        run(out, kinds="all", stop=0)
    out.unlink()
    with pytest.raises(OutputError, match="is gone"):
        run(out, kinds="all")


def test_unknown_kinds_are_told_the_known_ones() -> None:
    for asked in ("fetsch", "timeout,fetsch", "", ",", "ALL"):
        with pytest.raises(OptionError, match=r"all or some of .*decode,.*fetch,.*timeout"):
            Retry(asked, resume=True)
    with pytest.raises(OptionError, match=r"^retry_errors .*give resume=True too$"):
        Retry("fetch", resume=False)
    assert {"changed", "decoder_crash", "fetch", "machine", "memory", "not_found", "timeout"} <= {*failure_kinds()}


def test_a_failure_says_whether_it_may_pass() -> None:
    killed, crashed = Failure.of(DecoderKilledError("killed")), Failure.of(DecoderCrashError("died"))
    assert (killed.kind, killed.retryable, crashed.kind, crashed.retryable) == ("decoder_crash", True, "decoder_crash", False)  # fmt: skip


@pytest.mark.parametrize("name", ["wide.csv", "a.parquet"])
def test_outputs_of_earlier_versions_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their tables have no column `error_retryable`."""
    from videomae_cli.writers import columns, csv_file, parquet

    out = tmp_path / name
    earlier = {column: kind for column, kind in columns.COLUMNS.items() if column not in columns.LATER}
    with monkeypatch.context() as patched:
        for module in (columns, csv_file, parquet):
            patched.setattr(module, "COLUMNS", earlier)
        run(out, failing=lambda place: place == 2)
    run(tmp_path / f"whole-{name}")
    run(out, kinds="decode")
    assert out.read_bytes() == (tmp_path / f"whole-{name}").read_bytes()


def test_json_lines_hold_it(tmp_path: Path) -> None:
    run(tmp_path / "a.jsonl", failing=lambda place: place == 2)
    errors = [json.loads(line)["error"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert errors[2] == {"kind": "decode", "message": "broken", "retryable": False}

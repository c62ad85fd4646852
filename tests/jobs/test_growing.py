"""A list that changes between two runs of a job: what is new is done, what is gone is kept, and no file is there twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobrecords import LAYOUT, OUTPUTS, SETTINGS, format_of, names, record, vector

from videomae_cli.errors import OutputError
from videomae_cli.jobs import Job, JobTally, Shard
from videomae_cli.jobs.retry import Retry
from videomae_cli.results import path_of
from videomae_cli.video import find_videos
from videomae_cli.writers import read_records


def run(
    out: Path,
    listed: Sequence[str],
    *,
    stop: int | None = None,
    shard: Shard | None = None,
    failing: str = "",
    kinds: str | None = None,
) -> JobTally:
    """A job over this list, of which each file's record depends on its name alone; goes on with an earlier one.

    stop: how many records it makes before it breaks off; failing: the file that fails.
    """
    part = shard.part_of(listed) if shard else None
    own = part.of(listed) if part else list(listed)
    retry = Retry(kinds, resume=True)
    vectors = "vectors" in out.name
    layout = replace(LAYOUT, shard=str(part.shard), listed=part.listed) if part else LAYOUT
    with Job(out, format=format_of(out), resume=True) as job:
        tally = job.begin(
            SETTINGS, own, part=part, vectors=layout if vectors else None, counts=lambda record: record not in retry
        )
        for number, place in enumerate(tally.left(len(own))):
            if number == stop:
                raise InterruptedError
            one = (vector if vectors else record)(int(Path(own[place]).stem), failed=own[place] == failing)
            stamp = SETTINGS.stamp(place, part)
            named = {"index": stamp.index, "path": own[place], "shard": stamp.shard}
            job.append({**one, **named, **({"list": stamp.listed} if part else {})})
        job.finish()
    return tally


def whole(folder: Path, name: str, listed: Sequence[str]) -> bytes:
    """What one unbroken run over a list writes."""
    (folder / "whole").mkdir(exist_ok=True)
    (folder / "whole" / name).unlink(missing_ok=True)
    run(folder / "whole" / name, listed)
    return (folder / "whole" / name).read_bytes()


def broken_off(out: Path, listed: Sequence[str], stop: int) -> None:
    with pytest.raises(InterruptedError):
        run(out, listed, stop=stop)


GROWN = ["90.mp4", *names(6)[:3], "91.mp4", *names(6)[3:], "92.mp4"]


@OUTPUTS
def test_new_files_are_done_and_come_where_they_belong(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    run(out, names(6))
    before = out.read_bytes()
    for stop in (0, 1, 1):
        broken_off(out, GROWN, stop)
        assert out.read_bytes() == before, "it stays until the new one is complete"
    tally = run(out, GROWN)
    assert (tally.done, tally.gone) == (9, 0)
    assert out.read_bytes() == whole(tmp_path, name, GROWN)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, "whole"])
    assert run(out, GROWN).left(9) == []


@OUTPUTS
def test_a_list_may_grow_while_a_job_is_broken_off(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    broken_off(out, names(6), 4)
    broken_off(out, GROWN, 2)
    run(out, [*GROWN, "93.mp4"])
    assert out.read_bytes() == whole(tmp_path, name, [*GROWN, "93.mp4"])


@pytest.mark.parametrize("name", ["a.jsonl", "wide.csv", "vectors.npz", "vectors.parquet"])
def test_failures_of_a_complete_output_are_done_again_with_what_is_new(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    run(out, names(6), failing="2.mp4")
    with pytest.raises(InterruptedError):
        run(out, names(6), kinds="decode", stop=0)  # it is about to do 2.mp4 again when the list grows
    with pytest.raises(InterruptedError):
        run(out, GROWN, kinds="decode", stop=2)
    run(out, GROWN, kinds="decode")
    assert out.read_bytes() == whole(tmp_path, name, GROWN)


def test_what_is_no_longer_listed_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    run(out, names(6))
    before = out.read_bytes()
    tally = run(out, names(6)[2:])
    assert (tally.done, tally.gone, tally.left(4), out.read_bytes()) == (4, 2, [], before)
    tally = run(out, [*names(6)[2:], "90.mp4"])
    assert (tally.done, tally.gone) == (5, 2)
    found = [(entry["index"], entry["path"]) for entry in read_records(out)]
    assert found == list(enumerate([*names(6)[2:], "90.mp4", "0.mp4", "1.mp4"]))
    run(out, [*names(6), "90.mp4", "91.mp4"])  # they are back
    assert out.read_bytes() == whole(tmp_path, "a.jsonl", [*names(6), "90.mp4", "91.mp4"])


def test_records_of_other_lists_that_come_in_order_get_the_places_of_this_one(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    run(out, ["0.mp4"])
    broken_off(out, ["2.mp4", "1.mp4"], 1)
    run(out, ["0.mp4", "2.mp4"])
    assert [(path_of(one), one["index"]) for one in read_records(out)] == [("0.mp4", 0), ("2.mp4", 1)]


lists = st.permutations(names(7)).flatmap(lambda order: st.integers(0, 7).map(lambda count: order[:count]))


@settings(max_examples=20)
@given(st.lists(st.tuples(lists, st.none() | st.integers(0, 4)), min_size=1, max_size=5), lists)
def test_whatever_happened_before_each_file_is_there_once(
    runs: list[tuple[list[str], int | None]], last: list[str]
) -> None:
    with TemporaryDirectory() as folder:
        out, seen = Path(folder) / "a.jsonl", set()
        for listed, stop in [*runs, (last, None)]:
            try:
                run(out, listed, stop=stop)
            except InterruptedError:
                continue
            finally:
                seen |= set(listed)
        records = list(read_records(out))
        paths = [path_of(one) for one in records]
        assert len(set(paths)) == len(paths)
        assert set(last) <= set(paths) <= seen
        assert [one["index"] for one in records] == sorted({one["index"] for one in records})
        assert all(one["predictions"] == record(0)["predictions"] for one in records)


@pytest.mark.parametrize(
    "name", ["a.jsonl", "wide.csv", "a.parquet", "vectors.npz", "vectors.jsonl", "vectors.parquet"]
)
def test_shards_of_a_list_that_grew_join_once_all_have_seen_it(name: str, tmp_path: Path) -> None:
    from videomae_cli.jobs.joining import IncompleteError, merge

    before, after = names(12), ["90.mp4", *names(12)[1:], "91.mp4"]
    outs = [tmp_path / f"{number}-{name}" for number in (1, 2, 3)]
    for number, out in enumerate(outs, 1):
        run(out, before if number < 3 else after, shard=Shard(number, 3))
    options = {"wide": name == "wide.csv"}
    with pytest.raises(IncompleteError):
        merge(outs, tmp_path / name, **options)
    for number, out in enumerate(outs, 1):
        run(out, after, shard=Shard(number, 3))
    joined = merge(outs, tmp_path / name, **options)
    assert (joined.complete, joined.listed) == (True, 13)
    assert joined.gone == joined.files - 13 <= 1, "0.mp4, unless it was the third shard's"


def test_the_list_of_a_job_that_broke_off_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds the folder can go on with the very list, whatever is in the folder of videos by then."""
    monkeypatch.chdir(tmp_path)
    odd = ["1.mp4", "a b.mp4", "#c.mp4", "two\nlines.mp4", "\udcff.mp4", '"q".mp4']
    with Job(tmp_path / "a.jsonl", format="jsonl") as job:
        job.begin(SETTINGS, odd)
        job.append(record(0) | {"path": "1.mp4"})
    assert [video.path for video in find_videos(["@a.jsonl.partial/list.parquet"])] == odd


def test_a_shard_of_an_earlier_version_is_not_gone_on_with(tmp_path: Path) -> None:
    """It has other files than the shard has now."""
    out = tmp_path / "a.jsonl"
    out.write_text(json.dumps(record(0) | {"shard": "1/2"}) + "\n")
    before = out.read_bytes()
    with pytest.raises(OutputError, match=r"earlier version .* can be merged, but not resumed: overwrite=True starts"):
        run(out, names(12), shard=Shard(1, 2))
    assert out.read_bytes() == before
    with pytest.raises(InterruptedError):
        run(tmp_path / "b.jsonl", names(12), stop=1, shard=Shard(1, 2))
    header = tmp_path / "b.jsonl.partial" / "job.json"
    header.write_text(header.read_text().replace('"list"', '"unknown"'))
    with pytest.raises(OutputError, match="earlier version"):
        run(tmp_path / "b.jsonl", names(12), shard=Shard(1, 2))

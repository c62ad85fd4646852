"""Lists split and joined: every file once, in order, and what is missing is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobrecords import SETTINGS, names, record

from videomae_cli.errors import OptionError, OutputError
from videomae_cli.jobs import Joined, Settings, Shard, merge_records
from videomae_cli.results import Record

Sources = list[tuple[Path, Iterator[Record]]]


def outputs(total: int, count: int) -> list[list[Record]]:
    """What the shards of a job write, in order of their numbers."""
    shards = [Shard(number, count) for number in range(1, count + 1)]
    return [[record(place, shard=s) for place in range(len(s.of(range(total))))] for s in shards]


def merged(parts: list[list[Record]]) -> tuple[list[Record], Joined]:
    joined = Joined()
    sources: Sources = [(Path(f"{number}.jsonl"), iter(part)) for number, part in enumerate(parts, 1)]
    return list(merge_records(sources, joined)), joined


@given(st.integers(0, 40), st.integers(1, 12), st.randoms())
def test_any_split_joins_to_the_whole(total: int, count: int, random: object) -> None:
    parts = outputs(total, count)
    random.shuffle(parts)  # type: ignore[attr-defined]
    records, joined = merged(parts)
    assert [r["path"] for r in records] == names(total)
    assert joined.complete
    assert joined.files == total


@given(st.integers(2, 40), st.integers(1, 6), st.data())
def test_whatever_is_taken_away_is_missed_unless_it_is_the_end(total: int, count: int, data: st.DataObject) -> None:
    parts = outputs(total, count)
    gone = data.draw(st.sets(st.integers(0, total - 2), min_size=1))
    records, joined = merged([[r for r in part if r["index"] not in gone] for part in parts])
    assert [r["index"] for r in records] == [i for i in range(total) if i not in gone]
    assert not joined.complete
    if not joined.missing_shards:
        assert joined.missing == len(gone)


def test_gaps_are_named() -> None:
    parts = outputs(20, 2)
    parts[0] = [r for r in parts[0] if r["index"] not in (4, 6, 8)]
    parts[1] = [r for r in parts[1] if r["index"] < 17]
    _, joined = merged(parts)
    assert joined.gaps == ["5 to 9 in steps of 2", "18"]
    assert joined.missing == 4


def test_a_missing_shard_is_named() -> None:
    parts = outputs(20, 4)
    _, joined = merged([parts[0], parts[1], parts[3]])
    assert (joined.missing_shards, joined.missing) == (["3/4"], 0)
    # One of a list shorter than N may be empty, if it is there.
    assert merged(outputs(2, 4))[1].complete
    assert merged(outputs(2, 4)[:2])[1].missing_shards == ["3/4", "4/4"]


def test_what_is_given_twice_is_refused() -> None:
    parts = outputs(6, 2)
    with pytest.raises(OutputError, match="in two of the outputs"):
        merged([parts[0], parts[1], parts[0]])


def test_outputs_of_different_jobs_are_refused() -> None:
    other = Settings("classify", "0.1.0", {"model": "tiny", "top_k": 1})
    with pytest.raises(OutputError, match="fingerprint"):
        merged([outputs(6, 2)[0], [record(0, shard=Shard(2, 2), settings=other)]])
    with pytest.raises(OutputError, match="number of shards"):
        merged([outputs(6, 2)[0], outputs(6, 3)[1]])


def test_records_that_make_no_sense_are_refused() -> None:
    backwards = outputs(6, 1)[0][::-1]
    with pytest.raises(OutputError, match="not in order"):
        merged([backwards])
    wrong = outputs(6, 2)
    wrong[0][1]["index"] = 3
    with pytest.raises(OutputError, match="does not belong"):
        merged(wrong)
    for index, shard in (("x", None), (None, None), (0, "nonsense"), (0, "3/2")):
        with pytest.raises(OutputError, match="this version"):
            merged([[{**record(0), "index": index, "shard": shard}]])


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "a/b", "-1/3", "1/0", "1/2/3", "²/3"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(OptionError):
        Shard.parse(text)


def test_fingerprints_see_every_setting() -> None:
    assert Settings("embed", "0.1.0", SETTINGS.values).fingerprint != SETTINGS.fingerprint
    assert len(SETTINGS.fingerprint) == 16

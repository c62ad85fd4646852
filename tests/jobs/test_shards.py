"""Lists split and joined: every file once, in order, and what is missing is named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobrecords import SETTINGS, names, record

from videomae_cli.errors import OptionError, OutputError
from videomae_cli.jobs import Joined, Settings, Shard, merge_records
from videomae_cli.jobs.shards import hash_of
from videomae_cli.results import Record

Sources = list[tuple[Path, Callable[[], Iterator[Record]]]]


def outputs(total: int, count: int) -> list[list[Record]]:
    """What the shards of a job write, in order of their numbers."""
    return [shard_of(names(total), number, count) for number in range(1, count + 1)]


def shard_of(listed: Sequence[str], number: int, count: int) -> list[Record]:
    """What a shard of this list writes."""
    part = Shard(number, count).part_of(listed)
    return [record(place, part=part) | {"path": name} for place, name in enumerate(part.of(listed))]


def by_position(total: int, count: int) -> list[list[Record]]:
    """What the shards of an earlier version wrote, of which shard I of N had every N-th file."""
    return [
        [record(place) | {"shard": f"{number}/{count}"} for place in range(number - 1, total, count)]
        for number in range(1, count + 1)
    ]


def merged(parts: list[list[Record]]) -> tuple[list[Record], Joined]:
    joined = Joined()
    sources: Sources = [(Path(f"{number}.jsonl"), partial(iter, part)) for number, part in enumerate(parts, 1)]
    return list(merge_records(sources, joined)), joined


@pytest.mark.parametrize("split", [outputs, by_position])
@given(st.integers(0, 40), st.integers(1, 12), st.randoms())
def test_any_split_joins_to_the_whole(split: Any, total: int, count: int, random: Any) -> None:
    parts = split(total, count)
    random.shuffle(parts)
    records, joined = merged(parts)
    assert [(r["index"], r["path"]) for r in records] == list(enumerate(names(total)))
    assert joined.complete
    assert joined.files == total


@given(st.integers(1, 40), st.integers(1, 6), st.data())
def test_whatever_is_taken_away_is_missed(total: int, count: int, data: st.DataObject) -> None:
    parts = outputs(total, count)
    gone = data.draw(st.sets(st.integers(0, total - 1), min_size=1, max_size=total - 1) if total > 1 else st.just({0}))
    records, joined = merged([[r for r in part if r["index"] not in gone] for part in parts])
    assert [r["index"] for r in records] == [i for i in range(total) if i not in gone]
    if records:  # nothing says of which list nothing is
        assert not joined.complete
        assert joined.missing == (0 if joined.missing_shards else len(gone))


@given(st.integers(2, 40), st.integers(1, 6), st.data())
def test_in_outputs_of_earlier_versions_all_but_the_end_is_missed(total: int, count: int, data: st.DataObject) -> None:
    parts = by_position(total, count)
    gone = data.draw(st.sets(st.integers(0, total - 2), min_size=1))
    records, joined = merged([[r for r in part if r["index"] not in gone] for part in parts])
    assert [r["index"] for r in records] == [i for i in range(total) if i not in gone]
    assert not joined.complete
    if not joined.missing_shards:
        assert joined.missing == len(gone)


def test_gaps_are_named() -> None:
    parts = by_position(20, 2)
    parts[0] = [r for r in parts[0] if r["index"] not in (4, 6, 8)]
    parts[1] = [r for r in parts[1] if r["index"] < 17]
    _, joined = merged(parts)
    assert joined.gaps == ["5 to 9 in steps of 2", "18"]
    assert joined.missing == 4
    _, joined = merged([[r for r in part if r["index"] not in (4, 5, 8, 19)] for part in outputs(20, 2)])
    assert (joined.missing, joined.gaps) == (4, ["5 to 6", "9", "20"])


@pytest.mark.parametrize("split", [outputs, by_position])
def test_a_missing_shard_is_named(split: Any) -> None:
    parts = split(20, 4)
    for gone in range(4):
        _, joined = merged(parts[:gone] + parts[gone + 1 :])
        assert (joined.missing_shards, joined.missing) == ([f"{gone + 1}/4"], 0)
    # Some have no file of a list shorter than N, and are no loss.
    assert merged(split(2, 4))[1].complete
    assert merged([part for part in outputs(2, 4) if part])[1].complete
    assert merged(by_position(2, 4)[:2])[1].missing_shards == ["3/4", "4/4"]


@pytest.mark.parametrize("split", [outputs, by_position])
def test_what_is_given_twice_is_refused(split: Any) -> None:
    parts = split(6, 2)
    with pytest.raises(OutputError, match=r"give each shard once"):
        merged([parts[0], parts[1], parts[0]])


# What happens to a list after the first shards have been done -> what it is for the others.
CHANGES = {
    "one is added": lambda listed: ["!first.mp4", *listed],
    "some are added": lambda listed: [*listed, "a.mp4", "b.mp4", "c.mp4"],
    "one is removed": lambda listed: listed[1:],
    "one is renamed": lambda listed: ["new.mp4", *listed[1:]],
    "all are others": lambda listed: [f"x{name}" for name in listed],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("before", range(1, 4))
def test_a_list_that_changes_between_shards_is_noticed(change: str, before: int) -> None:
    first, then = names(60), CHANGES[change](names(60))
    parts = [shard_of(first if number <= before else then, number, 4) for number in range(1, 5)]
    records, joined = merged(parts)
    assert not joined.complete
    ((files, shards),) = joined.stale
    assert (joined.listed, files) == (max(len(first), len(then)), min(len(first), len(then)))
    if len(first) != len(then):
        assert shards == [f"{n}/4" for n in range(1, 5) if (n <= before) == (len(first) < len(then))]
    paths = [r["path"] for r in records]
    assert len(set(paths)) == len(paths), "no file twice"
    assert [r["index"] for r in records] == sorted({r["index"] for r in records})
    # The first shards done again are the whole.
    records, joined = merged([shard_of(then, number, 4) for number in range(1, 5)])
    assert joined.complete
    assert [r["path"] for r in records] == then


def test_files_keep_their_shard_whatever_joins_them() -> None:
    listed = names(60)
    for number in range(1, 5):
        own = Shard(number, 4).part_of(listed).of(listed)
        grown = ["0.avi", *listed[:30], "a.mp4", *listed[30:]]
        assert [name for name in Shard(number, 4).part_of(grown).of(grown) if name in listed] == own
        assert 5 <= len(own) <= 25


def test_a_list_in_another_order_is_the_same_list() -> None:
    listed = names(30)
    parts = [shard_of(listed[::-1] if number == 2 else listed, number, 3) for number in range(1, 4)]
    records, joined = merged(parts)
    assert joined.complete
    assert sorted(r["path"] for r in records) == sorted(listed)
    assert len({r["index"] for r in records}) == 30, "an index is never given twice"


def test_a_hash_is_the_same_everywhere() -> None:
    """Shards of one job run on several machines and Pythons: these numbers never change."""
    assert [hash_of(name) for name in ("a.mp4", "sub/a.mp4", "caf\u00e9.mp4")] == [
        int.from_bytes(hashlib.sha256(raw).digest()[:8], "big") for raw in (b"a.mp4", b"sub/a.mp4", b"caf\xc3\xa9.mp4")
    ]
    assert hash_of("a.mp4") == 0xE6D48EABD560BC60
    assert hash_of("./a.mp4") == hash_of(".//a.mp4") == hash_of("a.mp4")
    assert hash_of("cafe\u0301.mp4") == hash_of("caf\u00e9.mp4")
    assert hash_of("\udcff.mp4") != hash_of("\ud800.mp4")


def test_outputs_of_different_jobs_are_refused() -> None:
    other = Settings("classify", "0.1.0", {"model": "tiny", "top_k": 1})
    with pytest.raises(OutputError, match="fingerprint"):
        merged([outputs(6, 2)[0], [record(0, part=Shard(2, 2).part_of(names(6)), settings=other)]])
    with pytest.raises(OutputError, match="number of shards"):
        merged([outputs(6, 2)[0], outputs(6, 3)[1]])
    with pytest.raises(OutputError, match="way to split the list is by position, not by name"):
        merged([outputs(6, 2)[0], by_position(6, 2)[1]])


def test_records_that_make_no_sense_are_refused() -> None:
    backwards = outputs(6, 1)[0][::-1]
    with pytest.raises(OutputError, match="not in order"):
        merged([backwards])
    wrong = by_position(6, 2)
    wrong[0][1]["index"] = 3
    with pytest.raises(OutputError, match="does not belong"):
        merged(wrong)
    for index, shard, listed in (
        ("x", None, None),
        (None, None, None),
        (0, "nonsense", None),
        (0, "3/2", None),
        (0, "1/2", "x"),
        (0, "1/2", 7.5),
        (0, "1/2", ["2"]),
    ):
        with pytest.raises(OutputError, match="this version"):
            merged([[{**record(0), "index": index, "shard": shard, "list": listed}]])


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "a/b", "-1/3", "1/0", "1/2/3", "²/3"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(OptionError):
        Shard.parse(text)


def test_fingerprints_see_every_setting() -> None:
    assert Settings("embed", "0.1.0", SETTINGS.values).fingerprint != SETTINGS.fingerprint
    assert len(SETTINGS.fingerprint) == 16


def test_of_a_clusters_folder_one_file_is_open_at_a_time() -> None:
    """Hundreds of them side by side would take gigabytes."""
    now: set[str] = set()
    most = 0

    def opened(name: str, places: range) -> Iterator[Record]:
        nonlocal most
        now.add(name)
        most = max(most, len(now))
        yield from map(record, places)
        now.remove(name)

    parts = [
        (
            Path(f"out/part-{number:05}-of-00004.parquet"),
            partial(opened, str(number), range(3 * number, 3 * number + 3)),
        )
        for number in (2, 0, 3, 1)
    ]
    joined = Joined()
    assert [one["index"] for one in merge_records(parts, joined)] == list(range(12))
    assert (joined.complete, most, now) == (True, 1, set())

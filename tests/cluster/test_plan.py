"""How a list is cut: nothing left out, nothing twice, whatever the numbers; and what earlier work covers."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomae_cli.cluster.plan import ClusterPlan, Pieces, bundled, make_plan, ranges_left

plans = st.builds(
    make_plan,
    st.integers(0, 3000),
    batch=st.integers(1, 64),
    view_bytes=st.sampled_from([16 * 32 * 32 * 3, 16 * 224 * 224 * 3]),
    file_bytes=st.sampled_from([1, 4096, 5_000_000, 2**40]),
    shard_files=st.none() | st.integers(1, 500),
)


@given(plans)
def test_tasks_and_shards_are_the_list_in_order(plan: ClusterPlan) -> None:
    everything = list(range(plan.files))
    assert [place for number in range(plan.tasks) for place in plan.task_files(number)] == everything
    assert [place for number in range(plan.shards) for place in plan.shard_files(number)] == everything
    for number in range(plan.tasks):
        files = plan.task_files(number)
        assert {plan.shard_of(place) for place in files} == {plan.shard_of(files.start)}, "a task is in one shard"
    assert ClusterPlan.from_dict(plan.as_dict()) == plan
    names = [plan.shard_name(number) for number in range(plan.shards)]
    assert names == sorted(names)
    assert plan.group % plan.batch == 0


@given(plans, st.randoms())
def test_what_is_cut_at_random_is_found_whole(plan: ClusterPlan, chance: random.Random) -> None:
    """As pieces are: stretches of a task; some of them done twice, cut elsewhere."""
    pieces = Pieces()
    for number in range(plan.tasks):
        files = plan.task_files(number)
        for _ in range(chance.randint(1, 2)):
            cuts = sorted({files.start, files.stop, *(chance.randint(files.start, files.stop) for _ in range(3))})
            for first, stop in pairwise(cuts):
                pieces.add(first, stop)
    assert ranges_left(plan, [], pieces) == []
    for number in range(plan.shards):
        chain = pieces.chain(plan.shard_files(number))
        assert chain is not None
        assert [place for piece in chain for place in range(*piece)] == list(plan.shard_files(number))


def test_a_gap_is_seen_and_a_shard_counts_for_its_tasks() -> None:
    plan = ClusterPlan(files=10, task=2, shard=4, batch=1, group=4)
    pieces = Pieces([(4, 6), (6, 7)])
    assert ranges_left(plan, [0], pieces) == [range(7, 8), range(8, 10)]
    assert pieces.chain(range(4, 8)) is None
    pieces.forget(range(6, 8))
    assert list(pieces.within(range(4, 10))) == [(4, 6)]


@pytest.mark.parametrize(
    ("gpus", "batch", "least"), [(True, 64, 256), (True, 10, 256), (False, 4, 32), (True, 210, 256)]
)
def test_groups_go_by_bytes(gpus: bool, batch: int, least: int) -> None:
    """Not by the batch: eleven milliseconds for each group limit a job of ten million clips, whatever the batch."""
    view = 16 * 224 * 224 * 3
    plan = make_plan(10_000_000, batch=batch, view_bytes=view, file_bytes=3072, gpus=gpus)
    assert least * 2**20 <= plan.group * view < least * 2**20 + batch * view
    assert plan.group % batch == 0


def test_pieces_that_lead_nowhere_are_not_taken() -> None:
    """Of two runs that cut a task differently, one may have ended early: the chain goes back and takes the other."""
    pieces = Pieces([(0, 3), (3, 5), (0, 2), (2, 6)])
    assert pieces.chain(range(6)) == [(0, 2), (2, 6)]


@given(st.sets(st.tuples(st.integers(0, 12), st.integers(1, 5))), st.integers(1, 12))
def test_with_what_is_left_there_is_a_chain(cuts: set[tuple[int, int]], files: int) -> None:
    pieces = Pieces((first, first + count) for first, count in cuts)
    gaps = pieces.gaps(range(files))
    assert (gaps == []) == (pieces.chain(range(files)) is not None)
    for gap in gaps:
        assert 0 <= gap.start < gap.stop <= files
        pieces.add(gap.start, gap.stop)
    assert pieces.chain(range(files)) is not None


_CUTS = st.sets(st.tuples(st.integers(0, 12), st.integers(1, 5)))
_STRETCHES = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda ends: range(*sorted(ends)))


@given(_CUTS, _CUTS, _STRETCHES, _STRETCHES)
def test_pieces_are_found_where_they_begin_until_they_are_forgotten(
    cuts: set[tuple[int, int]], later: set[tuple[int, int]], asked: range, forgotten: range
) -> None:
    pieces = Pieces(cuts)
    assert list(pieces.within(asked)) == sorted(cut for cut in cuts if cut[0] in asked)
    pieces.forget(forgotten)
    for cut in later:
        pieces.add(*cut)
    there = {cut for cut in cuts if cut[0] not in forgotten} | later
    assert list(pieces.within(asked)) == sorted(cut for cut in there if cut[0] in asked)


def test_small_ranges_travel_together() -> None:
    ranges = [range(0, 4), range(5, 6), range(8, 9), range(9, 20), range(30, 31)]
    assert list(bundled(ranges, 4)) == [[range(0, 4)], [range(5, 6), range(8, 9)], [range(9, 20)], [range(30, 31)]]
    assert list(bundled([], 4)) == []


@pytest.mark.parametrize("change", [{"task": 0}, {"shard": 3}, {"files": -1}, {"group": "many"}, {"batch": None}])
def test_a_plan_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    values = {"files": 10, "task": 2, "shard": 4, "batch": 1, "group": 4} | change
    with pytest.raises((ValueError, TypeError)):
        ClusterPlan.from_dict(values)


def test_large_lists_have_neither_too_many_tasks_nor_too_many_shards() -> None:
    plan = make_plan(10_000_000, batch=33, view_bytes=16 * 224 * 224 * 3, file_bytes=4 * 768 * 4)
    assert (plan.task, plan.tasks) == (256, 39063)
    assert plan.shards == 611
    assert plan.group == 33, "a batch of a large model is as much as should travel together"

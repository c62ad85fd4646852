"""Clips of one source are one group, and a group is on one side of the split."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videomae_cli.datasets import Example, split_dataset
from videomae_cli.datasets.examples import make_dataset
from videomae_cli.datasets.grouping import source_of, with_groups
from videomae_cli.errors import OptionError


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("d/v_Archery_g01_c03.avi", "v_Archery_g01"),
        ("d/e/abcdefghij-_000123_000133.mp4", "abcdefghij-"),
        ("d/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "April_09_brush_hair"),
        ("d/match-clip12.mp4", "d/match"),
        ("d/match_part2.mp4", "d/match"),
        ("d/match seg 4.mp4", "d/match"),
        ("d/match.Shot-5.mp4", "d/match"),
        ("d/match_c07.mp4", "d/match"),
        ("d/match (3).mp4", "d/match"),
        ("d/IMG_0042.mp4", None),
        ("d/clip3.mp4", None),
        ("d/paperclip12.mp4", None),
        ("d/abc_000123_000133.mp4", None),
        ("d/match_part.mp4", None),
        ("d/" + "_" * 5000 + "clip.mp4", None),
    ],
)
def test_what_a_name_says(name: str, source: str | None) -> None:
    assert source_of(name) == (source or name)


def one(path: str, label: str = "x", group: str = "", **more: float) -> Example:
    return Example(path, (label,), None, group, **more)


def groups(*examples: Example) -> list[str]:
    return [example.group for example in with_groups(examples)]


def test_a_class_that_would_be_one_group_is_taken_apart() -> None:
    assert groups(one("m_part1.mp4"), one("m_part2.mp4")) == ["m_part1.mp4", "m_part2.mp4"]
    assert groups(one("m_part1.mp4"), one("m_part2.mp4"), one("n.mp4")) == ["m", "m", "n.mp4"]
    # Both classes of it: nothing could be held out of either.
    assert groups(one("m_part1.mp4", "x"), one("m_part2.mp4", "y")) == ["m_part1.mp4", "m_part2.mp4"]
    # One of them has other groups.
    assert groups(one("m_part1.mp4", "x"), one("m_part2.mp4", "y"), one("n.mp4", "y")) == ["m", "m", "n.mp4"]
    # As the data says is as the data says.
    assert groups(one("a.mp4", group="g"), one("b.mp4", group="g")) == ["g", "g"]


def test_several_labels_do_not_take_a_source_apart() -> None:
    both = [Example(f"m_part{n}.mp4", ("x", "y"), None, "") for n in (1, 2)]
    assert groups(*both, one("n.mp4", "x"), one("o.mp4", "y")) == ["m", "m", "n.mp4", "o.mp4"]


def test_groups_that_share_a_file_are_one() -> None:
    parts = [one("a.mp4", group="1", start=0, end=1), one("a.mp4", group="2", start=1, end=2), one("b.mp4", group="2")]
    assert groups(*parts, one("c.mp4", group="3")) == ["1", "1", "1", "3"]
    assert groups(one("a.mp4", start=0, end=1), one("a.mp4", start=1, end=2)) == ["a.mp4", "a.mp4"]


EXAMPLES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=60).map(
    lambda rows: [Example(f"d/{f}.mp4", (f"c{c}",), None, f"g{g}", float(i)) for i, (f, c, g) in enumerate(rows)]
)


@settings(max_examples=150)
@given(EXAMPLES, st.floats(0.05, 0.9), st.integers(0, 5), st.randoms(use_true_random=False))
def test_nothing_of_one_source_is_on_both_sides(
    examples: list[Example], fraction: float, seed: int, chance: random.Random
) -> None:
    data = make_dataset(with_groups(examples))
    train, val, rule = split_dataset(data, fraction=fraction, seed=seed)
    assert Counter(train) + Counter(val) == Counter(data.examples)
    assert not {e.group for e in train} & {e.group for e in val}
    assert not {e.path for e in train} & {e.path for e in val}
    assert {e.labels for e in train} == {e.labels for e in data.examples}
    mixed = list(data.examples)
    chance.shuffle(mixed)
    again = split_dataset(make_dataset(mixed), fraction=fraction, seed=seed)
    assert (set(again[0]), set(again[1]), again[2]) == (set(train), set(val), rule)


@settings(max_examples=100)
@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=8), min_size=1, max_size=5), st.integers(0, 5))
def test_every_class_of_two_groups_is_on_both_sides(sizes: list[list[int]], seed: int) -> None:
    examples = [
        Example(f"d/c{c}/{g}-{n}.mp4", (f"c{c}",), None, f"{c}/{g}")
        for c, of_class in enumerate(sizes)
        for g, size in enumerate(of_class)
        for n in range(size)
    ]
    train, val, _ = split_dataset(make_dataset(examples), seed=seed)
    held = {e.labels[0] for e in val}
    assert held == {f"c{c}" for c, of_class in enumerate(sizes) if len(of_class) > 1}
    assert {e.labels[0] for e in train} == {f"c{c}" for c in range(len(sizes))}


def test_a_fifth_of_each_class_by_a_seed_wherever_the_data_is() -> None:
    def data(root: str) -> list[Example]:
        return with_groups([one(f"{root}{c}/{n}.mp4", c) for c, count in (("x", 50), ("y", 20)) for n in range(count)])

    held = {}
    for root in ("data/", "./data/", "/somewhere/else/"):
        _, val, rule = split_dataset(make_dataset(data(root)), seed=3)
        assert Counter(e.labels[0] for e in val) == {"x": 10, "y": 4}
        assert rule == "20% of each class held out by seed 3"
        held[root] = {e.path.removeprefix(root) for e in val}
    assert held["data/"] == held["./data/"] == held["/somewhere/else/"]
    _, other, _ = split_dataset(make_dataset(data("data/")), seed=4)
    assert {e.path.removeprefix("data/") for e in other} != held["data/"]


def test_what_the_data_says_holds() -> None:
    parts = [Example(f"{n}.mp4", ("x",), s, f"{n}") for n, s in enumerate(("train", "val", "test", None))]
    train, val, rule = split_dataset(make_dataset(parts))
    assert ([e.path for e in train], [e.path for e in val], rule) == (
        ["0.mp4", "3.mp4"],
        ["1.mp4"],
        "split as the data says",
    )
    only = [Example(f"{n}.mp4", ("x",), "test" if n == 9 else "train", f"{n}") for n in range(10)]
    train, val, _ = split_dataset(make_dataset(only))
    assert len(val) == 2
    assert not any(e.split == "test" for e in (*train, *val))


def test_nothing_to_hold_out() -> None:
    assert split_dataset(make_dataset([one("a.mp4", group="a")]))[1:] == ((), "nothing held out")
    assert split_dataset(make_dataset([one("a.mp4", group="a"), one("b.mp4", group="b")]), fraction=0)[1] == ()
    for fraction in (1.0, -0.1, float("nan")):
        with pytest.raises(OptionError, match="at least 0 and less than 1"):
            split_dataset(make_dataset([one("a.mp4", group="a")]), fraction=fraction)

"""Which clips belong together, and what is held out: no source on both sides, every class on each where that can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videomae_cli.datasets import Dataset, Example, split_dataset
from videomae_cli.datasets.examples import make_dataset
from videomae_cli.datasets.grouping import source_of, with_groups


def clip(path: str, label: str | tuple[str, ...] = "x", split: str | None = None, group: str = "") -> Example:
    return Example(path, (label,) if isinstance(label, str) else label, split, group)


def groups_of(*examples: Example) -> list[str]:
    return [example.group for example in with_groups(examples)]


# --- groups -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ucf/Archery/v_Archery_g01_c03.avi", "v_Archery_g01"),
        ("test/v_Archery_g01_c11.mp4", "v_Archery_g01"),
        ("k400/ABCDEFGHIJK_000012_000022.mp4", "ABCDEFGHIJK"),
        ("k400/val/-B_defghi-K_000112_000122.mp4", "-B_defghi-K"),
        ("films/match-clip3.mp4", "films/match"),
        ("films/match_part2.mp4", "films/match"),
        ("films/match seg 4.mp4", "films/match"),
        ("films/match_shot5.mp4", "films/match"),
        ("films/match_Shot_005.mp4", "films/match"),
        ("films/match_c07.mp4", "films/match"),
        ("films/match (3).mp4", "films/match"),
        ("films/a.b-scene.12.mkv", "films/a.b"),
    ],
)
def test_a_name_tells_where_a_clip_comes_from(path: str, source: str) -> None:
    assert source_of(path) == source


@pytest.mark.parametrize(
    "path",
    [
        "IMG_0042.mp4",
        "films/0042.mp4",
        "films/clip3.mp4",
        "films/match.mp4",
        "films/abc12.mp4",
        "films/match3.mp4",
        "films/ABCDEFGHIJK_12_22.mp4",
        "films/ABC_000012_000022.mp4",
        "films/(3).mp4",
        "films/v_Archery_g01.mp4",
    ],
)
def test_other_names_stand_alone(path: str) -> None:
    assert source_of(path) == path


@pytest.mark.parametrize(
    "path", ["x/.clip3.mp4", "x/..part2.mp4", "x/. (3).mp4", "x/._c3.mp4", "x/-clip3.mp4", "x/ (1).mp4", ""]
)
def test_names_that_are_marks_alone_do_no_harm(path: str) -> None:
    assert isinstance(source_of(path), str)


def test_clips_of_one_source_are_a_group() -> None:
    got = groups_of(
        clip("a/match-clip1.mp4"), clip("a/match-clip2.mp4"), clip("a/final.mp4"), clip("b/match-clip3.mp4", "y")
    )
    assert got == ["a/match", "a/match", "a/final.mp4", "b/match"]


def test_clips_of_a_class_that_would_be_one_group_stand_alone() -> None:
    run = [clip(f"run/run ({n}).mp4", "run") for n in range(3)]
    jump = [clip(f"jump/{name}.mp4", "jump") for name in ("a-clip1", "a-clip2", "b-clip1")]
    got = groups_of(*run, *jump)
    assert got[:3] == [example.path for example in run]
    assert got[3:] == ["jump/a", "jump/a", "jump/b"]


def test_groups_that_are_given_hold() -> None:
    got = groups_of(clip("a-clip1.mp4", group="g"), clip("a-clip2.mp4", group="h"), clip("b.mp4", group="g"))
    assert got == ["g", "h", "g"]
    assert groups_of(clip("a.mp4", group="g"), clip("b.mp4", group="g")) == ["g", "g"]


def test_parts_of_one_file_are_always_one_group() -> None:
    parts = [
        Example("d/film (1).mp4", (label,), None, "", start, start + 1)
        for label, start in zip("xyx", (0, 1, 2), strict=True)
    ]
    assert len(set(groups_of(*parts, clip("d/other.mp4", "y")))) == 2
    single = [Example("d/film (1).mp4", ("x",), None, "", start, start + 1) for start in (0, 1, 2)]
    assert len(set(groups_of(*single))) == 1


def test_grouping_changes_nothing_else() -> None:
    examples = [Example("a-clip1.mp4", ("x", "y"), "val", "", 1.0, 2.0), Example("b.mp4", (), None, "", None, None)]
    for before, after in zip(examples, with_groups(examples), strict=True):
        assert after.group
        assert (before.path, before.labels, before.split, before.start, before.end) == (
            after.path,
            after.labels,
            after.split,
            after.start,
            after.end,
        )


# --- splits -----------------------------------------------------------------------------------


@st.composite
def datasets(draw: st.DrawFn, *, splits: Sequence[str | None] = (None,), shared: bool = False) -> Dataset:
    """Classes of groups of clips. shared: groups may have several classes."""
    examples = []
    classes = draw(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=9), min_size=1, max_size=4))
    for label, sizes in enumerate(classes):
        for group, size in enumerate(sizes):
            for number in range(size):
                of = draw(st.integers(0, 8)) if shared else f"{label}.{group}"
                split = draw(st.sampled_from(splits))
                examples.append(Example(f"{label}/{group}-{number}.mp4", (f"class {label}",), split, f"group {of}"))
    return make_dataset(examples)


def groups_by_class(examples: Iterable[Example]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        for label in example.labels:
            found[label].add(example.group)
    return found


fractions = st.sampled_from([0.01, 0.1, 0.2, 0.25, 0.5, 0.8])
seeds = st.integers(0, 5)


@given(dataset=datasets(splits=(None, "train", "test"), shared=True), fraction=fractions, seed=seeds)
@settings(max_examples=100)
def test_no_group_is_on_both_sides(dataset: Dataset, fraction: float, seed: int) -> None:
    train, val, _ = split_dataset(dataset, fraction=fraction, seed=seed)
    assert not {e.group for e in train} & {e.group for e in val}
    assert sorted([*train, *val], key=lambda e: e.path) == sorted(
        (e for e in dataset.examples if e.split != "test"), key=lambda e: e.path
    )
    # Whatever is held out, what it shows is trained on.
    assert {label for e in val for label in e.labels} <= {label for e in train for label in e.labels}


@given(dataset=datasets(), fraction=fractions, seed=seeds)
@settings(max_examples=100)
def test_every_class_of_two_groups_is_on_both_sides(dataset: Dataset, fraction: float, seed: int) -> None:
    train, val, _ = split_dataset(dataset, fraction=fraction, seed=seed)
    trained, held = groups_by_class(train), groups_by_class(val)
    for label, groups in groups_by_class(dataset.examples).items():
        assert trained[label]
        assert bool(held[label]) == (len(groups) > 1), label


@given(dataset=datasets(shared=True), fraction=fractions, seed=seeds, chance=st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_the_order_of_the_data_changes_nothing(dataset: Dataset, fraction: float, seed: int, chance: object) -> None:
    mixed = list(dataset.examples)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    train, val, rule = split_dataset(dataset, fraction=fraction, seed=seed)
    again = split_dataset(make_dataset(mixed), fraction=fraction, seed=seed)
    assert (set(train), set(val), rule) == (set(again[0]), set(again[1]), again[2])


@given(dataset=datasets(), fraction=st.sampled_from([0.1, 0.2, 0.5]), seed=seeds)
@settings(max_examples=100)
def test_the_fraction_is_kept_as_groups_allow(dataset: Dataset, fraction: float, seed: int) -> None:
    _, val, _ = split_dataset(dataset, fraction=fraction, seed=seed)
    held = Counter(e.labels[0] for e in val)
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for example in dataset.examples:
        sizes[example.labels[0]][example.group] += 1
    for label, groups in sizes.items():
        wanted, largest = fraction * groups.total(), max(groups.values())
        if len(groups) > 1:
            assert held[label] <= max(wanted + largest / 2, min(groups.values()))
            if fraction < 0.5:  # at a half, the last group may have to stay in train
                assert held[label] >= min(wanted - largest / 2, groups.total() - largest)


@pytest.mark.parametrize(("clips", "fraction"), [(10, 0.2), (100, 0.2), (100, 0.5), (101, 0.1), (7, 0.3), (50, 0.05)])
def test_of_single_clips_the_fraction_is_kept_to_half_a_clip(clips: int, fraction: float) -> None:
    dataset = make_dataset(with_groups([clip(f"{label}/{n:03}.mp4", label) for label in "abc" for n in range(clips)]))
    _, val, rule = split_dataset(dataset, fraction=fraction)
    for _label, count in Counter(e.labels[0] for e in val).items():
        assert abs(count - fraction * clips) <= 0.5 + 1e-9
    assert len({e.labels for e in val}) == 3
    assert rule == f"{fraction:.0%} of each class held out by seed 0"


def test_another_seed_holds_out_others() -> None:
    dataset = make_dataset(with_groups([clip(f"{label}/{n}.mp4", label) for label in "ab" for n in range(20)]))
    held = {frozenset(e.path for e in split_dataset(dataset, seed=seed)[1]) for seed in range(5)}
    assert len(held) == 5


def test_data_that_is_added_leaves_most_of_the_split_alone() -> None:
    examples = [clip(f"{label}/{n}.mp4", label) for label in "ab" for n in range(50)]
    before = {e.path for e in split_dataset(make_dataset(with_groups(examples)))[1]}
    after = {e.path for e in split_dataset(make_dataset(with_groups([*examples, clip("a/new.mp4", "a")])))[1]}
    assert len(before - after) <= 2


def test_the_rule_says_that_sources_are_kept_whole() -> None:
    examples = [clip(f"{label}/m{m}-clip{n}.mp4", label) for label in "ab" for m in range(4) for n in range(3)]
    _, val, rule = split_dataset(make_dataset(with_groups(examples)), fraction=0.25, seed=3)
    assert rule == "25% of each class held out by seed 3, 8 sources kept whole"
    assert Counter(e.labels[0] for e in val) == {"a": 3, "b": 3}


@given(dataset=datasets(splits=(None, "train", "val", "test")), seed=seeds)
@settings(max_examples=60)
def test_what_is_given_as_val_is_val(dataset: Dataset, seed: int) -> None:
    train, val, rule = split_dataset(dataset, fraction=0.3, seed=seed)
    if dataset.of("val"):
        assert val == dataset.of("val")
        assert train == tuple(e for e in dataset.examples if e.split in (None, "train"))
        assert rule == "split as the data says"
    assert not {"test"} & {e.split for e in [*train, *val]}


def test_test_is_never_used_even_where_all_else_is_missing() -> None:
    dataset = make_dataset(with_groups([clip(f"{n}.mp4", split="test") for n in range(4)]))
    assert split_dataset(dataset)[:2] == ((), ())


def test_with_no_fraction_nothing_is_held_out() -> None:
    examples = with_groups([clip(f"{n}.mp4", "ab"[n % 2], "test" if n > 7 else None) for n in range(10)])
    train, val, rule = split_dataset(make_dataset(examples), fraction=0.0)
    assert (len(train), val, rule) == (8, (), "nothing held out")


def test_nothing_is_said_to_be_held_out_of_classes_of_one_clip() -> None:
    examples = [clip(f"{label}/1.mp4", label) for label in "abc"]
    train, val, rule = split_dataset(make_dataset(with_groups(examples)))
    assert (len(train), val, rule) == (3, (), "no class has two sources, one of which could be held out")


def test_a_single_source_is_all_trained_on() -> None:
    examples = [clip(f"{n}.mp4", "ab"[n % 2], group="one") for n in range(10)]
    assert split_dataset(make_dataset(examples)) == (tuple(examples), (), "nothing held out")


def test_several_labels_are_all_on_both_sides() -> None:
    labels = [("a",), ("a", "b"), ("b",), (), ("c", "a"), ("c",)] * 10
    examples = with_groups([clip(f"{n}.mp4", labels[n]) for n in range(60)])
    train, val, _ = split_dataset(make_dataset(examples))
    for side in (train, val):
        assert {label for e in side for label in e.labels} == {"a", "b", "c"}
        assert any(not e.labels for e in side)
    assert 6 <= len(val) <= 18


def test_clips_without_labels_are_split_too() -> None:
    examples = with_groups([clip(f"{n}.mp4", ()) for n in range(20)])
    train, val, _ = split_dataset(make_dataset(examples))
    assert (len(train), len(val)) == (16, 4)


@pytest.mark.parametrize("name", ["\udcff{}.mp4", "new\nline{}.mp4", "{}"])
def test_odd_names_are_split_like_others(name: str) -> None:
    examples = with_groups([clip("d/" + name.format(n), "ab"[n % 2]) for n in range(10)])
    train, val, _ = split_dataset(make_dataset(examples))
    assert (len(train), len(val)) == (8, 2)

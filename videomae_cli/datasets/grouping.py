"""Which clips belong together, and a split that keeps them together.

A clip's group, where the data gives none, is told by its name: what is left without the number of a clip. These count as one:
`v_Archery_g01_c03` (UCF101: group 1), `ABCDEFGHIJK_000012_000022` (Kinetics: the id), `match-clip3`, `match_part2`,
`match seg 4`, `match_shot5`, `match_c07`, `match (3)`. A bare number (`IMG_0042`) tells nothing: such files stand alone, and
so do those of a class that would be a single group. Parts of one file are always one group.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from videomae_cli.datasets.examples import Dataset, Example

_WITH_SOURCE = (
    re.compile(r"^(v_.+_g\d+)_c\d+$", re.IGNORECASE),  # UCF101: the class is in the name
    re.compile(r"^([\w-]{11})_\d{6}_\d{6}$"),  # Kinetics: an id that is one video wherever it is
)
_WITH_NUMBER = (
    re.compile(r"^(.+?)[-_ .]*(?:clip|part|seg|segment|shot|scene|chunk|piece)[-_ .]*\d+$", re.IGNORECASE),
    re.compile(r"^(.+?)[-_ .]c\d+$", re.IGNORECASE),
    re.compile(r"^(.+?) *\(\d+\)$"),
)


def with_groups(examples: Sequence[Example]) -> list[Example]:
    """The same with a group for each that has none."""
    named = [example if example.group else replace(example, group=source_of(example.path)) for example in examples]
    members: dict[str, set[str]] = defaultdict(set)
    classes: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    groups: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for example in named:
        members[example.group].add(example.path)
        classes[example.group].add(example.labels)
        groups[example.labels].add(example.group)
    given = {example.group for example in examples if example.group}
    result = []
    for example in named:
        whole_class = len(groups[example.labels]) == 1 and len(classes[example.group]) == 1
        alone = whole_class and len(members[example.group]) > 1 and example.group not in given
        result.append(replace(example, group=example.path) if alone else example)
    return result


def source_of(path: str) -> str:
    """What the name of a clip says of where it comes from; its own path where it says nothing."""
    pure = PurePath(path)
    for pattern in _WITH_SOURCE:
        found = pattern.match(pure.stem)
        if found:
            return found.group(1)
    for pattern in _WITH_NUMBER:
        found = pattern.match(pure.stem)
        if found:
            return str(pure.with_name(found.group(1)))
    return path


def split_dataset(
    dataset: Dataset, *, fraction: float = 0.2, seed: int = 0
) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """(train, val, the rule in words). What the data says holds; else whole groups are held out, so many of each class that
    they make about `fraction` of its clips, in an order that hangs on the seed and the groups' names alone.

    A class of two groups or more is on both sides, one of a single group in train only. What the data calls "test" is on
    neither.
    """
    given = Counter(example.split for example in dataset.examples)
    if given["val"]:
        train = tuple(e for e in dataset.examples if e.split in ("train", None))
        return train, dataset.of("val"), "split as the data says"
    pool = [e for e in dataset.examples if e.split != "test"]
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in pool:
        groups[example.group].append(example)
    if fraction <= 0 or len(groups) < 2:
        return tuple(pool), (), "nothing held out"
    held_out = _held_out(groups, fraction, seed)
    train = tuple(e for e in pool if e.group not in held_out)
    val = tuple(e for e in pool if e.group in held_out)
    together = "" if len(groups) == len(pool) else f", {len(groups)} sources kept whole"
    return train, val, f"{fraction:.0%} of each class held out by seed {seed}{together}"


def _held_out(groups: Mapping[str, Sequence[Example]], fraction: float, seed: int) -> set[str]:
    counts = {name: _classes(examples) for name, examples in groups.items()}
    wanted: Counter[str] = Counter()
    left: Counter[str] = Counter()  # groups of each class that are still in train
    for of_group in counts.values():
        wanted.update(of_group)
        left.update(of_group.keys())
    order = sorted(groups, key=lambda name: _place(name, seed))
    held: Counter[str] = Counter()
    chosen: set[str] = set()

    def take(name: str) -> None:
        chosen.add(name)
        held.update(counts[name])
        left.subtract(counts[name].keys())

    for name in order:
        mine = counts[name]
        if all(left[c] > 1 for c in mine) and all(held[c] + n / 2 <= fraction * wanted[c] for c, n in mine.items()):
            take(name)
    for label in sorted(wanted):
        # Large groups or small classes: one group that is too large is better than none.
        while held[label] == 0:
            fitting = [
                n for n in order if label in counts[n] and n not in chosen and all(left[c] > 1 for c in counts[n])
            ]
            if not fitting:
                break
            take(min(fitting, key=lambda n: sum(counts[n].values())))
    return chosen


def _classes(examples: Iterable[Example]) -> Counter[str]:
    """How many clips of each class; clips without a label are a class of their own."""
    return Counter(label for example in examples for label in example.labels or ("",))


def _place(name: str, seed: int) -> bytes:
    return hashlib.sha256(
        f"{seed}:".encode()
        + PurePath(name).name.encode("utf-8", "surrogateescape")
        + b"\0"
        + name.encode("utf-8", "surrogateescape")
    ).digest()

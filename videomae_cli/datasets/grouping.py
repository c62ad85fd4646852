"""Groups clips by their source, and splits a dataset into train and val without separating a group.

Clips of one source form one group, and a group is never on both sides of a split:

1. If the data has a column `group`, that is the group.
2. Else the file name identifies the source if it has one of these forms (N: digits):
   `v_Archery_gN_cN` (UCF101: the part before `_c`), `ABCDEFGHIJK_NNNNNN_NNNNNN` (Kinetics: the id of eleven characters),
   `NAME_f_cm_npN_ri_goo_N` (HMDB51: NAME), and, within one folder, `NAME-clipN` (also part, seg, segment, shot, scene,
   chunk, piece; after a dash, dot, space or underscore), `NAME_cN` and `NAME (N)`: all of these have the source NAME.
   A bare number (`IMG_0042`) identifies nothing: such a file is a group of its own.
3. If rule 2 would put all files of its classes into one group, so that none could be held out, each file becomes a group.
4. Clips cut from one file are always one group; groups that share a file are one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from videomae_cli.datasets.examples import Dataset, Example
from videomae_cli.errors import OptionError
from videomae_cli.storage import is_address, without_options
from videomae_cli.video.clip_names import ClipName

# These names identify the source in any folder.
_EVERYWHERE = (
    re.compile(r"^(v_.+_g\d+)_c\d+$", re.IGNORECASE),
    re.compile(r"^([\w-]{11})_\d{6}_\d{6}$", re.ASCII),
    re.compile(r"^(.+)_[fhlu]_(?:cm|nm)_np\d_(?:ba|fr|le|ri)_(?:goo|med|bad)_\d+$"),
)
# These names identify the source only within a folder.
_IN_FOLDER = (
    re.compile(r"^(.+?)[-_ .]+(?:clip|part|seg|segment|shot|scene|chunk|piece)[-_ .]*\d+$", re.IGNORECASE),
    re.compile(r"^(.+?)[-_ .]+c\d+$", re.IGNORECASE),
    re.compile(r"^(.+?) *\(\d+\)$"),
)
_LONGEST_NAME = 255


def with_groups(examples: Sequence[Example]) -> list[Example]:
    """Assign a group to each example that has none, by the rules in the module's docstring."""
    named = [example if example.group else replace(example, group=source_of(example.path)) for example in examples]
    files: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    for example in named:
        files[example.group].add(ClipName.parse(example.path).place)
        for label in example.labels or ("",):
            labels[example.group].add(label)
            groups[label].add(example.group)
    given = {example.group for example in examples if example.group}
    loose = {
        group
        for group, members in files.items()
        if len(members) > 1 and group not in given and all(len(groups[label]) == 1 for label in labels[group])
    }
    return _merge_groups_sharing_files([replace(e, group=e.path) if e.group in loose else e for e in named])


def _merge_groups_sharing_files(examples: Sequence[Example]) -> list[Example]:
    """Merge groups that contain clips of the same file; the merged group has the alphabetically first name."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    first: dict[str, str] = {}
    for example in examples:
        place = ClipName.parse(example.path).place
        one, other = root(first.setdefault(place, example.group)), root(example.group)
        if one != other:
            parent[max(one, other)] = min(one, other)
    return [replace(e, group=root(e.group)) if root(e.group) != e.group else e for e in examples]


def source_of(path: str) -> str:
    """Return the source that a clip's file name identifies, or its own path if it identifies none."""
    path = ClipName.parse(without_options(path) if is_address(path) else path).place
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]  # noqa: PTH122 - PurePath changes the path
    if len(name) > _LONGEST_NAME:
        return path
    for pattern in _EVERYWHERE:
        found = pattern.match(stem)
        if found:
            return found.group(1)
    for pattern in _IN_FOLDER:
        found = pattern.match(stem)
        if found:
            return os.path.join(folder, found.group(1))  # noqa: PTH118 - as the path is written
    return path


def split_dataset(
    dataset: Dataset, *, fraction: float = 0.2, seed: int = 0
) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """Split a dataset; returns (train, val, a description of the rule).

    A split given by the data is used. Otherwise whole groups are held out until val has about `fraction` of each
    class's clips. Which groups depends only on the seed and their names, not on the order of the files or the folder's
    location.

    A class with at least two groups that contain no other class is on both sides; one with a single group is in train
    only. Examples of the split "test" are on neither side. Raises OptionError unless 0 <= fraction < 1.
    """
    if not 0 <= fraction < 1:
        raise OptionError.about(
            "val", "the part to hold out must be at least 0 and less than 1, not {fraction:g}", fraction=fraction
        )
    given = Counter(example.split for example in dataset.examples)
    if given["val"]:
        train = tuple(e for e in dataset.examples if e.split in ("train", None))
        return train, dataset.of("val"), "split as the data says"
    pool = [e for e in dataset.examples if e.split != "test"]
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in pool:
        groups[example.group].append(example)
    if fraction == 0 or len(groups) < 2:
        return tuple(pool), (), "nothing held out"
    held_out = _held_out(groups, fraction, seed)
    if not held_out:
        return tuple(pool), (), "no class has two sources, one of which could be held out"
    train = tuple(e for e in pool if e.group not in held_out)
    val = tuple(e for e in pool if e.group in held_out)
    together = "" if len(groups) == len(pool) else f", {len(groups)} sources kept whole"
    each = " of each class" if dataset.classes else ""
    return train, val, f"{fraction:.0%}{each} held out by seed {seed}{together}"


def _held_out(groups: Mapping[str, Sequence[Example]], fraction: float, seed: int) -> set[str]:
    counts = {name: _classes(examples) for name, examples in groups.items()}
    wanted: Counter[str] = Counter()
    left: Counter[str] = Counter()  # number of groups of each class that are still in train
    for of_group in counts.values():
        wanted.update(of_group)
        left.update(of_group.keys())
    order = _order(groups, seed)
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
    having: dict[str, list[str]] = defaultdict(list)
    for name in order:
        for label in counts[name]:
            having[label].append(name)
    for label in sorted(wanted):
        # No group was small enough: exceeding the fraction is better than holding out nothing of a class.
        if held[label] == 0:
            fitting = [n for n in having[label] if n not in chosen and all(left[c] > 1 for c in counts[n])]
            if fitting:
                take(min(fitting, key=lambda n: sum(counts[n].values())))
    return chosen


def _classes(examples: Iterable[Example]) -> Counter[str]:
    """Count the clips of each class; clips without a label count as a class of their own."""
    return Counter(label for example in examples for label in example.labels or ("",))


def _order(groups: Mapping[str, Sequence[Example]], seed: int) -> list[str]:
    """Shuffle the groups by a hash of the seed and their names relative to the folder that all files share."""
    paths = (example.path for examples in groups.values() for example in examples)
    folders = {os.path.dirname(without_options(path) if is_address(path) else path) for path in paths}  # noqa: PTH120
    try:
        shared = os.path.commonpath(folders)
    except ValueError:
        shared = ""  # some paths are absolute and others are not
    above = os.path.join(shared, "") if shared else ""  # noqa: PTH118

    def place(name: str) -> bytes:
        return hashlib.sha256(
            f"{seed}:{os.path.normpath(name).removeprefix(above)}".encode("utf-8", "surrogateescape")
        ).digest()

    return sorted(groups, key=lambda name: (place(name), name))

"""Reads the dataset that a user names with the argument DATA."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.content import EMBEDDINGS, LABELS, TIMELINE, Content, content_in
from videomae_cli.datasets.data_places import (
    is_folder,
    is_table,
    local_table,
    name_of,
    searched,
    storage_reported,
    subfolders,
)
from videomae_cli.datasets.examples import Dataset, Example, make_dataset
from videomae_cli.datasets.grouping import with_groups
from videomae_cli.datasets.rows import TABLES, WantedColumns, column_names
from videomae_cli.datasets.tables import named, read_table
from videomae_cli.errors import DatasetError, OptionError, VideoFetchError, VideoNotFoundError
from videomae_cli.labels import read_labels
from videomae_cli.results import as_utf8
from videomae_cli.storage import is_address, look, without_options
from videomae_cli.video import Filter, FoundVideo, discover, find_videos

# Accepted names of folders that hold one split of the data.
_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_GUESSES = (
    "{source} is an output of videomae classify: its labels are what a model said, unless you have corrected them"
)
LAYOUT = "a folder of class folders (DATA/archery/*.mp4), or DATA/train and DATA/val with class folders"


def read_dataset(
    source: str,
    *,
    labels: Path | None = None,
    labels_required: bool = True,
    targets: Sequence[str] = (),
    only: Filter | None = None,
) -> Dataset:
    """Read a dataset from a folder of class folders, possibly below train, val and test, or from a table; either may be
    in object storage, and so may the clips that a table names.

    labels: a file of names (`labels.read_labels`) that gives numeric labels their names, and classes their order.
    labels_required: False also accepts files, folders, patterns and lists without labels. targets: the table's columns
    of numbers to predict, instead of labels; only: which files of folders are taken. Raises DatasetError, ConfigError for the file of names, OptionError for
    invalid targets.
    """
    only = only or Filter()
    if targets:
        return _with_values(source, tuple(targets), labels)
    names = read_labels(labels) if labels is not None else ()
    notes: tuple[str, ...] = ()
    if is_table(source):
        with local_table(source) as file:
            content = content_in(file)
            if content in (EMBEDDINGS, TIMELINE) and labels_required:
                raise unlabelled_output(source, content)
            examples = read_table(file, source=source, names=names, wanted=WantedColumns(labels_required))
        notes = (_GUESSES.format(source=source),) if content is LABELS and labels_required else ()
    elif not labels_required:
        examples = _unlabelled(source, only)
    elif is_folder(source):
        root = source if is_address(source) else os.fspath(Path(source))
        examples, notes = _folder(root, names, only)
    else:
        kinds = ", ".join(sorted(TABLES))
        content = content_in(source)
        what = "no table" if content is None else f"{content.words}, no table"
        problem = f"{source!r} is {what} ({kinds})" if _is_there(source) else f"no such folder or table: {source!r}"
        raise DatasetError.about(
            source, "{problem}; DATA is {layout}, or a table of path and label", problem=problem, layout=LAYOUT
        )
    if not examples:
        raise DatasetError.about(source, "{subject!r} holds no videos")
    return make_dataset(with_groups(examples), order=names, notes=notes)


def unlabelled_output(source: str, content: Content) -> DatasetError:
    """Make the error for an output of this program that is given as labelled clips and has no labels."""
    reason = "{subject!r} is {content} and has no labels of clips; DATA is {layout}, or a table of path and label"
    return DatasetError.about(source, reason, content=content.words, layout=LAYOUT)


def _with_values(source: str, targets: tuple[str, ...], labels: Path | None) -> Dataset:
    if labels is not None:
        raise OptionError.about(
            "labels", "names of labels are for classes, target columns are for values: give one of them"
        )
    twice = next((name for number, name in enumerate(targets) if name in targets[:number]), None)
    if twice is not None:
        raise OptionError.about(twice, "the target column {subject!r} is given twice")
    if bad := next((name for name in targets if not name.strip() or as_utf8(name) != name), None):
        raise OptionError.about(as_utf8(bad), "{subject!r} can't be the name of a target column")
    if not is_table(source):
        what = f"{source!r} is none" if _is_there(source) else f"there is no {source!r}"
        reason = "a target column needs a table ({tables}) that has it, and {what}"
        raise DatasetError.about(source, reason, tables=", ".join(sorted(TABLES)), what=what)
    with local_table(source) as file:
        examples = read_table(file, source=source, wanted=WantedColumns(label=False, targets=targets))
    return make_dataset(with_groups(examples), outputs=targets)


def table_columns(source: str) -> tuple[str, ...]:
    """Return the column names of the table that DATA names; empty if it is not a table or has no header.

    Raises DatasetError if object storage doesn't give it.
    """
    if not is_table(source):
        return ()
    with local_table(source) as file:
        return column_names(file)


def _is_there(source: str) -> bool:
    if not is_address(source):
        return filesystem.is_there(source)
    with storage_reported():
        return look(source) is not None


def _folder(root: str, names: Sequence[str], only: Filter) -> tuple[list[Example], tuple[str, ...]]:
    """Read the clips in a folder; also return a note on videos that have no class."""
    folders = subfolders(root)
    parts = {folder: _PARTS[name_of(folder).lower()] for folder in folders if name_of(folder).lower() in _PARTS}
    # A folder without class folders in it is not a split: "train" may be a class, next to "car".
    parts = {folder: part for folder, part in parts.items() if subfolders(folder)} or parts
    others = [folder for folder in folders if folder not in parts]
    if not parts or (len(parts) == 1 and any(_videos(folder, only) for folder in others)):
        return _classes([(root, None)], names, only)
    stray = next((folder for folder in others if _videos(folder, only)), None)
    if stray is not None:
        raise DatasetError.about(
            root,
            "{subject!r} has folders of parts ({parts}) and videos in {name!r} beside them: move these into a "
            "part, or elsewhere",
            parts=", ".join(sorted(map(name_of, parts))),
            name=as_utf8(name_of(stray)),
        )
    return _classes(list(parts.items()), names, only)


def _classes(
    roots: Sequence[tuple[str, str | None]], names: Sequence[str], only: Filter
) -> tuple[list[Example], tuple[str, ...]]:
    examples: list[Example] = []
    empty: dict[str, str] = {}
    beside = 0
    for root, split in roots:
        folders = subfolders(root)
        if not folders:
            raise DatasetError.about(root, "{subject!r} holds no class folders: DATA is {layout}", layout=LAYOUT)
        beside += len(_videos(root, replace(only, frame_folders="never"), recursive=False))
        for folder in folders:
            label = _label(folder, names)
            found = _videos(folder, only)
            examples += [Example(video.path, (label,), split, "") for video in found]
            if not found:
                empty[label] = folder
    filled = {label for example in examples for label in example.labels}
    bare = [folder for label, folder in empty.items() if label not in filled]
    if not filled:
        raise DatasetError.about(roots[0][0], "no class folder in {subject!r} holds videos")
    if bare:
        raise DatasetError.about(bare[0], "the class folder {subject!r} holds no videos: fill it, or remove it")
    note = f"left out, since beside the class folders and so without a class: {beside} of the videos"
    return examples, (note,) if beside else ()


def _label(folder: str, names: Sequence[str]) -> str:
    name = name_of(folder)
    if as_utf8(name) != name:
        raise DatasetError.about(
            folder, "the name of the class folder {folder!r} is not UTF-8: rename it", folder=as_utf8(folder)
        )
    return named(name, names, f"the class folder {folder!r}") if names else name


def _videos(folder: str, only: Filter, *, recursive: bool = True) -> list[FoundVideo]:
    """Find all videos in a folder, unreadable ones included. Raises DatasetError for a folder that can't be listed."""
    found = discover([searched(folder)], recursive=recursive, only=only, addresses=True)
    for video in found:
        if isinstance(video.error, VideoFetchError) or (
            video.error is not None
            and filesystem.is_folder(video.path)
            and not os.access(video.path, os.R_OK | os.X_OK)
        ):
            raise video.error.recast(DatasetError)
    return [
        video
        for video in found
        if not (
            isinstance(video.error, VideoNotFoundError) and (is_address(video.path) or filesystem.is_folder(video.path))
        )
    ]


def _unlabelled(source: str, only: Filter) -> list[Example]:
    """Find the videos named by a file, folder, pattern or list, as unlabelled examples."""
    found = find_videos([source], only=only, addresses=True)
    if len(found) == 1 and found[0].error is not None:
        raise found[0].error.recast(DatasetError)
    parts = subfolders(source) if is_folder(source) else []
    splits = {name_of(part): _PARTS.get(name_of(part).lower()) for part in parts}
    if not (splits and all(splits.values())):
        splits = {}
    return [Example(video.path, (), splits.get(_part_of(video.path, source)), "") for video in found]


def _part_of(path: str, root: str) -> str:
    """Return the name of the folder directly below `root` that contains `path`, however both are spelled."""
    if is_address(path) and is_address(root):
        path, root = without_options(path), without_options(root)
    file = Path(path)
    below = file.relative_to(root).parts if file.is_relative_to(root) else ()
    return below[0] if below else ""  # the relative path has no parts if `root` is the file itself

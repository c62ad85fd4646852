"""What a user gives as DATA -> a dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from videomae_cli.datasets.examples import Dataset, Example, make_dataset
from videomae_cli.datasets.grouping import with_groups
from videomae_cli.datasets.tables import TABLES, read_table
from videomae_cli.errors import DatasetError
from videomae_cli.video import discover, find_videos

# How folders with a part of the data are called.
_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
LAYOUT = "a folder of class folders (DATA/archery/*.mp4), or DATA/train and DATA/val with class folders"


def read_dataset(
    source: str, *, labels: Path | None = None, labels_required: bool = True, multi_label: bool | None = None
) -> Dataset:
    """A folder of class folders, perhaps below train, val and test; or a table. labels: names for labels that are numbers.

    Without labels_required any files, folders, patterns and lists do, as for all commands. Raises DatasetError.
    """
    path = Path(source)
    if path.suffix.lower() in TABLES and path.is_file():
        examples = read_table(path, labels=labels, labels_required=labels_required)
    elif path.is_dir():
        examples = _folder(path) if labels_required else _unlabelled(source)
    elif not labels_required:
        examples = _unlabelled(source)
    else:
        kinds = ", ".join(sorted(TABLES))
        problem = f"no such folder or table: {source!r}" if not path.exists() else f"{source!r} is no table ({kinds})"
        raise DatasetError(f"{problem}; DATA is {LAYOUT}, or a table of path and label")
    if not examples:
        raise DatasetError(f"{source!r} holds no videos")
    return make_dataset(with_groups(examples), multi_label=multi_label)


def _folder(root: Path) -> list[Example]:
    folders = _subfolders(root)
    parts = {folder: _PARTS.get(folder.name.lower()) for folder in folders}
    if folders and all(parts.values()):
        return [example for folder in folders for example in _classes(folder, parts[folder])]
    return list(_classes(root, None))


def _classes(root: Path, split: str | None) -> Iterator[Example]:
    folders = _subfolders(root)
    if not folders:
        raise DatasetError(f"{str(root)!r} holds no class folders: DATA is {LAYOUT}")
    for folder in folders:
        for found in discover([folder]):
            if Path(found.path).is_dir():
                continue  # an empty folder, which the check will miss as a class without clips
            yield Example(found.path, (folder.name,), split, "")


def _subfolders(root: Path) -> list[Path]:
    try:
        return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"can't list {str(root)!r}: {error.strerror}") from None


def _unlabelled(source: str) -> list[Example]:
    """Files, folders, patterns, lists: every video that is there."""
    found = find_videos([source])
    if len(found) == 1 and found[0].error is not None:
        raise DatasetError(str(found[0].error))
    root = Path(source)
    parts = _subfolders(root) if root.is_dir() else []
    split_of = {str(p) + os.sep: _PARTS.get(p.name.lower()) for p in parts}
    whole = split_of if parts and all(split_of.values()) else {}
    return [
        Example(video.path, (), next((s for p, s in whole.items() if video.path.startswith(p)), None), "")
        for video in found
    ]

"""Caches converted models on this disk, each in a folder that appears only when complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import OutputError
from videomae_cli.files import whole_folder

# Describes a cached folder: what it is for, and the sizes of its files.
_ABOUT, _SIZES = "about.json", "sizes"


def store_folder() -> Path:
    """Return $VIDEOMAE_CACHE, else `videomae` in the user's cache folder. Raises OutputError for a user without a home."""
    if given := os.environ.get("VIDEOMAE_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    folder = base or filesystem.home_expanded("~/.cache")
    if folder.startswith("~"):  # no HOME and no entry in /etc/passwd, as in some containers
        raise OutputError.about(
            "VIDEOMAE_CACHE", "this user has no home folder to keep converted models in: set VIDEOMAE_CACHE to a folder"
        )
    return Path(folder) / "videomae"


def place_of(what: Mapping[str, object]) -> Path:
    """Return where the cached folder for the values in `what` is, or would be."""
    key = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return store_folder() / key


def is_intact(place: Path) -> bool:
    """Whether a cached folder is there, with files of the sizes that they had when it was made."""
    try:
        sizes = json.loads((place / _ABOUT).read_text(encoding="utf-8")).get(_SIZES, {})
        return all((place / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def kept(what: Mapping[str, object], make: Callable[[Path], None]) -> Path:
    """Return the cached folder for the values in `what`; if there is none, `make` fills an empty folder that becomes it.

    A folder whose files have other sizes than they had is made again. If two processes make it at once, the first to
    finish wins. Raises OutputError if the cache can't be written.
    """
    place = place_of(what)
    if is_intact(place):
        return place
    try:
        shutil.rmtree(place, ignore_errors=True)
        with whole_folder(place) as folder:
            make(folder)
            about = {**what, _SIZES: {file.name: file.stat().st_size for file in folder.iterdir()}}
            (folder / _ABOUT).write_text(json.dumps(about, sort_keys=True, indent=2, default=str))
    except OSError as error:
        raise OutputError.about(
            place.parent,
            "can't keep the converted model in {subject} ({reason}): set VIDEOMAE_CACHE to a folder",
            reason=error.strerror or error,
        ) from None
    return place

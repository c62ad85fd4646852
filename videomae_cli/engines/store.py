"""Keeps converted models on this disk, so that each is converted once: a folder each, complete or not there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import OutputError
from videomae_cli.files import whole_folder


def store_folder() -> Path:
    """VIDEOMAE_CACHE, or videomae in the user's cache folder. Raises OutputError where there is no home for one."""
    if given := os.environ.get("VIDEOMAE_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    folder = base or filesystem.home_expanded("~/.cache")
    if folder.startswith("~"):  # no HOME, and nobody of this user's number in /etc/passwd: as in some containers
        raise OutputError("this user has no home folder to keep converted models in: set VIDEOMAE_CACHE to a folder")
    return Path(folder) / "videomae"


def kept(what: Mapping[str, object], make: Callable[[Path], None]) -> Path:
    """Find the folder of what the values in `what` describe, or let `make` fill an empty one that then becomes it.

    Two processes may make the same at once: the first that is done stays. Raises OutputError where nothing can be written.
    """
    key = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:24]
    place = store_folder() / key
    if filesystem.is_folder(place):
        return place
    try:
        with whole_folder(place) as folder:
            make(folder)
            (folder / "about.json").write_text(json.dumps(what, sort_keys=True, indent=2, default=str))
    except OSError as error:
        raise OutputError(
            f"can't keep the converted model in {place.parent} ({error.strerror or error}): set VIDEOMAE_CACHE to a folder"
        ) from None
    return place

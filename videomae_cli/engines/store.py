"""Where converted models are kept, so that they are converted once: a folder each, complete or not there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import OutputError
from videomae_cli.files import replace, sync_file


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
    """The folder that holds what the values in `what` describe; made by `make`, in an empty folder, where it is not there.

    Two processes may make the same at once: the first that is done stays. Raises OutputError where nothing can be
    written there.
    """
    key = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:24]
    place = store_folder() / key
    if filesystem.is_folder(place):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{key}-", suffix=".part", dir=place.parent))
    except OSError as error:
        raise OutputError(
            f"can't keep the converted model in {place.parent} ({error.strerror or error}): set VIDEOMAE_CACHE to a folder"
        ) from None
    try:
        make(scratch)
        (scratch / "about.json").write_text(json.dumps(what, sort_keys=True, indent=2, default=str))
        for file in scratch.iterdir():
            sync_file(file)
        with contextlib.suppress(FileExistsError, OSError):
            replace(scratch, place)
        if not filesystem.is_folder(place):
            raise OutputError(f"can't keep the converted model in {place.parent}: set VIDEOMAE_CACHE to a folder")
    except OSError as error:
        raise OutputError(
            f"can't keep the converted model in {place.parent} ({error.strerror or error}): set VIDEOMAE_CACHE to a folder"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place

"""Names of files that are made after names of files that are there, such as every disk takes.

What fits as the name of a video may not fit with `.npy` behind it; Windows refuses names that others have; disks differ in
whether A.mp4 and a.mp4, or an accent in one character and in two, are one file. A name that can't be kept is shortened or
changed, and a digest of the whole makes it another one for each input: the same in every run, so that it is found again.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# What nearly all file systems take, in bytes or, on Windows and macOS, in characters, of which each is at least a byte.
NAME_BYTES = 255
# Shorter than what Linux (4096), macOS (1024) and Windows (260) take, by what a temporary name adds.
_PATH_BYTES = 240 if os.name == "nt" else 1000
_DIGEST = 10
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|$)", re.IGNORECASE)
_REFUSED = re.compile(r'[<>:"|?*\x00-\x1f]')


def fitting(stem: str, ending: str = "", *, limit: int = NAME_BYTES) -> str:
    """`stem + ending`, or, where that takes more than `limit` bytes, a shorter stem with a digest of the whole before the
    ending. Cut between characters; bytes that are no UTF-8 stay what they are."""
    whole = os.fsencode(stem + ending)
    if len(whole) <= limit:
        return stem + ending
    return _marked(stem, ending, whole, limit)


def partial_folder(output: Path) -> Path:
    """The folder in which a job keeps what it has until `output` is complete."""
    return output.with_name(fitting(output.name, ".partial"))


def temporary_prefix(name: str) -> str:
    """What the hidden temporary file of a file begins with; a random part and `.part` follow."""
    return "." + fitting(name, limit=100) + "."


def limit_in(folder: str | os.PathLike[str]) -> int:
    """How many bytes a name in a folder may have. An encrypted home folder, say, takes fewer than most."""
    try:
        return min(max(os.pathconf(folder, "PC_NAME_MAX"), 64), NAME_BYTES)
    except (AttributeError, OSError, ValueError):  # Windows has no pathconf; the folder may not be there yet
        return NAME_BYTES


def names_below(
    folder: str | os.PathLike[str],
    paths: Sequence[str],
    ending: str,
    *,
    instead: bool = False,
    reserved: Iterable[str] = (),
    windows: bool = os.name == "nt",
) -> dict[str, str]:
    """For each input the name of its output below `folder`, each another one on every disk.

    Names follow those of the inputs below the folder that all of them share: clip.mp4.npy; or, `instead` of the suffix where
    that is enough to tell them apart, clip.srt. reserved: names directly in the folder that are not to be had.
    """
    limit = limit_in(folder)
    room = _PATH_BYTES - len(os.fsencode(os.path.abspath(folder))) - 1  # noqa: PTH100 - links stay as named
    below = _below_shared(paths)
    plain = {path: below[path] + ending for path in paths}
    if instead:
        short = {path: os.path.splitext(below[path])[0] + ending for path in paths}  # noqa: PTH122
        uses = Counter(map(_folded, short.values()))
        plain = {path: short[path] if uses[_folded(short[path])] == 1 else plain[path] for path in paths}
    taken = {_folded(name) for name in reserved}
    names = {path: _safe(plain[path], ending, limit, room, taken, windows) for path in paths}
    return _apart(names, below, ending, limit)


def _below_shared(paths: Sequence[str]) -> dict[str, str]:
    # Path.resolve would follow links, Path.absolute would leave "..".
    absolute = {path: os.path.abspath(path) for path in paths}  # noqa: PTH100
    try:
        root = os.path.commonpath({os.path.dirname(path) for path in absolute.values()}) if paths else ""  # noqa: PTH120
        return {path: os.path.relpath(place, root) for path, place in absolute.items()}
    except ValueError:  # several drives of Windows
        return {path: re.sub(r"^([A-Za-z]):[\\/]*", r"\1/", place).lstrip("\\/") for path, place in absolute.items()}


def _safe(name: str, ending: str, limit: int, room: int, taken: set[str], windows: bool) -> str:
    """The name with parts that the disk takes; without its folders where the whole path would be too long."""
    parts = list(Path(name).parts)
    stem = parts[-1].removesuffix(ending)
    parts = [_part(part, "", limit, windows) for part in parts[:-1]] + [_part(stem, ending, limit, windows)]
    if _folded(parts[0]) in taken:
        at_end = len(parts) == 1
        parts[0] = _marked(stem if at_end else parts[0], ending if at_end else "", os.fsencode(name), limit)
    safe = str(Path(*parts))
    if len(os.fsencode(safe)) > room and len(parts) > 1:
        return _marked(stem, ending, os.fsencode(name), limit)
    return safe


def _part(stem: str, ending: str, limit: int, windows: bool) -> str:
    whole = stem + ending
    if windows and (_RESERVED.match(whole) or _REFUSED.search(whole) or whole.endswith((".", " "))):
        return _marked("_" + _REFUSED.sub("_", stem).rstrip(". "), ending, os.fsencode(whole), limit)
    return fitting(stem, ending, limit=limit)


def _apart(names: Mapping[str, str], below: Mapping[str, str], ending: str, limit: int) -> dict[str, str]:
    """Rename those that some disk would take for one file, or for a folder that another name needs."""
    uses = Counter(map(_folded, names.values()))
    folders = {_folded(str(folder)) for name in set(names.values()) for folder in Path(name).parents}
    alone = {key for key, count in uses.items() if count == 1 and key not in folders}
    used = alone | folders
    result = {}
    for path, name in names.items():
        changed, attempt = name, 0
        while _folded(changed) not in alone if attempt == 0 else _folded(changed) in used:
            folder, last = os.path.split(name)
            text = os.fsencode(below[path]) + b"\0" * attempt
            changed = os.path.join(folder, _marked(last.removesuffix(ending), ending, text, limit))  # noqa: PTH118
            attempt += 1
        result[path] = changed
        used.add(_folded(changed))
    return result


def _marked(stem: str, ending: str, whole: bytes, limit: int) -> str:
    """The beginning of a stem, a digest of the whole name, and the ending."""
    mark = "~" + hashlib.sha256(whole).hexdigest()[:_DIGEST]
    room = max(0, limit - len(os.fsencode(mark + ending)))
    return _cut(stem, room) + mark + ending


def _cut(text: str, room: int) -> str:
    """Cut `text` to the whole characters that fit into `room` bytes; a character keeps the accents that follow it."""
    size = count = 0
    for count, character in enumerate(text):  # noqa: B007
        size += len(os.fsencode(character))
        if size > room:
            break
    else:
        return text
    while count and unicodedata.combining(text[count]):
        count -= 1
    return text[:count].rstrip(" .")


def _folded(name: str) -> str:
    """Equal for names that some disk takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

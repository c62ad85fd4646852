"""Output file names, derived from input file names, that are valid and distinct on every disk.

The name of a video may become too long once `.npy` is appended; Windows refuses names that other systems allow; on some
disks A.mp4 and a.mp4, or composed and decomposed accents, name one file. A name that can't be used as it is gets
shortened or changed and receives a digest of the full name, so it is unique per input and the same in every run.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType

# The limit of nearly all file systems, in bytes or, on Windows and macOS, in characters (each at least a byte).
NAME_BYTES = 255
# Below the limits of Linux (4096), macOS (1024) and Windows (260), with room for what a temporary name adds.
_PATH_BYTES = 240 if os.name == "nt" else 1000
_DIGEST = 10
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|$)", re.IGNORECASE)
_REFUSED = re.compile(r'[<>:"|?*\x00-\x1f]')


def fitting(stem: str, ending: str = "", *, limit: int = NAME_BYTES) -> str:
    """Return `stem + ending`; if longer than `limit` bytes, shortened, with a digest of the full name before the ending.

    The cut is between characters; bytes that are not UTF-8 are kept as they are.
    """
    whole = os.fsencode(stem + ending)
    if len(whole) <= limit:
        return stem + ending
    return _marked(stem, ending, whole, limit)


def partial_folder(output: Path) -> Path:
    """Return the folder in which a job keeps its intermediate results until `output` is complete."""
    return output.with_name(fitting(output.name, ".partial"))


def temporary_prefix(name: str) -> str:
    """Return the prefix of a file's hidden temporary file; a random part and `.part` follow."""
    return "." + fitting(name, limit=100) + "."


def limit_in(folder: str | os.PathLike[str]) -> int:
    """Return how many bytes a file name in a folder may have: encrypted home folders, for example, allow fewer."""
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
    fixed: Mapping[str, str] = MappingProxyType({}),
    windows: bool = os.name == "nt",
) -> dict[str, str]:
    """Choose a distinct output name below `folder` for each input path, valid on every disk.

    A name is the input's path relative to the inputs' common folder, plus `ending`: clip.mp4.npy. instead: `ending`
    replaces the suffix if the names stay distinct: clip.srt. reserved: names directly in the folder that may not be
    used; fixed: names that inputs have already, of these and of others, and keep.
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
    names = {path: _safe(plain[path], ending, limit, room, taken, windows) for path in paths if path not in fixed}
    made = _made_distinct(names, below, ending, limit, set(map(_folded, fixed.values())))
    return {path: fixed[path] if path in fixed else made[path] for path in paths}


def _below_shared(paths: Sequence[str]) -> dict[str, str]:
    # Path.resolve would follow links, Path.absolute would keep "..".
    absolute = {path: os.path.abspath(path) for path in paths}  # noqa: PTH100
    try:
        root = os.path.commonpath({os.path.dirname(path) for path in absolute.values()}) if paths else ""  # noqa: PTH120
        return {path: os.path.relpath(place, root) for path, place in absolute.items()}
    except ValueError:  # the paths are on several Windows drives
        return {path: re.sub(r"^([A-Za-z]):[\\/]*", r"\1/", place).lstrip("\\/") for path, place in absolute.items()}


def _safe(name: str, ending: str, limit: int, room: int, taken: set[str], windows: bool) -> str:
    """Make each part of a relative path valid; drop its folders if the whole path would be too long."""
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


def _made_distinct(
    names: Mapping[str, str], below: Mapping[str, str], ending: str, limit: int, taken: Set[str]
) -> dict[str, str]:
    """Rename outputs that collide on some disk, with each other, with what is taken or with a folder that another name needs."""
    uses = Counter(map(_folded, names.values()))
    folders = {_folded(str(folder)) for name in set(names.values()) for folder in Path(name).parents}
    alone = {key for key, count in uses.items() if count == 1 and key not in folders and key not in taken}
    used = alone | folders | taken
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
    """Return as much of the stem as fits, a digest of the whole name, and the ending."""
    mark = "~" + hashlib.sha256(whole).hexdigest()[:_DIGEST]
    room = max(0, limit - len(os.fsencode(mark + ending)))
    return _cut(stem, room) + mark + ending


def _cut(text: str, room: int) -> str:
    """Cut `text` to the characters that fit into `room` bytes, never between a letter and its combining accents."""
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
    """Return a key that is equal for names that some disk treats as one: case-folded and in NFC."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

"""Finds the pictures of a clip that is stored as numbered images: in a folder, by a pattern, or inside an archive.

The number of a picture is the last run of digits before its suffix, and pictures follow each other by number: 2 comes
before 10. A folder is a clip if its pictures are numbered in one way. Pictures without a number don't matter, nor does
optical flow beside them (flow_x_00001.jpg). Because folders of photos look much the same, a folder that is searched
rather than named must also pass `why_not_frames`.
"""

from __future__ import annotations

import itertools
import os
import re
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import BinaryIO

from videomae_cli import filesystem
from videomae_cli.content import VIDEO_SUFFIXES, is_animated_head
from videomae_cli.errors import DecodeError, NotAVideoError, VideoError, VideoNotFoundError, Wording
from videomae_cli.video import tar_members
from videomae_cli.video.clip_names import ClipName, NamePattern, folder_and_pattern
from videomae_cli.video.exif import is_from_camera
from videomae_cli.video.suffixes import IMAGE_SUFFIXES, suffix_of

FRAME_FOLDERS = ("auto", "never", "always")
DEFAULT_FPS = 30.0

_NUMBERED = re.compile(r"(.*?)(\d{1,18})(\D*)", re.DOTALL | re.ASCII)
# Cameras call pictures IMG_0001 or P1010001, four letters or digits and four digits (JEITA CP-3461, DCF); messengers
# IMG-20240501-WA0001.
_CAMERA_NAME = re.compile(r"(?=.{0,3}[A-Z_])[A-Z0-9_]{4}\d{4}|(IMG|VID)-\d{8}-WA\d+", re.ASCII)
_FLOW = "flow_"
# A searched folder with fewer pictures is no clip.
LEAST_PICTURES = 8
_HEAD_BYTES = 1 << 16
_NAMED_GAPS = 3


@dataclass(frozen=True, slots=True)
class PicturesFolder:
    """A folder on disk, or in an archive, and the names of the files in it."""

    path: str
    names: Sequence[str]

    @classmethod
    def listed(cls, path: str) -> PicturesFolder:
        """List a folder, on disk or in an archive. Raises VideoNotFoundError."""
        inside = None if filesystem.is_folder(path) else _in_archive(path)
        if inside is not None:
            index = tar_members.index_of(inside[0])
            folder = inside[1].rstrip("/")
            if folder in index.folders or not folder:
                return cls(path, index.folders.get(folder, []))
            raise VideoNotFoundError.about(path, "there is no {subject!q} in the archive")
        try:
            with os.scandir(path) as entries:
                return cls(path, [entry.name for entry in entries if not is_folder(entry)])
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoNotFoundError.about(path, "can't list folder {subject!q}: {reason}", reason=reason) from None

    def opened(self, name: str) -> BinaryIO:
        """Open a file of the folder. Raises OSError and ValueError."""
        if filesystem.is_folder(self.path):
            return filesystem.opened(os.path.join(self.path, name))  # noqa: PTH118 - as the path is written
        inside = _in_archive(self.path)
        if inside is None:
            raise FileNotFoundError(2, "it is gone")
        folder = inside[1].rstrip("/")
        return tar_members.index_of(inside[0]).members[f"{folder}/{name}" if folder else name].opened()


@dataclass(frozen=True)
class ImageSequence:
    """The pictures of a clip in their order. path: the clip's name; numbers: of each picture, ascending; names: of their files in
    `folder`; fps: pictures per second, None if the name doesn't say; missing: what lacks between them, in words; step: the distance of
    the numbers of two pictures that follow each other."""

    path: str
    folder: PicturesFolder
    numbers: Sequence[int]
    names: Sequence[str]
    fps: float | None = None
    missing: str | None = None
    step: int = 1

    def __len__(self) -> int:
        return len(self.names)

    def opened(self, place: int) -> BinaryIO:
        """Open the picture at a place of the sequence. Raises OSError and ValueError."""
        return self.folder.opened(self.names[place])

    def times(self, fps: float) -> array[float]:
        """Return when each picture is shown, in seconds after the first; a missing one leaves its place empty."""
        first, each = self.numbers[0], self.step * fps
        return array("d", ((number - first) / each for number in self.numbers))


@dataclass(frozen=True, slots=True)
class _Series:
    """Files whose names differ only in a number. numbers and names are in the order of the numbers."""

    prefix: str
    numbers: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def twice(self) -> str | None:
        """Return the second of two names with one number, such as 1.jpg and 01.jpg; None without any."""
        pairs = zip(self.numbers, self.numbers[1:], self.names[1:], strict=False)
        return next((name for before, number, name in pairs if before == number), None)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a folder is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself, for example: it is taken for a file, and gets its error there


def find_sequence(path: str) -> ImageSequence | None:
    """Find the pictures of the clip that a path names; None for a path of a file, or of nothing.

    Raises VideoNotFoundError, NotAVideoError for a folder without numbered pictures, and DecodeError for a part of a clip
    that it doesn't have.
    """
    if filesystem.is_file(path) or (not filesystem.is_folder(path) and tar_members.find_video(path) is not None):
        return None
    folder_itself = filesystem.is_folder(path)
    name = ClipName(path) if folder_itself else ClipName.parse(path)
    if name.place != path and filesystem.is_file(name.place):
        reason = "{subject!q} is a part of pictures by their numbers, but {place!q} is a file"
        remedy = Wording("give a part of a video in seconds, with {@start} and {@end}")
        raise NotAVideoError.about(path, reason, place=name.place, remedy=remedy)
    found = _find_all(name.place)
    if found is None:
        if name.place == path:
            return None
        raise VideoNotFoundError.about(path, "there is no {place!q}", place=name.place)
    return _part_of(replace(found, path=path), name)


def is_place(path: str) -> bool:
    """Return whether pictures may be at a path: a folder, a pattern in one, or something in an archive."""
    pattern = folder_and_pattern(path)
    folder = pattern[0] if pattern is not None else path
    return not filesystem.is_file(path) and (filesystem.is_folder(folder) or _in_archive(folder) is not None)


def annotated_clip(line: str, *, labelled: bool, folder: str = "") -> str | None:
    """Read a line of an annotation list: `PATH START COUNT LABEL`, where START or LABEL may be missing.

    labelled: the label has been taken off, so that the numbers are START COUNT, or COUNT alone; otherwise they are START
    COUNT, with or without a LABEL. folder: what PATH is relative to. Returns the clip's name (`ClipName`), beginning with
    PATH as it is written; None for any other line, and where there are no pictures at PATH.
    """
    word = "" if labelled else r"(?:[ \t,]+[^\s,\d].*)?"  # a label that is no number
    for numbers in (2, 1) if labelled else (3, 2):
        found = re.fullmatch(rf"(.*[^\s,])((?:[ \t,]+\d{{1,18}}){{{numbers}}}){word}", line, re.DOTALL | re.ASCII)
        if found is None:
            continue
        place = found[1].strip('"')  # as they stand around names with spaces
        if not is_place(os.path.join(folder, place)):  # noqa: PTH118 - as the path is written
            continue
        values = [int(value) for value in re.findall(r"\d+", found[2])]
        count = values[min(1, numbers - 1)]
        if numbers == 1 or not count:
            return str(ClipName(place, count=count))
        return str(ClipName.counted(place, values[0], values[1]))
    return None


def _find_all(place: str) -> ImageSequence | None:
    """Find all pictures of a folder, pattern or key of an archive; None if there is no such thing."""
    pattern = folder_and_pattern(place)
    if filesystem.is_folder(place):
        folder = PicturesFolder.listed(place)
        return _sequence(folder, _one_series(place, folder.names))
    if pattern is not None and (filesystem.is_folder(pattern[0]) or _in_archive(pattern[0])):
        folder = PicturesFolder.listed(pattern[0])
        return _sequence(folder, _fitting(place, pattern[1], folder.names))
    inside = _in_archive(place)
    if inside is None:
        return None
    index, key = tar_members.index_of(inside[0]), inside[1].rstrip("/")
    if key in index.folders or not key:
        folder = PicturesFolder.listed(place)
        return _sequence(folder, _one_series(place, folder.names))
    if key in index.members:
        raise NotAVideoError.about(place, "{subject!q} is a file in the archive, but no clip")
    films = [f"{inside[0]}/{name}" for name in index.videos.get(key, [])]
    if len(films) > 1:
        reason = "{subject!q} is the key of {count} videos: give {films}"
        raise NotAVideoError.about(place, reason, count=len(films), films=" or ".join(films))
    above, _, key = key.rpartition("/")
    names = [name for name in index.folders.get(above, []) if name.startswith(key + ".")]
    if not names:
        raise VideoNotFoundError.about(place, "there is no {subject!q} in the archive")
    folder = PicturesFolder(f"{inside[0]}/{above}", names)
    return _sequence(folder, _one_series(place, names))


def _in_archive(path: str) -> tuple[str, str] | None:
    """Return an archive and the name in it that a path means, "" for the archive itself; None for any other path."""
    bare = path.rstrip("/\\")
    return (bare, "") if tar_members.is_archive(bare) else tar_members.split_path(path)


def _sequence(folder: PicturesFolder, series: _Series) -> ImageSequence:
    return ImageSequence(folder.path, folder, series.numbers, series.names, step=_step(series.numbers))


def _part_of(whole: ImageSequence, name: ClipName) -> ImageSequence:
    """Return the pictures of the part that a clip's name says, and what is missing. Raises DecodeError."""
    if name.count == 0:
        raise DecodeError.about(whole.path, "{subject!q}: a clip of 0 pictures shows nothing: say how many it has")
    chosen = range(len(whole.numbers))
    first, last = whole.numbers[0], whole.numbers[-1]
    if name.first is not None and name.last is not None:
        first, last = name.first, name.last
        chosen = range(bisect_left(whole.numbers, first), bisect_left(whole.numbers, last + 1))
    if name.count is not None:
        chosen = chosen[: name.count]
        last = whole.numbers[chosen[-1]] if chosen else last
    if not chosen:
        reason = "{subject!q} has no such pictures: the numbers of its {count} go from {first} to {last}"
        raise DecodeError.about(whole.path, reason, count=len(whole), first=whole.numbers[0], last=whole.numbers[-1])
    numbers = whole.numbers[chosen.start : chosen.stop]
    missing = _missing(numbers, whole.step, first, last)
    if name.count is not None and len(chosen) < name.count:
        missing = f"{len(chosen)} pictures of {name.count} are there" + (f"; {missing}" if missing else "")
    names = whole.names[chosen.start : chosen.stop]
    return replace(whole, numbers=numbers, names=names, fps=name.fps, missing=missing)


def _step(numbers: Sequence[int]) -> int:
    """Return the greatest number that divides all distances: 5 if every fifth frame was kept, with or without gaps."""
    return gcd(*(number - numbers[0] for number in numbers)) or 1


def _missing(numbers: Sequence[int], step: int, first: int, last: int) -> str | None:
    """Describe which of the numbers from `first` to `last` no picture has; None if there are all."""
    start = first + (numbers[0] - first) % step
    edges = [start - step, *numbers, last + step - (last - numbers[-1]) % step]
    gaps = [(a + step, b - step) for a, b in itertools.pairwise(edges) if b - a > step]
    lost = sum((b - a) // step + 1 for a, b in gaps)
    if not lost:
        return None
    named = [str(a) if a == b else f"{a} to {b}" for a, b in gaps[:_NAMED_GAPS]]
    more = " and others" if len(gaps) > _NAMED_GAPS else ""
    verb, word = ("is", "number") if lost == 1 else ("are", "numbers")
    return f"{lost} of {len(numbers) + lost} pictures {verb} missing ({word} {', '.join(named)}{more})"


# --- which pictures belong together -----------------------------------------------------------


def _series_of(names: Iterable[str]) -> list[_Series]:
    """Group the numbered pictures among some names by what stands before and behind their number."""
    groups: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for name in names:
        suffix = suffix_of(name)
        if suffix in IMAGE_SUFFIXES and not name.startswith("."):
            found = _NUMBERED.fullmatch(name[: -len(suffix)])
            if found is not None and not found[1][-1:].isdigit():
                groups[found[1], found[3] + suffix].append((int(found[2]), name))
    ordered = ((prefix, sorted(group)) for (prefix, _), group in sorted(groups.items()))
    return [_Series(prefix, tuple(n for n, _ in group), tuple(name for _, name in group)) for prefix, group in ordered]


def _clip_series(names: Iterable[str]) -> list[_Series]:
    """Return the series that may be a clip's frames: all but optical flow, and but single pictures beside a long one."""
    series = [one for one in _series_of(names) if not one.prefix.lower().startswith(_FLOW)]
    several = [one for one in series if len(one.names) > 1]
    return several if several else series


def _one_series(place: str, names: Sequence[str]) -> _Series:
    """Return the pictures of a folder that was named. Raises NotAVideoError unless they are numbered in one way."""
    series = _clip_series(names)
    if not series:
        if not any(suffix_of(name) in IMAGE_SUFFIXES for name in names):
            raise VideoNotFoundError.about(place, "{subject!q} is no file and no clip: there are no pictures in it")
        raise NotAVideoError.about(place, "{subject!q} is no clip: {why}", why="its pictures have no numbers")
    if len(series) > 1:
        raise NotAVideoError.about(place, "{subject!q} is no clip: {why}", why=_several(series))
    return _checked(place, series[0])


def _several(series: Sequence[_Series]) -> str:
    examples = " and ".join(one.names[0] for one in series[:2])
    return f"its pictures are numbered in {len(series)} ways ({examples}); a pattern such as img_%05d.jpg takes one"


def _fitting(place: str, pattern: NamePattern, names: Iterable[str]) -> _Series:
    numbered = sorted((number, name) for name in names if (number := pattern.number(name)) is not None)
    if not numbered:
        raise VideoNotFoundError.about(place, "no picture fits {subject!q}")
    return _checked(place, _Series(pattern.prefix, tuple(n for n, _ in numbered), tuple(name for _, name in numbered)))


def _checked(place: str, series: _Series) -> _Series:
    if series.twice is not None:
        reason = "{subject!q} is no clip: two of its pictures have the number of {name!r}"
        raise NotAVideoError.about(place, reason, name=series.twice)
    return series


def samples_in(names: Sequence[str]) -> dict[str, list[str]]:
    """Group the pictures of samples of several, KEY.0001.jpg and so on, among the names in a folder of an archive by key."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if suffix_of(name) in IMAGE_SUFFIXES and name.count(".") > 1:
            groups[tar_members.key_of(name)].append(name)
    return {key: group for key, group in groups.items() if any(len(one.names) > 1 for one in _series_of(group))}


def why_not_frames(folder: PicturesFolder, mode: str) -> str | None:
    """Say why a folder that is searched is no clip, or return None if it is one.

    With `mode` "always" it is one if it has numbered pictures; raises NotAVideoError if they are numbered in several ways.
    With "auto", moreover, it has no video, at
    least `LEAST_PICTURES` pictures, at most as many missing as there, and nothing that shows that a camera took them:
    neither its names (IMG_0001) nor its data in the first or the last picture.
    """
    series = _clip_series(folder.names)
    if not series:
        return "its pictures have no numbers"
    if mode == "always":
        _one_series(folder.path, folder.names)
        return None
    if len(series) > 1:
        return _several(series)
    (one,) = series
    if len(one.names) < LEAST_PICTURES:
        return f"it has fewer than {LEAST_PICTURES} numbered pictures"
    if any(suffix_of(name) in VIDEO_SUFFIXES - IMAGE_SUFFIXES for name in folder.names):
        return "there are videos beside its pictures"
    places = (one.numbers[-1] - one.numbers[0]) // _step(one.numbers) + 1
    if one.twice is not None or places > 2 * len(one.numbers):
        return "the numbers of its pictures don't follow each other"
    if _CAMERA_NAME.fullmatch(one.names[0].rpartition(".")[0]):
        return f"its pictures are named as a camera names them ({one.names[0]})"
    return _why_not_read(folder, (one.names[0], one.names[-1]))


def _why_not_read(folder: PicturesFolder, names: Sequence[str]) -> str | None:
    """Say why these pictures are no frames, judging by their first bytes; None also if they can't be read."""
    for name in names:
        try:
            with folder.opened(name) as file:
                head = file.read(_HEAD_BYTES)
        except (OSError, ValueError, KeyError, VideoError):
            continue  # the clip's record will say so
        if is_animated_head(head):
            return "its pictures are animations"
        if is_from_camera(head):
            return f"its pictures were taken by a camera ({name} says so)"
    return None

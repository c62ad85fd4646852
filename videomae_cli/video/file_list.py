"""A list of millions of found files in little memory, and some of them that stand for all."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from videomae_cli.errors import VideoMAEError
from videomae_cli.video.discovery import FoundVideo
from videomae_cli.video.seen_names import SeenNames

# Any text, also one with bytes that are no UTF-8, and half characters as Windows allows them in names.
_CODING = ("utf-8", "surrogatepass")


class FileList(Sequence[FoundVideo]):
    """A list of found files that grows at its end: some 12 bytes for each, and its path's bytes.

    Makes a `FoundVideo` each time one is asked for, equal to the one that was appended.
    """

    def __init__(self, videos: Iterable[FoundVideo] = ()) -> None:
        self._paths = bytearray()
        self._ends, self._below = array("Q"), array("I")
        self._errors: dict[int, VideoMAEError] = {}
        for video in videos:
            self.append(video)

    def append(self, video: FoundVideo) -> None:
        """Add a file at the end."""
        if video.error is not None:
            self._errors[len(self._ends)] = video.error
        self._paths += video.path.encode(*_CODING)
        self._ends.append(len(self._paths))
        self._below.append(video.below)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> FoundVideo: ...
    @overload
    def __getitem__(self, place: slice) -> list[FoundVideo]: ...
    def __getitem__(self, place: int | slice) -> FoundVideo | list[FoundVideo]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        place = range(len(self))[place]  # raises IndexError, and counts from the end
        begin = self._ends[place - 1] if place else 0
        path = self._paths[begin : self._ends[place]].decode(*_CODING)
        return FoundVideo(path, self._errors.get(place), self._below[place])

    def __iter__(self) -> Iterator[FoundVideo]:
        return map(self.__getitem__, range(len(self)))


class Paths(Sequence[str]):
    """The paths of found files, each made when it is asked for, so that a long list isn't held twice."""

    def __init__(self, found: Sequence[FoundVideo]) -> None:
        self._found = found

    @classmethod
    def kept(cls, names: Iterable[str]) -> Paths:
        """Keep names in little memory, each once, in order."""
        seen = SeenNames()
        return cls(FileList(FoundVideo(name) for name in names if seen.add(name)))

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [video.path for video in self._found[place]]
        return self._found[place].path

    def __iter__(self) -> Iterator[str]:
        return (video.path for video in self._found)


class Sample:
    """At most `2 * LENGTH` of the files without an error that are added, evenly from the whole list, however long that gets."""

    LENGTH = 512

    def __init__(self) -> None:
        self.files: list[FoundVideo] = []
        self._count, self._step = 0, 1

    def add(self, video: FoundVideo) -> None:
        """Keep the file, if its turn has come."""
        if video.error is not None:
            return
        if self._count % self._step == 0:
            self.files.append(video)
            if len(self.files) > 2 * self.LENGTH:
                self._step *= 2
                self.files = self.files[::2]
        self._count += 1


def spread(found: Iterable[FoundVideo], count: int) -> list[FoundVideo]:
    """Pick at most `count` of the files without an error, evenly from the whole list; the same ones from a `Sample` of it."""
    sample = Sample()
    for video in found:
        sample.add(video)
    good = sample.files
    return good[:: max(1, len(good) // count)][:count]

"""What commands over many files are given: which files, and which of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from videomae_cli.cli import console
from videomae_cli.errors import OptionError, VideoNotFoundError
from videomae_cli.jobs import Shard
from videomae_cli.video import Filter, FoundVideo, SamplingSpec, find_videos, parse_time
from videomae_cli.video.preprocess import RESIZE_METHODS
from videomae_cli.video.standard_input import kept_copy


@dataclass(frozen=True)
class Inputs:
    """everything: all files of the job; found: those of this run, which is `part` of it where it was split."""

    everything: Sequence[FoundVideo]
    found: Sequence[FoundVideo]
    part: Shard | None = None

    @property
    def hopeless(self) -> bool:
        """Whether there is no file to open, so that nobody needs to wait for a model."""
        return self.part is None and all(video.error for video in self.found)


def find_inputs(
    paths: Sequence[str],
    *,
    recursive: bool,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
    shard: Shard | None,
    addresses: bool = False,
) -> Inputs:
    """addresses: whether files of object storage are taken too.

    Raises VideoNotFoundError where there is nothing to do at all: an empty list, or everything excluded."""
    only = Filter(tuple(include or ()), tuple(exclude or ()))
    found = find_videos(paths, recursive=recursive, only=only, addresses=addresses)
    if any(video.error is None and kept_copy(video.path) is not None for video in found):
        console.note("standard input holds a video: it is in a temporary file while this runs, and - in the results")
    if not found and shard is None:
        raise VideoNotFoundError("no files: the lists are empty, or --include and --exclude leave nothing")
    return Inputs(found, shard.of(found) if shard else found, shard)


def sampling_spec(
    *,
    family: str,
    stride: int | None,
    clips: int | None,
    crops: int | None,
    protocol: str,
    fps: float | None,
    start: str | None,
    end: str | None,
    pixels: str | None,
) -> SamplingSpec:
    """The options of how to sample. Raises OptionError."""
    return SamplingSpec(
        family=family,
        stride=stride,
        clips=clips,
        crops=crops,
        protocol=protocol,
        fps=fps,
        start=parse_time(start) if start is not None else None,
        end=parse_time(end) if end is not None else None,
        pixels=pixels,
    )


def pick_resize(asked: str | None, protocol: str = "auto") -> str:
    """How frames are resized: as asked for, else as the protocol has it. Raises OptionError."""
    if asked not in (None, *RESIZE_METHODS):
        raise OptionError(f"unknown resize method {asked!r}: choose {' or '.join(RESIZE_METHODS)}")
    if protocol == "paper" and asked not in (None, "opencv"):
        raise OptionError("the paper protocol fixes resize itself: leave out either it or resize")
    return asked or ("opencv" if protocol == "paper" else "antialias")

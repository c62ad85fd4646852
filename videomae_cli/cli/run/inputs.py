"""What commands over many files are given: which files, and which of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from videomae_cli.api import footage
from videomae_cli.assembly import ModelRequest
from videomae_cli.cli.options.groups import (
    ClipOptions,
    DecodingOptions,
    FileOptions,
    ModelOptions,
    RunOptions,
    ViewOptions,
)
from videomae_cli.cli.terminal import console
from videomae_cli.errors import OptionError, VideoNotFoundError
from videomae_cli.jobs import Shard
from videomae_cli.video import Decoder, Filter, FoundVideo, SamplingSpec, auto_workers, find_videos
from videomae_cli.video.preprocess import RESIZE_METHODS
from videomae_cli.video.standard_input import kept_copy

Request = TypeVar("Request", bound=ModelRequest)


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


def find_inputs(paths: Sequence[str], files: FileOptions, *, addresses: bool = False) -> Inputs:
    """Find the files of a job, and of them those of this run.

    addresses: whether files of object storage are taken too. Raises OptionError, and VideoNotFoundError where there is nothing
    to do at all: an empty list, or everything excluded.
    """
    shard = Shard.parse(files.shard) if files.shard is not None else None
    only = Filter(tuple(files.include or ()), tuple(files.exclude or ()))
    found = find_videos(paths, recursive=files.recursive, only=only, addresses=addresses)
    if any(video.error is None and kept_copy(video.path) is not None for video in found):
        console.note("standard input holds a video: it is in a temporary file while this runs, and - in the results")
    if not found and shard is None:
        raise VideoNotFoundError("no files: the lists are empty, or --include and --exclude leave nothing")
    return Inputs(found, shard.of(found) if shard else found, shard)


def sampling_spec(asked: ClipOptions) -> SamplingSpec:
    """Return the sampling that the options ask for. Raises OptionError."""
    return footage.sampling_spec(**asdict(asked))


def view_spec(view: ViewOptions) -> SamplingSpec:
    """Return the sampling of one video that is looked at, without crops. Raises OptionError."""
    names = ("sampling", "stride", "clips", "fps", "start", "end", "pixels")
    return footage.sampling_spec(**{name: getattr(view, name) for name in names}, crops=1)


def make_decoder(limits: DecodingOptions, *, workers: int = 1, debug: bool) -> Decoder:
    """Return the decoder of a command, whose processes are not started yet. Raises OptionError."""
    return Decoder(timeout=limits.seconds, memory=limits.memory, workers=workers, debug=debug)


def files_decoder(run: RunOptions, files: int, *, debug: bool) -> Decoder:
    """Return the decoder for so many files, with as many processes as are asked for, or fit. Raises OptionError."""
    return make_decoder(run.decoding, workers=run.workers or auto_workers(files), debug=debug)


def model_request(kind: type[Request], model: ModelOptions, run: RunOptions, **own: Any) -> Request:
    """Return the request for a model of this `kind`. own: what only this kind of request has. Raises OptionError."""
    return kind(
        name=model.model,
        revision=model.revision,
        **asdict(run.engine),
        resize=pick_resize(run.resize, run.sampling.protocol),
        heads=run.heads,
        **own,
    )


def pick_resize(asked: str | None, protocol: str = "auto") -> str:
    """Return how frames are resized: as asked for, else as the protocol has it. Raises OptionError."""
    if asked not in (None, *RESIZE_METHODS):
        raise OptionError(f"unknown resize method {asked!r}: choose {' or '.join(RESIZE_METHODS)}")
    if protocol == "paper" and asked not in (None, "opencv"):
        raise OptionError("the paper protocol fixes resize itself: leave out either it or resize")
    return asked or ("opencv" if protocol == "paper" else "antialias")

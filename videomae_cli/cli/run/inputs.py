"""Turns options into input files, sampling, decoders and model requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from videomae_cli.api import footage
from videomae_cli.assembly import ModelRequest, divide
from videomae_cli.cli.options.groups import (
    ClipOptions,
    DecodingOptions,
    FileOptions,
    ModelOptions,
    RunOptions,
    ViewOptions,
)
from videomae_cli.cli.terminal import console
from videomae_cli.errors import NotAVideoError, OptionError, VideoNotFoundError, check_choice
from videomae_cli.jobs import Part, Shard
from videomae_cli.video import Decoder, Filter, FoundVideo, SamplingSpec, auto_workers, named_videos
from videomae_cli.video.preprocess import RESIZE_METHODS
from videomae_cli.video.standard_input import kept_copy
from videomae_cli.video.windows import PUBLISHED_STEPS

Request = TypeVar("Request", bound=ModelRequest[Any])


@dataclass(frozen=True)
class Inputs:
    """The files of a job. found: those of this run; part: its shard, if the job is split; sample: some of all of them, of all
    shards."""

    sample: Sequence[FoundVideo]
    found: Sequence[FoundVideo]
    part: Part | None = None

    @property
    def hopeless(self) -> bool:
        """Whether no file can be opened, so that no model needs to be loaded."""
        return self.part is None and all(video.error for video in self.found)

    @property
    def no_videos(self) -> bool:
        """Whether every file is something else than a video, so that trying again would not help either."""
        return self.hopeless and all(isinstance(video.error, NotAVideoError) for video in self.found)


def find_inputs(paths: Sequence[str], files: FileOptions, *, addresses: bool = False) -> Inputs:
    """Find all files of a job, and the files of this run.

    addresses: whether object storage is accepted too. Raises OptionError, and VideoNotFoundError if there is nothing to do:
    an empty list, or everything excluded.
    """
    shard = Shard.parse(files.shard) if files.shard is not None else None
    only = Filter(tuple(files.include or ()), tuple(files.exclude or ()), files.frame_folders)
    named = named_videos(paths, recursive=files.recursive, only=only, addresses=addresses)
    found, sample, part = divide(named, shard)
    if any(video.error is None and kept_copy(video.path) is not None for video in found):
        console.note("standard input holds a video: it is in a temporary file while this runs, and - in the results")
    if not found and part is None:
        raise VideoNotFoundError.about(
            "videos", "no files: the lists are empty, or --include and --exclude leave nothing"
        )
    return Inputs(sample, found, part)


def sampling_spec(asked: ClipOptions) -> SamplingSpec:
    """Return the sampling that the options ask for. Raises OptionError."""
    return footage.sampling_spec(**asdict(asked))


def view_spec(view: ViewOptions) -> SamplingSpec:
    """Return the sampling for viewing one video, without crops. Raises OptionError."""
    names = ("sampling", "stride", "clips", "fps", "start", "end", "pixels")
    return footage.sampling_spec(**{name: getattr(view, name) for name in names}, crops=1)


def make_decoder(limits: DecodingOptions, *, workers: int = 1, debug: bool) -> Decoder:
    """Return the decoder of a command, whose processes are not started yet. Raises OptionError."""
    return Decoder(timeout=limits.seconds, memory=limits.memory, workers=workers, debug=debug)


def files_decoder(run: RunOptions, files: int, *, debug: bool) -> Decoder:
    """Return the decoder for this many files, with the requested number of processes or a suitable one. Raises OptionError."""
    return make_decoder(run.decoding, workers=run.workers or auto_workers(files), debug=debug)


def model_request(kind: type[Request], model: ModelOptions, run: RunOptions, **own: Any) -> Request:
    """Return the request for a model of this `kind`; a published number is made with the reference unless an engine is named.

    own: the fields that only this kind has. Raises OptionError.
    """
    protocol = run.sampling.protocol
    request = kind(
        name=model.model,
        revision=model.revision,
        **asdict(run.engine),
        resize=pick_resize(run.resize, protocol),
        heads=run.heads,
        **own,
    )
    return request if protocol == "auto" else request.as_reference()


def without_features(run: RunOptions) -> tuple[RunOptions, str | None]:
    """Return the options without a protocol of published features, and that, or None if there is none."""
    protocol = run.sampling.protocol
    if protocol not in PUBLISHED_STEPS:
        return run, None
    return replace(run, sampling=replace(run.sampling, protocol="auto")), protocol


def pick_resize(asked: str | None, protocol: str = "auto") -> str:
    """Return the resize method: the requested one, else the protocol's. Raises OptionError."""
    if asked is not None:
        check_choice("resize", asked, RESIZE_METHODS, what="resize method", last=" or ")
    if protocol == "paper" and asked not in (None, "opencv"):
        raise OptionError.about("resize", "the paper protocol fixes resize itself: leave out either it or resize")
    return asked or ("opencv" if protocol == "paper" else "antialias")

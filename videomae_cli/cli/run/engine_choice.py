"""Decides what runs the model of a job whose user named no engine (`--engine auto`): what was measured here, what the job
began with, or PyTorch; measures once per machine and model if the job is long enough to earn it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli.api.engine_speeds import measure_candidates
from videomae_cli.assembly import Calibrate, ModelRequest, find_hints, preprocessor_for
from videomae_cli.cli.terminal import console
from videomae_cli.engines.choosing import LONG_SECONDS, expected_seconds, reason, unknown_length
from videomae_cli.errors import VideoMAEError
from videomae_cli.model import clip_gflops
from videomae_cli.video import ClipRequest, CountedWindows, Decoder, FoundVideo, SamplingSpec, WindowSpec
from videomae_cli.video.file_list import spread
from videomae_cli.video.stated_length import stated_seconds

if TYPE_CHECKING:
    import torch

    from videomae_cli.engines import Engine, KnownCheckpoint

log = logging.getLogger(__name__)
# Files whose lengths stand for those of all, and clips on which the engines are compared.
_MOST_FILES, _CLIPS = 3, 8
# Frames a second of most films, by which the number of windows is estimated before any is open.
_USUAL_FPS = 25.0

# Tells whether a job whose clips take so many seconds each takes at least so many in all; called only if that matters.
JobLasts = Callable[[float, float], bool]


def job_of_unknown_length(clip_seconds: float, seconds: float) -> bool:
    """Tell whether a job takes at least so many seconds of which nobody knows the clips."""
    return unknown_length(seconds)


def length_of(
    found: Sequence[FoundVideo],
    decoder: Decoder,
    clips: Callable[[float], float],
    *,
    least: float = 1,
    most: float = math.inf,
) -> JobLasts:
    """Return a function that tells how long a job takes, from the lengths of a few of its files.

    clips: how many a file of so many seconds has; least, most: how many at least and at most. Where these tell, no file is looked
    at, and one that states no length is opened only to find out whether the job is long.
    """

    @cache
    def files() -> int:
        return sum(video.error is None for video in found)

    @cache
    def clips_of_each(opens: bool) -> float | None:
        known = [
            clips(length)
            for video in spread(found, _MOST_FILES)
            if (length := _seconds_of(video, decoder if opens else None))
        ]
        return sum(known) / len(known) if known else None

    def lasts(clip_seconds: float, seconds: float) -> bool:
        if not files() or files() * most * clip_seconds < seconds:
            return False
        if files() * least * clip_seconds >= seconds:
            return True
        each = clips_of_each(seconds >= LONG_SECONDS)
        return unknown_length(seconds) if each is None else files() * each * clip_seconds >= seconds

    return lasts


def _seconds_of(video: FoundVideo, decoder: Decoder | None) -> float | None:
    """Return how long a file says it is; if it says nothing, what is found by opening it with the decoder. None if nobody knows."""
    seconds = stated_seconds(video.path)
    if seconds is None and decoder is not None:
        try:
            return decoder.decode(ClipRequest(video.path, SamplingSpec(frames=1, clips=1))).info.duration
        except VideoMAEError as error:
            log.debug("%s tells nothing about how long the job is: %s", video.path, error)
    return seconds


def window_count(windows: WindowSpec | CountedWindows, seconds: float) -> float:
    """Return about how many windows a film of so many seconds has."""
    if isinstance(windows, CountedWindows):
        return windows.count(int(seconds * _USUAL_FPS))
    try:
        return windows.grid(fps=_USUAL_FPS, end=seconds).count() or 1
    except VideoMAEError:  # it ends before the first window
        return 1


@dataclass(frozen=True)
class EngineChooser:
    """Chooses the engine for a model that is being loaded, and says which and why if it isn't PyTorch's default.

    path: of the checkpoint; name: of the model; lasts: how long the job takes; calibrate: yields some of its clips.
    """

    request: ModelRequest[Any]
    path: Path
    name: str
    lasts: JobLasts
    calibrate: Calibrate | None

    def __call__(self, known: KnownCheckpoint) -> Engine:
        lasts = partial(self.lasts, expected_seconds(clip_gflops(known.config)))
        if candidates := self.request.worth_measuring(known, lasts):
            self._measure(known, candidates)
        chosen = self.request.choose(known, lasts)
        if chosen.measured is not None:
            console.note(
                f"running with {chosen.engine.name} in {chosen.engine.dtype}, {reason(chosen.measured)} (--engine torch for that)"
            )
        return chosen.engine

    def _measure(self, known: KnownCheckpoint, candidates: Sequence[tuple[str, str]]) -> None:
        console.note("measuring what is fastest here, once for this model (--engine torch to go without)")
        try:
            found = measure_candidates(candidates, lambda: self.request.part(self.path), known, self._some_clips(known))
        except (MemoryError, RuntimeError) as error:  # of memory for a second copy of the model, for example
            log.debug("nothing could be measured: %s", error)
            return
        if found.disturbed:
            console.note("other work kept this machine busy: the next long job measures again")
        if found.keep().is_default:
            console.note("nothing is clearly faster here than PyTorch in float32")

    def _some_clips(self, known: KnownCheckpoint) -> torch.Tensor | None:
        """Return clips of the job (V, T, C, H, W), or None if it gives none."""
        import torch

        if self.calibrate is None:
            return None
        preprocessor = preprocessor_for(self.path, known.config, self.request.resize)
        hints = find_hints(known.config.num_frames, known.config.extra, self.name)
        clips = list(self.calibrate(preprocessor, hints, _CLIPS))
        return torch.cat(clips) if clips else None

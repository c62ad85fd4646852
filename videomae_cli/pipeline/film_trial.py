"""Tries some films, to tell how many windows a job on whole films has and about how long each takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from videomae_cli.errors import VideoError
from videomae_cli.pipeline.dense import DenseEmbedder
from videomae_cli.pipeline.timeline import TimelineMaker
from videomae_cli.video import ClipRequest, CountedWindows, Decoder, FoundVideo, SamplingSpec, VideoInfo, WindowSpec

# After so long, the first batch of windows, whose time includes starting the decoder, is not tried a second time.
MOST_SECONDS = 20.0


@dataclass(frozen=True)
class FilmTrial:
    """What trying `files` films told, of which `failed` can't be read. windows: of all of them; seconds: for one window, decoding
    and model together; reason: why the first failed, with its name."""

    files: int
    failed: int
    windows: int
    seconds: float
    reason: str | None = None


def try_films(found: Sequence[FoundVideo], maker: DenseEmbedder | TimelineMaker, decoder: Decoder) -> FilmTrial:
    """Look at the length of each film, and take the beginning of the longest: as many windows as the model takes at once."""
    lengths: list[tuple[int, FoundVideo, VideoInfo]] = []
    reasons = []
    for video in found:
        try:
            info = decoder.decode(ClipRequest(video.path, SamplingSpec(frames=1, clips=1))).info
            lengths.append((_count(maker.windows, info), video, info))
        except VideoError as error:
            reasons.append(error.naming(video.path))
    windows, seconds = sum(count for count, *_ in lengths), 0.0
    if lengths:
        _, video, info = max(lengths, key=lambda one: one[0])
        first = _beginning(maker.windows, info, maker.model.batch_size)
        beginning = replace(maker, windows=first)  # type: ignore[arg-type]  # of the kind that they were
        for _ in range(2):
            started = time.monotonic()
            (result,) = beginning([video], decoder=decoder)
            seconds = (time.monotonic() - started) / max(result.views, 1)
            if seconds * result.views > MOST_SECONDS:
                break
    return FilmTrial(len(found), len(reasons), windows, seconds, next(iter(reasons), None))


def _count(windows: WindowSpec | CountedWindows, info: VideoInfo) -> int:
    """Return how many windows a file has. Raises VideoError if it ends before the first."""
    if isinstance(windows, WindowSpec):
        return windows.grid(fps=info.fps, end=info.duration).count() or 1
    if windows.start is None and windows.end is None:
        return windows.count(info.num_frames)
    end = info.duration if windows.end is None else min(windows.end, info.duration)
    return windows.count(int((end - (windows.start or 0.0)) * info.fps))


def _beginning(windows: WindowSpec | CountedWindows, info: VideoInfo, batch: int) -> WindowSpec | CountedWindows:
    """Return only the first windows of a file, as many as fill a batch."""
    start = windows.start or 0.0
    if isinstance(windows, WindowSpec):
        grid = windows.grid(fps=info.fps, end=None)
        end = start + grid.window + (batch - 1) * grid.hop
    else:
        end = start + (windows.frames + (batch - 1) * windows.step) / info.fps
    return replace(windows, end=min(end, windows.end or end))

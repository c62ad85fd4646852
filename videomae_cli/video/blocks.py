"""Goes through a file once (`onepass`) in blocks of frames, each decoded only when the caller asks for it.

Runs in the decoding process (`worker`), which keeps the file open from call to call: `open_pass`, then `next_block`
until it returns the last block.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import FileChangedError, VideoError, Wording
from videomae_cli.video.clips import file_stamp
from videomae_cli.video.discovery import check_readable
from videomae_cli.video.onepass import PassReader, Step
from videomae_cli.video.preprocess import FeatureTransform, FrameTransform, Pixels
from videomae_cli.video.reader import ReadAgainError, VideoInfo
from videomae_cli.video.windows import WindowGrid, WindowSpec

Frame = npt.NDArray[np.uint8]

# A block ends when it is this large, has this many frames, or took this long, so that whoever waits for it notices that
# decoding still makes progress.
BLOCK_BYTES = 8 * 2**20
BLOCK_FRAMES = 256
BLOCK_SECONDS = 1.0
_MOST_WINDOWS = 100_000
_MOST_WINDOWS_A_FRAME = 100
_NONE = np.zeros((0, 0, 0, 3), np.uint8)


@dataclass(frozen=True)
class PassRequest:
    """Requests frames of one file: those of windows, or, without `windows`, every frame from start to end.

    Without `transform`, frames come as decoded. transform: makes one crop of each frame; pixels, fps: as in `open_video`.
    """

    path: str | os.PathLike[str]
    windows: WindowSpec | None = None
    transform: FrameTransform | FeatureTransform | None = None
    start: float = 0.0
    end: float | None = None
    pixels: str = "display"
    fps: float | None = None


@dataclass(frozen=True)
class PassHead:
    """Describes an opened file before its first frame is requested.

    token: identifies the pass for `next_block`; grid: the places of the windows, whose `end` is None if it is only
    known after reading the whole file; info: its frame count and duration may still be those of the header.
    """

    token: int
    grid: WindowGrid | None
    info: VideoInfo


@dataclass(frozen=True)
class FrameBlock:
    """The next frames (n, h, w, 3), uint8 unless the transform makes float32, with their numbers in the file and their times in seconds.

    through: all frames on screen before this time (seconds) have been delivered; restarted: earlier blocks were wrong,
    and everything is sent again, starting with this block. The last block alone has an `info`, with the file's `end` in
    seconds and warnings for the user.
    """

    numbers: tuple[int, ...]
    times: tuple[float, ...]
    frames: Pixels
    through: float
    restarted: bool = False
    info: VideoInfo | None = None
    end: float = math.inf
    warnings: tuple[str, ...] = ()

    @property
    def last(self) -> bool:
        """Return whether this is the last block of the file."""
        return self.info is not None


@dataclass
class _Pass:
    """The state of one open file between two blocks."""

    request: PassRequest
    reader: PassReader
    grid: WindowGrid | None
    stamp: tuple[int, ...] | None
    through: float = 0.0
    restarted: bool = False
    steps: Iterator[Step] = field(default_factory=lambda: iter(()))

    def begin(self) -> None:
        """Start, or start again, with the first frame."""
        end = self.request.end if self.request.end is not None else math.inf
        start = self.request.start
        if self.grid is not None:
            start, end = self.grid.start, math.inf if self.grid.end is None else self.grid.end
        self.through = 0.0
        self.steps = self.reader.walk(self.grid.all_moments if self.grid else None, start, end)


_tokens = count()
_passes: dict[int, _Pass] = {}


def open_pass(request: PassRequest) -> PassHead:
    """Open a file, closing the one that was open before. Raises a VideoError or DependencyError."""
    for token in list(_passes):
        close_pass(token)
    stamp = file_stamp(request.path)
    path = os.fspath(request.path)
    check_readable(path)
    reader = PassReader(path, pixels=request.pixels, fps=request.fps)
    try:
        grid = request.windows.grid(fps=reader.fps, end=reader.end) if request.windows else None
        _check_times(grid, reader)
    except VideoError:
        reader.close()
        raise
    current = _Pass(request, reader, grid, stamp)
    current.begin()
    token = next(_tokens)
    _passes[token] = current
    return PassHead(token, grid, reader.info)


def _check_times(grid: WindowGrid | None, reader: PassReader) -> None:
    """Raise a VideoError for a file that claims years for a few pictures, which would keep a model busy for years."""
    count = grid.count() if grid is not None else None
    if count is not None and count > _MOST_WINDOWS and count > _MOST_WINDOWS_A_FRAME * reader.num_frames:
        raise VideoError(
            f"its {reader.num_frames} frames are said to last {reader.info.duration / 3600:,.0f} hours, which makes {count:,} windows",
            remedy=Wording("take a longer {@hop}, or a part of it with {@start} and {@end}"),
        )


def next_block(token: int) -> FrameBlock:
    """Decode the next block. Raises a VideoError; earlier blocks stay valid, unless a later one is `restarted`."""
    current = _passes[token]
    try:
        block = _collect(current)
    except ReadAgainError:
        current.begin()
        current.restarted = True
        block = FrameBlock((), (), _NONE, 0.0)
    except Exception:
        close_pass(token)
        raise
    if current.restarted:
        block, current.restarted = replace(block, restarted=True), False
    if block.last:
        close_pass(token)
    return block


def close_pass(token: int) -> None:
    """Close the file of a pass and free its memory; a pass that is closed already is no error."""
    current = _passes.pop(token, None)
    if current is not None:
        current.reader.close()


def _collect(current: _Pass) -> FrameBlock:
    numbers: list[int] = []
    times: list[float] = []
    frames: list[Pixels] = []
    size, until = 0, time.monotonic() + BLOCK_SECONDS
    transform = current.request.transform
    for number, seconds, frame in current.steps:
        current.through = seconds
        if frame is not None:
            # (1, h, w, 3) -> (h, w, 3)
            frames.append(transform(frame)[0] if transform is not None else frame)
            numbers.append(number)
            times.append(seconds)
            size += frames[-1].nbytes
        if size >= BLOCK_BYTES or len(frames) >= BLOCK_FRAMES or time.monotonic() > until:
            return FrameBlock(tuple(numbers), tuple(times), _stacked(frames), current.through)
    if file_stamp(current.request.path) != current.stamp:
        path = os.fspath(current.request.path)
        raise FileChangedError.about(path, "{subject!r} changed while it was read: try again when it is whole")
    reader = current.reader
    return FrameBlock(
        tuple(numbers),
        tuple(times),
        _stacked(frames),
        math.inf,
        info=reader.info,
        end=reader.end or math.inf,
        warnings=reader.warnings,
    )


def _stacked(frames: list[Pixels]) -> Pixels:
    return np.stack(frames) if frames else _NONE

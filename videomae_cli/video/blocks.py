"""A file gone through once (`onepass`), in blocks of frames, each when somebody asks for it: that sets the pace.

Runs in the decoding process (`worker`), which keeps the open file from call to call: `open_pass`, then `next_block` until
it says that it was the last.
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

from videomae_cli.errors import FileChangedError, VideoError
from videomae_cli.video.clips import file_stamp
from videomae_cli.video.discovery import check_regular_file
from videomae_cli.video.onepass import PassReader, Step
from videomae_cli.video.preprocess import FrameTransform
from videomae_cli.video.reader import ReadAgainError, VideoInfo
from videomae_cli.video.windows import WindowGrid, WindowSpec

Frame = npt.NDArray[np.uint8]

# A block ends when it is so large, has so many frames, or took so long: whoever waits for it must see that all is well.
BLOCK_BYTES = 8 * 2**20
BLOCK_FRAMES = 256
BLOCK_SECONDS = 1.0
_MOST_WINDOWS = 100_000
_MOST_WINDOWS_A_FRAME = 100
_NONE = np.zeros((0, 0, 0, 3), np.uint8)


@dataclass(frozen=True)
class PassRequest:
    """One file and what is wanted of it: the frames of windows, or, without `windows`, every frame from start to end.

    Without `transform`, frames come as decoded. transform: one crop a frame; pixels: as `open_video` takes it.
    """

    path: str | os.PathLike[str]
    windows: WindowSpec | None = None
    transform: FrameTransform | None = None
    start: float = 0.0
    end: float | None = None
    pixels: str = "display"


@dataclass(frozen=True)
class PassHead:
    """What is known before the first frame is wanted. token: for `next_block`; grid: its `end` is None where only the
    walk itself will tell; info: its count of frames and its duration are what the header says, there."""

    token: int
    grid: WindowGrid | None
    info: VideoInfo


@dataclass(frozen=True)
class FrameBlock:
    """The next frames (n, h, w, 3) uint8 with their numbers in the file and their seconds.

    through: of the moments before it, all frames are here; restarted: what came in earlier blocks was wrong, and is
    sent again from here on; the last one has an `info`, the `end` in seconds and what a user should know.
    """

    numbers: tuple[int, ...]
    times: tuple[float, ...]
    frames: Frame
    through: float
    restarted: bool = False
    info: VideoInfo | None = None
    end: float = math.inf
    warnings: tuple[str, ...] = ()

    @property
    def last(self) -> bool:
        """Whether no other comes."""
        return self.info is not None


@dataclass
class _Pass:
    """A file that is being gone through."""

    request: PassRequest
    reader: PassReader
    grid: WindowGrid | None
    stamp: tuple[int, int] | None
    through: float = 0.0
    restarted: bool = False
    steps: Iterator[Step] = field(default_factory=lambda: iter(()))

    def begin(self) -> None:
        """From the first frame on."""
        end = self.request.end if self.request.end is not None else math.inf
        start = self.request.start
        if self.grid is not None:
            start, end = self.grid.start, math.inf if self.grid.end is None else self.grid.end
        self.through = 0.0
        self.steps = self.reader.walk(self.grid.all_moments if self.grid else None, start, end)


_tokens = count()
_passes: dict[int, _Pass] = {}


def open_pass(request: PassRequest) -> PassHead:
    """Open a file; what was open before is closed. Raises a VideoError or DependencyError."""
    for token in list(_passes):
        close_pass(token)
    stamp = file_stamp(request.path)
    path = os.fspath(request.path)
    check_regular_file(path)
    reader = PassReader(path, pixels=request.pixels)
    try:
        grid = request.windows.grid(fps=reader.fps, end=reader.end) if request.windows else None
        _check_times(grid, reader)
    except VideoError:
        reader.close()
        raise
    going = _Pass(request, reader, grid, stamp)
    going.begin()
    token = next(_tokens)
    _passes[token] = going
    return PassHead(token, grid, reader.info)


def _check_times(grid: WindowGrid | None, reader: PassReader) -> None:
    """A file that claims years for a few pictures would keep a model busy for as long. Raises a VideoError."""
    count = grid.count() if grid is not None else None
    if count is not None and count > _MOST_WINDOWS and count > _MOST_WINDOWS_A_FRAME * reader.num_frames:
        raise VideoError(
            f"its {reader.num_frames} frames are said to last {reader.info.duration / 3600:,.0f} hours, which makes {count:,} windows: "
            "take a longer --hop, or a part of it with --start and --end"
        )


def next_block(token: int) -> FrameBlock:
    """The next frames. Raises a VideoError; what came before stays good, unless a block says otherwise."""
    going = _passes[token]
    try:
        block = _collect(going)
    except ReadAgainError:
        going.begin()
        going.restarted = True
        block = FrameBlock((), (), _NONE, 0.0)
    except Exception:
        close_pass(token)
        raise
    if going.restarted:
        block, going.restarted = replace(block, restarted=True), False
    if block.last:
        close_pass(token)
    return block


def close_pass(token: int) -> None:
    """Free what a file took."""
    going = _passes.pop(token, None)
    if going is not None:
        going.reader.close()


def _collect(going: _Pass) -> FrameBlock:
    numbers: list[int] = []
    times: list[float] = []
    frames: list[Frame] = []
    size, until = 0, time.monotonic() + BLOCK_SECONDS
    transform = going.request.transform
    for number, seconds, frame in going.steps:
        going.through = seconds
        if frame is not None:
            # (1, h, w, 3) -> (h, w, 3)
            frames.append(transform(frame)[0] if transform is not None else frame)
            numbers.append(number)
            times.append(seconds)
            size += frames[-1].nbytes
        if size >= BLOCK_BYTES or len(frames) >= BLOCK_FRAMES or time.monotonic() > until:
            return FrameBlock(tuple(numbers), tuple(times), _stacked(frames), going.through)
    if file_stamp(going.request.path) != going.stamp:
        path = os.fspath(going.request.path)
        raise FileChangedError(f"{path!r} changed while it was read: try again when it is whole")
    reader = going.reader
    return FrameBlock(
        tuple(numbers),
        tuple(times),
        _stacked(frames),
        math.inf,
        info=reader.info,
        end=reader.end or math.inf,
        warnings=reader.warnings,
    )


def _stacked(frames: list[Frame]) -> Frame:
    return np.stack(frames) if frames else _NONE

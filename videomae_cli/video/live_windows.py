"""Reads a live source (a camera or an address), and hands out its newest complete window on demand.

Runs in the decoding process (`worker`). A thread reads continuously and keeps the frames that windows need, resized. If
a window has not been fetched when the next one is complete, it is dropped, so that results never lag behind. If
decoding itself is too slow for the source, only keyframes are decoded until it has caught up. A recording behind an
address (one of known length) can wait, so none of its windows are dropped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DecodeError, VideoError
from videomae_cli.video.live_sources import AddressSource, CameraSource, LiveSource, shown
from videomae_cli.video.preprocess import FrameTransform
from videomae_cli.video.windows import GRACE, WindowGrid, WindowSpec

Frame = npt.NDArray[np.uint8]

# Seconds for which a call waits for a window before it answers that there is none yet.
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class LiveRequest:
    """Requests windows of a live source.

    source: an address, or the number of a camera; timeout: seconds without data to wait, None for no limit; copy: local
    copy of a recording that can't be read where it is; pixels: "display" or "stored".
    """

    source: str | int
    windows: WindowSpec
    transform: FrameTransform
    timeout: float | None
    copy: Path | None = None
    pixels: str = "display"


@dataclass(frozen=True)
class LiveHead:
    """Describes an open live source.

    token: identifies it for `next_window`; name: as shown to users; live: False for a recording, which can be read at any
    pace.
    """

    token: int
    name: str
    grid: WindowGrid
    fps: float
    width: int
    height: int
    live: bool


@dataclass(frozen=True)
class LiveWindow:
    """The newest complete window of a live source.

    start, end: seconds since the source's first frame; frames: (T, h, w, 3) uint8; moment: when it was complete
    (seconds since 1970); dropped: how many frames of the source were dropped between the previous window and this one.
    """

    start: float
    end: float
    frames: Frame
    moment: float
    dropped: int


@dataclass(frozen=True)
class LiveEnd:
    """Signals the end of the source.

    dropped: number of frames after the last window that were not decoded, to keep up.
    """

    dropped: int


class _Live:
    """A source that is being read by a thread, and its newest window."""

    def __init__(self, request: LiveRequest) -> None:
        # Load the transform's dependencies before the source is opened: that takes seconds, during which it would fall
        # behind.
        request.transform(np.zeros((16, 16, 3), np.uint8))
        source: LiveSource
        if isinstance(request.source, int):
            source = CameraSource(request.source)
        else:
            source = AddressSource(request.source, request.timeout, request.copy, request.pixels)
        self.source, self._transform = source, request.transform
        self.grid = request.windows.grid(fps=source.fps, end=None)
        self._changed = threading.Condition()
        self._newest: LiveWindow | None = None
        self._error: VideoError | None = None
        self._over = self._stopped = False
        # The end of the window fetched last, and the frames skipped until then.
        self._fetched_end, self._fetched_skipped = 0.0, 0
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    def next(self) -> LiveWindow | LiveEnd | None:
        """Return the newest window, None if there is none yet. Raises the error that ended the source."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._over, _WAIT_SECONDS)
            if self._newest is not None:
                window, self._newest = self._newest, None
                self._fetched_end, self._fetched_skipped = window.end, self.source.skipped
                self._changed.notify_all()
                return window
            if not self._over:
                return None
            if self._error is not None:
                raise self._error
            return LiveEnd(self.source.skipped - self._fetched_skipped)

    def close(self) -> None:
        """Stop reading. A read that never returns ends only with the process."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(_WAIT_SECONDS)
        if not self._thread.is_alive():
            self.source.close()

    def _run(self) -> None:
        try:
            self._read()
        except VideoError as error:
            self._error = error
        except Exception as error:  # an error raised in this thread would go unnoticed
            self._error = DecodeError(f"the decoder failed: {type(error).__name__}: {' '.join(str(error).split())}")
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _read(self) -> None:
        """Turn frames into windows. As in a file, a frame is on screen until the next one arrives."""
        spans, moments = self.grid.spans(), self.grid.all_moments()
        span, moment = next(spans), next(moments)
        buffer: deque[tuple[float, Frame]] = deque()
        held: Any = None
        held_at = 0.0
        for seen, (now, frame) in enumerate(self.source.frames()):
            if self._stopped:
                return
            if held is not None and moment < now - GRACE:
                buffer.append((held_at - GRACE, self._transform(self.source.picture(held))[0]))
                while moment < now - GRACE:
                    moment = next(moments)
            held, held_at = frame, now
            while span[1] <= now + GRACE and buffer:
                self._complete(span, buffer, rate=seen / now)
                span = next(spans)
                while len(buffer) > 1 and buffer[1][0] <= span[0]:
                    buffer.popleft()
        if held is not None and span[0] == 0.0:
            # The source is shorter than a window: then one window holds all of it.
            buffer.append((held_at - GRACE, self._transform(self.source.picture(held))[0]))
            self._complete((0.0, held_at + 1 / self.source.fps), buffer, rate=self.source.fps)

    def _complete(self, span: tuple[float, float], buffer: deque[tuple[float, Frame]], *, rate: float) -> None:
        """Publish a complete window as the newest. rate: frames that were decoded per second."""
        frames, row = [], 0
        for moment in self.grid.moments(span):
            while row + 1 < len(buffer) and buffer[row + 1][0] <= moment:
                row += 1
            frames.append(buffer[row][1])
        with self._changed:
            if not self.source.live:
                self._changed.wait_for(lambda: self._newest is None or self._stopped)
            missed = max(0.0, span[0] - self._fetched_end) * rate if self._fetched_end else 0.0
            dropped = round(missed) + self.source.skipped - self._fetched_skipped
            self._newest = LiveWindow(span[0], span[1], np.stack(frames), time.time(), dropped)
            self._changed.notify_all()


_tokens = count()
_open: dict[int, _Live] = {}


def open_live(request: LiveRequest) -> LiveHead:
    """Open a source and begin to read it.

    Raises VideoNotFoundError, NotAVideoError, or UnseekableError for a recording to be copied first.
    """
    live = _Live(request)
    token = next(_tokens)
    _open[token] = live
    source = live.source
    name = f"camera {request.source}" if isinstance(request.source, int) else shown(request.source)
    return LiveHead(token, name, live.grid, source.fps, source.width, source.height, source.live)


def next_window(token: int) -> LiveWindow | LiveEnd | None:
    """Return the newest window, None if none is complete yet. Raises a VideoError if the source broke off."""
    return _open[token].next()

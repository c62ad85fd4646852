"""Puts the two decoders behind one small interface: go forward one frame, look at it, jump, start over.

Neither knows the number of its current frame: the reader derives that from the times reported here. Times are seconds
from the stream's start, as in `probe.PacketIndex`; nan if the decoder reports none.
"""

from __future__ import annotations

import contextlib
import math
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DecodeError
from videomae_cli.video.native import load_av, load_cv2, native_path
from videomae_cli.video.probe import Probe, open_container
from videomae_cli.video.unreferenced import ReferenceCheck

Frame = npt.NDArray[np.uint8]

# Pictures are decoded in parallel, but each waits for parts of the previous one, so it takes six threads to keep two
# cores busy. The number doesn't depend on the number of cores, because it determines the memory needed and how damaged
# pictures come out (which varies more from run to run the more threads there are).
_THREADS, _CAREFUL_THREADS = 6, 2
_most_threads = _THREADS
LARGE_PIXELS = 1920 * 1088
_ROWS = 64
# For such small pictures several threads take more processor time than they save.
_SMALL_PIXELS = 1 << 17


def limit_threads(most: int) -> None:
    """Limit this process to `most` decoding threads from now on, because other processes decode at the same time."""
    global _most_threads
    _most_threads = most


def decoder_threads(probe: Probe) -> int:
    """Return how many threads should decode this video."""
    sound = probe.index.reliable and probe.index.whole
    if probe.avoid_opencv and probe.width * probe.height > LARGE_PIXELS:
        # High dynamic range: frames of ten bits take twice the memory.
        return 1
    return _threads_for(probe.width * probe.height) if sound else min(_CAREFUL_THREADS, _most_threads)


def _threads_for(pixels: int) -> int:
    return min(_THREADS if pixels <= LARGE_PIXELS else _CAREFUL_THREADS, _most_threads)


class Capture(Protocol):
    """An open decoder, for one thread of one process."""

    name: str
    can_seek: bool

    def restart(self, *, careful: bool = False) -> None:
        """Rewind to before the first frame. careful: the file turned out to be damaged, so use few threads."""

    def grab(self) -> float | None:
        """Decode the next frame and return its time; None if there is none, which doesn't always mean the end."""

    def retrieve(self) -> Frame | None:
        """Return the last frame grabbed, as stored: RGB (H, W, 3) uint8."""

    def seek(self, seconds: float) -> float | None:
        """Jump to before the frame at `seconds`, or an earlier one; return the time of the last frame consumed."""

    def close(self) -> None:
        """Close the decoder and free its memory."""


class OpenCVCapture:
    """Decodes with OpenCV's cv2.VideoCapture and its bundled ffmpeg."""

    name = "opencv"

    def __init__(self, path: str, threads: int) -> None:
        self._cv2: Any = load_cv2()
        self._path, self._native, self.threads = path, native_path(path), threads
        self._capture: Any = None
        self._ahead: list[float | None] = []
        self.restart()
        capture: Any = self._capture
        # OpenCV won't seek in what it takes for a picture, and it takes a negative frame count for one.
        self.can_seek = capture.get(self._cv2.CAP_PROP_FRAME_COUNT) > 1
        self._fps = float(capture.get(self._cv2.CAP_PROP_FPS))

    def restart(self, *, careful: bool = False) -> None:
        # Reopen the file instead of rewinding: OpenCV reports success even if a rewind has failed.
        self.close()
        if careful:
            self.threads = min(self.threads, _CAREFUL_THREADS)
        cv2 = self._cv2
        self._capture = cv2.VideoCapture(self._native, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, self.threads])
        if not self._capture.isOpened():
            raise DecodeError.about(self._path, "OpenCV can't open {subject!r}")
        # OpenCV knows only rotations, and would rotate mirrored pictures; `orientation` handles both instead.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)

    def look_ahead(self) -> None:
        """Decode the first frame now, so that the first `grab` returns at once."""
        self._ahead = [self.grab()]

    def grab(self) -> float | None:
        if self._ahead:
            return self._ahead.pop()
        return self._now() if self._capture.grab() else None

    def retrieve(self) -> Frame | None:
        done, frame = self._capture.retrieve()
        if not done or frame is None:
            return None
        if frame.dtype != np.uint8:
            frame = (frame >> 8).astype(np.uint8)
        grey = frame.ndim == 2 or frame.shape[2] == 1
        if grey or frame.shape[0] * frame.shape[1] <= LARGE_PIXELS:
            code = self._cv2.COLOR_GRAY2RGB if grey else self._cv2.COLOR_BGR2RGB
            return np.asarray(self._cv2.cvtColor(frame, code), dtype=np.uint8)
        # A second frame of that size would take too much memory: convert in place, some rows at a time because OpenCV
        # copies what it overwrites.
        for top in range(0, len(frame), _ROWS):
            rows = frame[top : top + _ROWS]
            self._cv2.cvtColor(rows, self._cv2.COLOR_BGR2RGB, dst=rows)
        return np.asarray(frame, dtype=np.uint8)

    def seek(self, seconds: float) -> float | None:
        self._ahead.clear()
        if not self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, round(seconds * self._fps)):
            return None
        return self._now()

    def property(self, number: int) -> float:
        """Return what OpenCV says of the file. number: one of its CAP_PROP constants."""
        return float(self._capture.get(number))

    def close(self) -> None:
        self._ahead.clear()
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _now(self) -> float:
        return float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000


class OpeningAhead:
    """Opens OpenCV's decoder and decodes the first frame in a thread, while `probe` reads the packets."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._capture: OpenCVCapture | None = None

    def start(self, path: str, pixels: int) -> None:
        """Begin to open the file, assuming that it is undamaged. pixels: pixels per picture."""
        self._thread = threading.Thread(target=self._open, args=(path, _threads_for(pixels)), daemon=True)
        self._thread.start()

    def take(self, probe: Probe) -> OpenCVCapture:
        """Return the decoder, reopened if the file turned out to need other settings or if opening failed.

        Raises DecodeError.
        """
        threads = decoder_threads(probe)
        self._finish()
        capture, self._capture = self._capture, None
        if capture is not None and capture.threads == threads:
            return capture
        if capture is not None:
            capture.close()
        return OpenCVCapture(probe.path, threads)

    def close(self) -> None:
        """Close the decoder if nobody took it."""
        self._finish()
        if self._capture is not None:
            self._capture.close()
            self._capture = None

    def _finish(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _open(self, path: str, threads: int) -> None:
        # an error here will occur again in `take`, which reports it
        with contextlib.suppress(Exception):
            capture = OpenCVCapture(path, threads)
            capture.look_ahead()
            self._capture = capture


class PyAVCapture:
    """Decodes with PyAV, for files that OpenCV can't decode or decodes wrongly."""

    name = "pyav"
    can_seek = True

    def __init__(self, probe: Probe) -> None:
        self._av: Any = load_av()
        self._probe, self._threads = probe, self._choose_threads(probe)
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._container: Any = None
        self._frame: Any = None
        self.restart()

    def restart(self, *, careful: bool = False) -> None:
        self.close()
        if careful:
            self._threads = min(self._threads, _CAREFUL_THREADS)
        self._container = open_container(self._probe.path)
        self._stream = self._container.streams[self._probe.stream]
        self._stream.codec_context.thread_count = self._threads
        self._stream.thread_type = "AUTO"
        self._base = float(self._stream.time_base or 0)
        self._start = self._stream.start_time or 0
        self._frames = self._decode()

    def grab(self) -> float | None:
        # Free the last frame before the next one is decoded: a 4K frame takes 25 MB.
        self._frame = None
        self._frame = frame = next(self._frames, None)
        if frame is None:
            return None
        return math.nan if frame.pts is None else (frame.pts - self._start) * self._base

    def retrieve(self) -> Frame | None:
        if self._frame is None:
            return None
        # A size that changes within the file is scaled back to the first one, as OpenCV does.
        size = {"width": self._probe.width, "height": self._probe.height}
        try:
            # One thread: waiting for others takes longer than converting a picture.
            converted = self._reformatter.reformat(self._frame, format="rgb24", threads=1, **size)
            return np.asarray(converted.to_ndarray(), dtype=np.uint8)
        except (self._av.FFmpegError, ValueError):
            return None

    def seek(self, seconds: float) -> float | None:
        try:
            self._container.seek(round(seconds / self._base) + self._start, stream=self._stream, backward=True)
        except (self._av.FFmpegError, OverflowError):
            return None
        self._frames = self._decode()
        return self.grab()

    def close(self) -> None:
        if self._container is not None:
            self._frame = None
            self._container.close()
            self._container = None

    def _time(self, item: Any) -> float:
        """Return when a packet or a frame is shown, exactly as `probe` computes it."""
        return math.nan if item.pts is None else (item.pts - self._start) * self._base

    def _decode(self) -> Iterator[Any]:
        errors = 0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size and not self._leaves_out(packet):
                        yield from self._decode_packet(packet)
                break
            except self._av.EOFError:
                break
            except (self._av.FFmpegError, IndexError):
                # A broken packet need not be the end of the file: continue, as `probe` does.
                errors += 1
                if errors > 100:
                    break
        yield from self._decode_packet(None)

    def _choose_threads(self, probe: Probe) -> int:
        return decoder_threads(probe)

    def _leaves_out(self, packet: Any) -> bool:
        return False

    def _decode_packet(self, packet: Any) -> list[Any]:
        try:
            return list(self._stream.codec_context.decode(packet))
        except self._av.FFmpegError:
            # One bad picture is not the end of the file.
            return []


class SparseCapture(PyAVCapture):
    """Decodes with PyAV, leaving out each picture that nobody wants if no other picture refers to it.

    `grab` counts those pictures all the same, and returns their times.
    """

    def __init__(self, probe: Probe) -> None:
        self._wanted: array[float] = array("d")
        self._left_out: list[float] = []
        self._upcoming: Any = None
        self._reached = -math.inf
        super().__init__(probe)

    def _choose_threads(self, probe: Probe) -> int:
        return 1 if probe.width * probe.height <= _SMALL_PIXELS else decoder_threads(probe)

    def expect(self, wanted: array[float]) -> bool:
        """Say which frames will be retrieved next, by their times, ascending; all after the last one are decoded.

        Returns False if one of them has been left out already: `restart` first.
        """
        self._wanted = wanted
        return not any(self._is_wanted(time) for time in self._left_out)

    def restart(self, *, careful: bool = False) -> None:
        super().restart(careful=careful)
        self._references = ReferenceCheck(self._stream.codec_context)
        self._forget()

    def grab(self) -> float | None:
        self._frame = None
        if self._upcoming is None:
            self._upcoming = next(self._frames, None)
        time = math.inf if self._upcoming is None else self._time(self._upcoming)
        # After a seek nobody counts the pictures before the first one that decodes.
        first = time if self._reached == -math.inf else self._reached
        while self._left_out and self._left_out[0] <= first:
            heappop(self._left_out)
        if self._left_out and self._left_out[0] < time:
            self._reached = heappop(self._left_out)
            return self._reached
        self._frame, self._upcoming = self._upcoming, None
        if self._frame is None:
            return None
        self._reached = time
        return time

    def seek(self, seconds: float) -> float | None:
        self._forget()
        return super().seek(seconds)

    def close(self) -> None:
        self._upcoming = None
        super().close()

    def _forget(self) -> None:
        self._left_out.clear()
        self._upcoming, self._reached = None, -math.inf

    def _leaves_out(self, packet: Any) -> bool:
        unreferenced = self._references(packet)
        if not unreferenced or packet.pts is None or packet.is_discard or not self._wanted:
            return False
        time = self._time(packet)
        if time > self._wanted[-1] or self._is_wanted(time):
            return False
        heappush(self._left_out, time)
        return True

    def _is_wanted(self, time: float) -> bool:
        slot = bisect_left(self._wanted, time)
        return slot < len(self._wanted) and self._wanted[slot] == time

"""Reads exactly the requested frames of one video file, in this process.

OpenCV decodes, but what it reports about counts, positions and success is never trusted. `probe` first reads the
packets' times; `cursor` uses them to go to a frame, and checks every step. If the decoder contradicts the packets, the
reader counts frames from the first one. If OpenCV can't decode a file, or decodes it wrongly, PyAV does.

Frame numbers are those of a full sequential decode by the same decoder: frame i is the i-th picture that comes out.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import median

import numpy as np
import numpy.typing as npt

from videomae_cli.arguments import checked
from videomae_cli.errors import DecodeError, FrameNumberError, OptionError, VideoError, VideoMAEError
from videomae_cli.video.captures import LARGE_PIXELS, Capture, OpeningAhead, PyAVCapture, SparseCapture
from videomae_cli.video.cursor import IndexedCursor, IndexMismatchError, WalkingCursor, straighten
from videomae_cli.video.discovery import check_readable
from videomae_cli.video.native import load_cv2
from videomae_cli.video.probe import NoDecoderError, Probe, probe_video
from videomae_cli.video.sources import special_source
from videomae_cli.video.unprobed import probe_with_opencv

Frame = npt.NDArray[np.uint8]
Transform = Callable[[Frame], Frame]

# If OpenCV returns the same frame twice, it is compared with PyAV's, but only this often per file, since still scenes
# are common.
_TWIN_CHECKS = 2
_TWIN_DIFFERENCE = 12.0
# If fewer frames than this seem to be missing, none is: durations in headers are rounded.
_SPARE_FRAMES = 1.5
# Pictures, and pixels of them, that must be left out for the other decoder to be worth it.
_LEAST_SAVED, _LEAST_SAVED_PIXELS = 12, 2_000_000
_SPARSE_REASON = "pictures that nobody needs are left out"
_UNPROBED_NOTE = "decoded by OpenCV alone, which may show interlaced and HDR video wrongly ({why})"


@dataclass(frozen=True)
class VideoInfo:
    """Properties of an open video file.

    decoder: "opencv", "pyav", or "pillow" of pictures and animated WebP, and `reason` why not OpenCV; num_frames: how many
    decode; declared_frames: what the header says, 0 for nothing; fps: frames per second on average; duration,
    start_time: seconds; width, height: pixels of the frames delivered, upright, and with square pixels if `pixels` is
    "display"; mirrored, rotation: how stored frames are turned upright: first mirrored (left to right), then rotated
    counter-clockwise by degrees.
    """

    path: str
    decoder: str
    num_frames: int
    declared_frames: int
    fps: float
    duration: float
    width: int
    height: int
    codec: str
    rotation: int
    start_time: float
    reason: str | None = None
    mirrored: bool = False
    pixels: str = "display"


class ReadAgainError(Exception):
    """Raised to request a second read: decoder or frame numbers have changed, so earlier frames may be wrong."""


class VideoReader:
    """An open video, for one thread of one process. Use `open_video` to get one."""

    def __init__(
        self, path: str, *, decoder: str | None = None, pixels: str = "display", fps: float | None = None
    ) -> None:
        self._path, self._pixels = path, pixels
        self._notes: list[str] = []
        self._capture: Capture | None = None
        self._twin_checks = _TWIN_CHECKS
        self._reason: str | None = None
        # The decoder that leaves out pictures; whether to use it is chosen when it is known which frames are wanted.
        self._sparse: SparseCapture | None = None
        self._chosen = False
        self._unprobed: str | None = None
        special = special_source(path, decoder=decoder, fps=fps)
        if special is not None:
            self._probe, open_capture = special
            self._start(open_capture)
            return
        ahead = OpeningAhead()
        try:
            self._probe = probe_video(path, partial(ahead.start, path) if decoder != "pyav" else None)
            self._open(decoder, ahead)
        except (VideoError, MemoryError) as error:
            if decoder == "pyav" or not isinstance(error, NoDecoderError):
                raise
            self._open_unprobed(path, error, ahead)
        except Exception as error:
            # If PyAV is missing, broken or behaves unlike the known releases, OpenCV may still read the file.
            if decoder == "pyav":
                raise
            self._open_unprobed(path, error, ahead)
        finally:
            ahead.close()

    def _open_unprobed(self, path: str, error: Exception, ahead: OpeningAhead) -> None:
        """Continue with OpenCV alone after PyAV's `error`, which is raised if OpenCV fails, too."""
        ahead.close()
        self._twin_checks, self._reason = 0, None
        text = getattr(error, "strerror", None) or error  # leave out the path, which every note's reader knows
        why = f"{type(error).__name__}: {text}"
        if isinstance(error, NoDecoderError):
            why = "it is in a format that nothing here decodes"
        try:
            self._probe = probe_with_opencv(path)
            self._start(ahead.take)
        except DecodeError:
            if isinstance(error, VideoMAEError):
                raise error from None
            raise DecodeError.about(
                path, "can't read {subject!r}: PyAV failed ({why}), and OpenCV can't open it", why=why
            ) from None
        self._unprobed = _UNPROBED_NOTE.format(why=" ".join(why.split()))

    def _open(self, decoder: str | None, ahead: OpeningAhead) -> None:
        self._reason = self._probe.avoid_opencv if decoder is None else None
        if decoder is None and self._reason is None and self._saves(len(self._probe.index.times)) and self._is_light():
            self._reason = _SPARSE_REASON
            try:
                return self._start(self._open_sparsely)
            except (DecodeError, IndexMismatchError):
                self._sparse = self._reason = None
        if (decoder or ("pyav" if self._reason else "opencv")) == "opencv":
            try:
                self._start(ahead.take)
            except DecodeError:
                if decoder is not None:
                    raise
                self._reason = "OpenCV decodes nothing"
                self._start(PyAVCapture)
        else:
            self._start(PyAVCapture)

    def _open_sparsely(self, probe: Probe) -> Capture:
        self._sparse = SparseCapture(probe)
        return self._sparse

    @property
    def info(self) -> VideoInfo:
        """Return the file's properties: size, rate, duration and how it is decoded."""
        probe = self._probe
        width, height = self._frame_size()
        return VideoInfo(
            path=probe.path,
            decoder=self._open_capture.name,
            num_frames=self.num_frames,
            declared_frames=probe.declared,
            fps=probe.fps,
            duration=self._times[-1] - self._times[0] + 1 / probe.fps,
            width=width,
            height=height,
            codec=probe.codec,
            rotation=probe.orientation.rotation,
            start_time=probe.start_time + self._times[0],
            reason=self._reason,
            mirrored=probe.orientation.mirrored,
            pixels=self._pixels,
        )

    @property
    def num_frames(self) -> int:
        """Return how many frames decode."""
        return len(self._times)

    @property
    def fps(self) -> float:
        """Return the frames per second, on average."""
        return self._probe.fps

    @property
    def times(self) -> array[float]:
        """Return the time of every frame in seconds; the first is at 0."""
        return array("d", (time - self._times[0] for time in self._times))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a user should know about this file."""
        unprobed = (self._unprobed,) if self._unprobed else ()
        return (*self._probe.notes, *unprobed, *self._notes, *self._missing())

    def timestamps(self, indices: Sequence[int]) -> list[float]:
        """Return the times of these frames, in seconds after the first frame of the file."""
        return [self._times[index] - self._times[0] for index in indices]

    @checked
    def read(self, indices: Sequence[int], transform: Transform | None = None) -> Frame:
        """Read the frames with these numbers, in this order, repeats allowed: (T, H, W, 3) uint8 RGB.

        `transform` is applied to each frame as soon as it is decoded, and its results are stacked instead. Raises
        FrameNumberError (an IndexError) for a number that no frame has, DecodeError if a frame can't be decoded.
        """
        wanted = sorted(set(indices))
        for index in wanted[:1] + wanted[-1:]:
            self._check_number(index)
        rows = self._persist(lambda: self._read_sorted(wanted, transform))
        if list(indices) == wanted:
            return rows
        where = {index: row for row, index in enumerate(wanted)}
        return rows[[where[index] for index in indices]]

    def iter_frames(
        self, indices: Sequence[int], transform: Transform | None = None
    ) -> Iterator[tuple[int, float, Frame]]:
        """Yield (number, seconds, frame) one after the other, for ascending numbers; holds one frame at a time."""
        if any(a >= b for a, b in pairwise(indices)):
            raise OptionError.about("indices", "{subject} must ascend, each once")
        for index in indices:
            self._check_number(index)
        self._expect(indices)
        for index in indices:
            # Read before looking up the time, since reading may change the times.
            result = [self._persist(partial(self._transformed, index, transform))]
            yield index, self._times[index] - self._times[0], result.pop()

    def close(self) -> None:
        """Close the decoder and free its memory."""
        if self._capture is not None:
            self._capture.close()
            self._capture = None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def _open_capture(self) -> Capture:
        if self._capture is None:
            raise OptionError.about(self._path, "{subject!r} is closed: open it again to read frames")
        return self._capture

    def _start(self, open_capture: Callable[[Probe], Capture]) -> None:
        """Open with a decoder and find out how many frames there are."""
        self.close()
        self._notes.clear()
        self._capture = open_capture(self._probe)
        self._last_sample: Frame | None = None
        self._settle(self._capture)

    def _settle(self, capture: Capture) -> None:
        index = self._probe.index
        self._cursor: IndexedCursor | WalkingCursor
        if index.reliable:
            self._cursor = cursor = IndexedCursor(capture, index)
            self._times = index.times
            try:
                cursor.goto(0)
                if not index.complete:
                    cursor.check_end()
                return
            except IndexMismatchError:
                if self._sparse is not None:
                    raise
        self._walk()

    def _walk(self) -> None:
        """Give up the index: from now on, find frames by counting."""
        cursor = WalkingCursor(self._open_capture, self._probe.index.packets)
        times = cursor.measure()
        if not times:
            raise DecodeError.about(self._probe.path, "no frame of {subject!r} could be decoded")
        cursor.restart()
        self._cursor = cursor
        self._times, note = straighten(times, self._probe.index, self._probe.fps)
        if note:
            self._notes.append(note)

    def _persist(self, read: Callable[[], Frame]) -> Frame:
        """Call a read, and call it again after each fallback.

        The fallbacks are from OpenCV to PyAV and, with either of them, from the index to counting.
        """
        for _ in range(3):
            try:
                return read()
            except ReadAgainError:
                continue
        return read()

    def _read_sorted(self, wanted: Sequence[int], transform: Transform | None) -> Frame:
        self._expect(wanted)
        rows: Frame | None = None
        for row, index in enumerate(wanted):
            result = self._transformed(index, transform)
            if rows is None:
                rows = np.empty((len(wanted), *result.shape), np.uint8)
            rows[row] = result
        if rows is None:
            raise FrameNumberError.about(self._path, "no frame of {subject!r} is asked for: indices is empty")
        return rows

    def _transformed(self, index: int, transform: Transform | None) -> Frame:
        # Keep no reference, so that this frame is freed before the next one comes: a 4K frame takes 25 MB.
        frame = self._frame(index)
        return frame if transform is None else transform(frame)

    def _check_number(self, index: int) -> None:
        if not 0 <= index < self.num_frames:
            reason = "{subject!r} has no frame {index}: it is a video of {count} frames"
            raise FrameNumberError.about(self._path, reason, index=index, count=self.num_frames)

    def _frame(self, index: int) -> Frame:
        """Return one frame, upright. Raises DecodeError if fewer frames decode than expected."""
        if index >= self.num_frames:
            raise DecodeError(f"frame {index} could not be decoded: only {self.num_frames} could")
        try:
            self._cursor.goto(index)
        except IndexMismatchError:
            if self._sparse is None:
                self._walk()
            else:
                self._decode_all()
            raise ReadAgainError from None
        return self._picture(index)

    def _expect(self, wanted: Sequence[int]) -> None:
        """Leave out pictures on the way to these frames, in ascending order, if there are enough that nobody needs."""
        cursor, sparse = self._cursor, self._sparse
        if sparse is None or not isinstance(cursor, IndexedCursor):
            return
        if not self._chosen and not self._saves(cursor.count_passed(wanted)):
            self._decode_all()
        elif not sparse.expect(array("d", (self._times[index] for index in wanted))):
            cursor.restart()
        self._chosen = True

    def _saves(self, passed: int) -> bool:
        """Return whether going past so many pictures is much cheaper without those that no other refers to."""
        saved = self._probe.index.unreferenced * passed
        return saved >= _LEAST_SAVED and saved * self._probe.width * self._probe.height >= _LEAST_SAVED_PIXELS

    def _is_light(self) -> bool:
        """Return whether PyAV takes no more memory than OpenCV; with HEVC above 1080p it takes a third more."""
        return self._probe.codec != "hevc" or self._probe.width * self._probe.height <= LARGE_PIXELS

    def _decode_all(self) -> None:
        """Continue with OpenCV, which decodes every picture."""
        self._sparse, self._reason = None, None
        self._start(OpeningAhead().take)

    def _picture(self, index: int) -> Frame:
        """Return the last frame grabbed. index: its number."""
        frame = self._open_capture.retrieve()
        if frame is None:
            raise DecodeError.about(
                self._probe.path, "frame {index} of {subject!r} could not be converted to RGB", index=index
            )
        self._check_twin(index, frame)
        return self._upright(frame)

    def _check_twin(self, index: int, frame: Frame) -> None:
        """Compare a frame that OpenCV returned twice with PyAV's, and switch to PyAV if they differ.

        OpenCV 4.13 and later leave the last picture in place, and report success, when they can't convert a frame (an
        interlaced one, for example).
        """
        if self._open_capture.name != "opencv" or not self._twin_checks:
            return
        sample = frame[::5, ::7].copy()
        repeated = self._last_sample is not None and np.array_equal(sample, self._last_sample)
        self._last_sample = sample
        if not repeated:
            return
        self._twin_checks -= 1
        try:
            with VideoReader(self._probe.path, decoder="pyav", pixels=self._pixels) as other:
                if index >= other.num_frames:
                    return
                truth = other._frame(index)
        except Exception:  # if PyAV fails for any reason, keep OpenCV's picture
            return
        mine = self._upright(frame)
        same_size = truth.shape == mine.shape
        if same_size and np.abs(truth[::3, ::3].astype(np.int16) - mine[::3, ::3]).mean() <= _TWIN_DIFFERENCE:
            return
        self._reason = "OpenCV decodes it wrongly"
        self._start(PyAVCapture)
        raise ReadAgainError

    def _frame_size(self) -> tuple[int, int]:
        """Return (width, height) of the frames that are delivered."""
        width, height = self._probe.width, self._probe.height
        if self._pixels == "display" and self._probe.pixel_aspect != 1:
            width = max(round(width * self._probe.pixel_aspect), 1)
        return self._probe.orientation.shown_size(width, height)

    def _upright(self, frame: Frame) -> Frame:
        """Turn a stored frame upright, and scale it to the file's common size.

        Frames are stretched to square pixels if `pixels` is "display", and a frame of another size is scaled to that of
        the first one.
        """
        frame = self._probe.orientation.apply(frame)
        width, height = self._frame_size()
        if frame.shape[:2] == (height, width):
            return frame
        cv2 = load_cv2()
        shrinks = frame.shape[0] * frame.shape[1] > width * height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(frame, (width, height), interpolation=method), dtype=np.uint8)

    def _missing(self) -> list[str]:
        """Return a warning about frames that the file should have but that don't decode."""
        decoded, declared = self.num_frames, self._probe.declared
        index, duration = self._probe.index, self._probe.duration
        expected = index.decodable if index.whole else max(index.decodable, declared)
        if decoded < expected:
            return [f"{decoded} of {expected} frames decoded: the file is damaged or cut off"]
        if index.whole:
            return []
        if index.torn and not self._probe.ends_stated:
            return [f"{decoded} frames decoded: the file is cut off, and nothing tells how many it had"]
        last = self._times[-1] - self._times[0]
        # If the end of the file is known to be missing, a few missing frames count; otherwise only a large gap does.
        spare = _SPARE_FRAMES * self._typical_interval() if index.torn else 0.1 * duration + 1 + 1 / self.fps
        if last < duration - spare:
            return [f"{decoded} of about {round(duration * self.fps)} frames decoded: the file is cut off"]
        # Pictures are stored after those they refer to, so the last ones stored may be displayed after others that are
        # lost.
        note = f"{decoded} frames decoded: the file is cut off, and nothing tells whether these are all"
        return [note] if index.torn else []

    def _typical_interval(self) -> float:
        """Return the median time in seconds from one frame to the next."""
        return median((b - a for a, b in pairwise(self._times)) if len(self._times) > 1 else [1 / self.fps])


@checked
def open_video(
    path: str | os.PathLike[str], *, decoder: str | None = None, pixels: str = "display", fps: float | None = None
) -> VideoReader:
    """Open a file that holds a video, or a clip that is a folder of numbered pictures (`image_sequences`).

    decoder: "opencv" or "pyav" to insist on one, None for OpenCV if it decodes the file correctly, else PyAV. pixels:
    "display" stretches frames to square pixels, "stored" leaves them as they are. fps: pictures per second, for pictures
    whose name doesn't say; 30 is assumed without it. Raises VideoNotFoundError, NotAVideoError, DecodeError (no frame
    decodes) or DependencyError.
    """
    path = os.fspath(path)
    check_readable(path)
    return VideoReader(path, decoder=decoder, pixels=pixels, fps=fps)

"""Opens live sources and reads them frame by frame: cameras with OpenCV, addresses with PyAV.

Addresses: http(s), rtsp(s), rtmp(s), udp, tcp, rtp, and HLS over http(s), as far as PyAV's wheels support them; not
srt.
"""

from __future__ import annotations

import errno
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DecodeError, NotAVideoError, VideoNotFoundError
from videomae_cli.video.native import load_av, load_cv2, open_media
from videomae_cli.video.orientation import Orientation
from videomae_cli.video.recordings import MOST_BYTES, UnseekableError, look

Frame = npt.NDArray[np.uint8]

# Never "file": a playlist from outside must not name files of this machine.
PROTOCOLS = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "tcp", "udp", "rtp")
_INNER_PROTOCOLS = (*PROTOCOLS, "tls", "crypto", "httpproxy", "rtmpt", "ffrtmphttp", "ffrtmpcrypt", "data")
# Containers whose index may lie behind the pictures (MP4 and its relatives), and formats that only list what to play.
_NEEDS_SEEKING = "mov"
_PLAYLISTS = ("hls", "dash")
_LAG_SECONDS = 1.0
# A read that takes at least this many seconds had to wait for the source, so decoding keeps up with it.
_WAITED_SECONDS = 0.02
_CAMERA_RATE = 30.0


def check_address(address: str) -> None:
    """Raise VideoNotFoundError for an address of a kind that can't be read."""
    scheme = address.partition("://")[0].lower()
    if scheme not in PROTOCOLS:
        raise VideoNotFoundError.about(
            shown(address), "{subject} is no address that can be read: {protocols}", protocols=", ".join(PROTOCOLS)
        )


def shown(address: str) -> str:
    """Return an address in quotes for people, without the password in it."""
    return repr(re.sub(r"(://[^/@:]*:)[^/@]*@", r"\1***@", address))


class LiveSource(Protocol):
    """What cameras and addresses have in common: a live source of frames.

    fps: frames per second; width, height: pixels; live: False for a recording, which can be read at any pace; skipped:
    number of frames that were not decoded, to keep up.
    """

    fps: float
    width: int
    height: int
    live: bool
    skipped: int

    def frames(self) -> Iterator[tuple[float, Any]]:
        """Yield (seconds since the first frame, frame to pass to `picture`)."""

    def picture(self, frame: Any) -> Frame:
        """Convert a frame to upright RGB (H, W, 3) uint8."""

    def close(self) -> None: ...


class AddressSource:
    """Reads a stream or a recording behind an address through PyAV.

    copy: local copy of a recording that can't be read where it is; pixels: "display" stretches frames to square pixels,
    "stored" leaves them as they are. Raises UnseekableError for a recording that is not copied yet, VideoNotFoundError
    or NotAVideoError.
    """

    def __init__(self, address: str, timeout: float | None, copy: Path | None = None, pixels: str = "display") -> None:
        check_address(address)
        self._av: Any = load_av()
        self._name = shown(address)
        self._address = address
        self._over_http = address.lower().startswith("http") and copy is None
        limits = None if timeout is None else (timeout, timeout)
        options = {"protocol_whitelist": ",".join(_INNER_PROTOCOLS), "rtsp_transport": "tcp"}
        # Hand over an open file, not its name: its content must not refer to other files of this machine.
        self._copy = copy.open("rb") if copy is not None else None
        try:
            self._container = open_media(self._copy or address, options=options, timeout=limits)
        except (self._av.FFmpegError, ValueError, UnicodeError) as error:
            self._refuse_unseekable(timeout)
            raise VideoNotFoundError.about(
                self._name, "can't open {subject}: {reason}", reason=self._reason(error)
            ) from None
        if self._container.format.name.startswith(_NEEDS_SEEKING):
            self._refuse_unseekable(timeout)
        if not self._container.streams.video:
            self.close()
            raise NotAVideoError.about(self._name, "{subject} holds no video")
        self._stream = self._container.streams.video[0]
        self._context = self._stream.codec_context
        if self._context is None:
            self.close()
            raise NotAVideoError.about(self._name, "{subject} holds video in a format that nothing here decodes")
        self._stream.thread_type = "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate and 0 < rate <= 1000 else 25.0
        aspect = self._stream.sample_aspect_ratio or 1 if pixels == "display" else 1
        self.height = self._context.height
        self.width = max(1, round(self._context.width * aspect)) if 0.2 <= aspect <= 5 else self._context.width
        self.live = not (self._container.duration or self._stream.duration or self._has_length())
        self.skipped = 0

    def frames(self) -> Iterator[tuple[float, Any]]:
        clock, pace = _Clock(1 / self.fps), _Pace()
        base = float(self._stream.time_base or 0)
        packets = self._container.demux(self._stream)
        while True:
            asked = time.monotonic()
            try:
                packet = next(packets)
                decoded = packet.decode() if packet.size else []
            except (StopIteration, self._av.EOFError):
                break
            except self._av.InvalidDataError:
                continue  # one bad picture is not the end of the stream
            except (self._av.FFmpegError, OSError) as error:
                if self._is_end(error):
                    break
                raise DecodeError.about(
                    self._name, "{subject} broke off: {reason}", reason=self._reason(error)
                ) from None
            if self.live and packet.dts is not None:
                behind = pace.behind(packet.dts * base, time.monotonic() - asked)
                self._context.skip_frame = "NONKEY" if behind else "DEFAULT"
                self.skipped += behind and not decoded
            for frame in decoded:
                yield clock.at(math.nan if frame.pts is None else frame.pts * base), frame
        try:
            for frame in self._context.decode(None):
                yield clock.at(math.nan if frame.pts is None else frame.pts * base), frame
        except self._av.FFmpegError:
            return

    def picture(self, frame: Any) -> Frame:
        pixels = frame.to_ndarray(format="rgb24", width=self.width, height=self.height)
        return Orientation.of_frame(frame).apply(np.asarray(pixels, dtype=np.uint8))

    def close(self) -> None:
        self._container.close()
        if self._copy is not None:
            self._copy.close()

    @property
    def _size(self) -> int:
        """The number of bytes to read, 0 if unknown: PyAV then says None, or -1 before version 19."""
        return max(0, self._container.size or 0)

    def _has_length(self) -> bool:
        """Return whether the server announces a length, which makes this a recording, even if its duration is unknown."""
        played = self._container.format.name not in _PLAYLISTS
        return self._copy is not None or (self._over_http and played and 0 < self._size <= MOST_BYTES)

    def _refuse_unseekable(self, timeout: float | None) -> None:
        """Raise UnseekableError for a recording that needs seeking on a server that doesn't allow it."""
        remote = look(self._address, timeout) if self._over_http else None
        if remote is not None and not remote.ranges and 0 < (remote.size or 0) <= MOST_BYTES:
            raise UnseekableError.about(self._name, "{subject} can't be read where it is")

    def _is_end(self, error: Exception) -> bool:
        """Return whether an error is a normal end: FFmpeg 8 reports one after an answer that announced no length."""
        of_unknown_size = self._over_http and not self._size
        return of_unknown_size and getattr(error, "errno", None) == errno.EIO

    def _reason(self, error: Exception) -> str:
        text = str(getattr(error, "strerror", None) or error).replace(self._address, "").strip()
        if isinstance(error, TimeoutError) or "Immediate exit" in text:
            return "nothing came in time"
        return " ".join(text.split()).rstrip(".") or type(error).__name__


class CameraSource:
    """Reads a camera of this machine through OpenCV. Its driver drops what is not read in time."""

    live = True
    skipped = 0

    def __init__(self, number: int) -> None:
        self._cv2: Any = load_cv2()
        self._name = f"camera {number}"
        self._capture = self._cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise VideoNotFoundError.about(
                "camera", "there is no camera {number} here, or another program uses it", number=number
            )
        self.fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        if not 1 <= self.fps <= 1000:
            self.fps = _CAMERA_RATE
        self.width = int(self._capture.get(self._cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(self._cv2.CAP_PROP_FRAME_HEIGHT))

    def frames(self) -> Iterator[tuple[float, Any]]:
        first: float | None = None
        while True:
            done, frame = self._capture.read()
            if not done:
                raise DecodeError.about(self._name, "{subject} gives no more pictures")
            now = time.monotonic()
            first = now if first is None else first
            yield now - first, frame

    def picture(self, frame: Any) -> Frame:
        return np.asarray(self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        self._capture.release()


class _Clock:
    """Converts a stream's times to ones that begin at 0 and always increase; a jump becomes `step` seconds."""

    def __init__(self, step: float) -> None:
        self._step, self._shift = step, math.nan
        self._last = -step

    def at(self, raw: float) -> float:
        now = raw + self._shift
        # This condition also holds for the first frame, and for frames without a time (nan).
        if not self._last < now < self._last + 60:
            now = self._last + self._step
            self._shift = now - raw
        self._last = now
        return now


class _Pace:
    """Tells whether decoding keeps up with a live source."""

    def __init__(self) -> None:
        self._offset: float | None = None
        self._behind = False

    def behind(self, stream: float, waited: float) -> bool:
        """Return whether decoding lags behind.

        stream: seconds by the source's clock; waited: seconds that the read took.
        """
        offset = time.monotonic() - stream
        if self._offset is None or waited > _WAITED_SECONDS or offset < self._offset:
            self._offset, self._behind = offset, False
        elif offset - self._offset > _LAG_SECONDS:
            self._behind = True
        return self._behind

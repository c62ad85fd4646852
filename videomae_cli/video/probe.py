"""Describes a file without decoding it: streams, colours, and the time of every packet.

PyAV reads the packets once (about 5 ms per minute of video). Their presentation times, sorted, are the times OpenCV
reports frame by frame on all but damaged or very odd files, so they serve as an index that the reader verifies as it
goes. The header's number of frames is never believed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any

from videomae_cli.content import HEAD_BYTES, content_in
from videomae_cli.errors import NotAVideoError, say
from videomae_cli.video.bitstream import BitstreamCheck
from videomae_cli.video.native import load_av, native_path, open_media
from videomae_cli.video.orientation import Orientation
from videomae_cli.video.structure import is_whole
from videomae_cli.video.tar_members import opened
from videomae_cli.video.transport import is_intact
from videomae_cli.video.unreferenced import ReferenceCheck

# Demuxers that open other files or devices, or that turn pictures or text into video.
_REFUSED = frozenset(
    {
        *("concat", "dash", "hls", "imf", "rtp", "rtsp", "sap", "sdp", "webm_dash_manifest"),
        *("alsa", "avisynth", "fbdev", "iec61883", "jack", "kmsgrab", "lavfi", "oss", "pulse", "sndio", "v4l2"),
        *("vapoursynth", "video4linux2", "x11grab", "xcbgrab"),
        *("alias_pix", "brender_pix", "fits", "ico", "image2", "image2pipe", "txd"),
        *("adf", "bin", "idf", "tty", "xbin"),
    }
)
_MAX_READ_ERRORS = 100
_PROBE_PACKETS = 120
# Longest time in seconds that the last picture of an intact file may be shown.
_END_TOLERANCE = 0.1
# Containers in which a seek lands on the keyframe given by their index, and whose packets have their own times.
_INDEXED_CONTAINERS = ("mov", "matroska")
# Containers whose header states the duration; for others ffmpeg derives one from the packets that are there.
_STATING = ("matroska", "mxf", "asf")
# The header of each picture in an AVI takes at least this many bytes.
_LEAST_AVI_BYTES = 8
# ffmpeg's AVFieldOrder values for "unknown" and "progressive".
_PROGRESSIVE = (0, 1)
# Unspecified, BT.709, and the two of BT.601 (ITU-T H.273): OpenCV converts wider ones to BT.709.
_COMMON_FORMATS, _COMMON_PRIMARIES = ("yuv420p", "yuvj420p"), (2, 1, 5, 6)
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}


class NoDecoderError(NotAVideoError):
    """The FFmpeg inside PyAV has no decoder for the stream; OpenCV brings its own FFmpeg, which may have one."""


@dataclass(frozen=True)
class PacketIndex:
    """The presentation timeline of a stream. times: seconds from the stream's start, one per picture, ascending.

    keys: positions in `times` where decoding can start; reliable: no time is missing or occurs twice; whole: the
    container shows that the file is not truncated, so a header that promises more frames is wrong; torn: the container
    shows that the file is truncated; complete: there is no sign of frames that won't decode, so their number needs no
    check; packets: number of stored pictures, shown or not; decodable: how many of `times` should decode, not counting
    pictures before the first keyframe, as in a recording that starts midway; seekable: a seek lands on a keyframe;
    counted: the container only numbers its pictures, and the times that decoders derive from that are guesses (AVI).
    """

    times: array[float] = field(default_factory=lambda: array("d"))
    keys: array[int] = field(default_factory=lambda: array("q"))
    packets: int = 0
    decodable: int = 0
    reliable: bool = False
    whole: bool = False
    torn: bool = False
    complete: bool = False
    seekable: bool = False
    counted: bool = False
    unreferenced: float = 0.0


@dataclass(frozen=True)
class Probe:
    """Describes the video stream to decode.

    width, height: pixels as stored; declared: the header's count of frames, or 0; duration: seconds from the first
    picture to the end, from the header or the packets, or 0; ends_stated: the header states the duration; avoid_opencv:
    why OpenCV can't be trusted with this stream, or None; notes: warnings that the source has for the user.
    """

    path: str
    codec: str
    width: int
    height: int
    fps: float
    declared: int
    duration: float
    index: PacketIndex
    stream: int = 0
    ends_stated: bool = False
    orientation: Orientation = field(default_factory=Orientation)
    pixel_aspect: Fraction = Fraction(1)
    start_time: float = 0.0
    avoid_opencv: str | None = None
    notes: tuple[str, ...] = ()


def probe_video(path: str, meanwhile: Callable[[int], None] | None = None) -> Probe:
    """Read the packets of the first video stream. Raises NotAVideoError if there is none.

    meanwhile: called with the pixels per picture, as soon as the header shows a stream that OpenCV is likely to decode.
    """
    av = load_av()
    with open_container(path) as container:
        stream = _choose_stream(container, path)
        likely_sparse = stream.codec_context.has_b_frames and _is_common(stream.codec_context)
        if meanwhile is not None and not likely_sparse and _why_not_opencv(container, stream, None) is None:
            meanwhile(stream.codec_context.width * stream.codec_context.height)
        stream.codec_context.thread_count = 1
        scan = _Scan(container, stream, path)
        try:
            scan.run(av)
        except (ValueError, MemoryError) as error:
            raise NotAVideoError.about(path, "can't read {subject!r}: {error}", error=error) from None
        index = scan.index()
        frame = scan.first_frame
        rate = stream.average_rate or stream.guessed_rate
        declared = int(stream.frames or 0)
        if "mov" in container.format.name and not scan.damaged and not index.torn:
            # Frames before the start of an edit list are stored and counted, but not shown.
            declared = min(declared, len(index.times))
        if container.format.name == "avi" and declared * _LEAST_AVI_BYTES > (container.size or 0):
            declared = 0  # programs that write to a pipe can't fill in the count afterwards
        if scan.second_fields:
            # The header counts fields here.
            declared = round(declared * len(index.times) / index.packets)
        return Probe(
            path=path,
            stream=stream.index,
            codec=stream.codec_context.codec.canonical_name,
            width=frame.width if frame is not None else stream.codec_context.width,
            height=frame.height if frame is not None else stream.codec_context.height,
            fps=_sane_rate(float(rate) if rate else 0.0, index),
            declared=declared if 0 < declared < 2**40 else 0,
            duration=(duration := _duration(container, stream)),
            ends_stated=duration > 0 and any(name in container.format.name for name in _STATING),
            orientation=Orientation.of_frame(frame) if frame is not None else Orientation(),
            pixel_aspect=_pixel_aspect(stream.sample_aspect_ratio),
            start_time=float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0,
            avoid_opencv=_why_not_opencv(container, stream, frame),
            index=index,
        )


def open_container(path: str) -> Any:
    """Open a file with PyAV as a plain file, in a format that can't refer to other files. Raises NotAVideoError."""
    av = load_av()
    try:
        name = native_path(path)
        protocols = "file,subfile" if name.startswith("subfile,") else "file"
        return open_media(name, options={"protocol_whitelist": protocols, "format_whitelist": _allowed_formats()})
    except (av.FFmpegError, ValueError, UnicodeError) as error:
        raise NotAVideoError.about(
            path, "{subject!r} holds no video that can be read ({reason})", reason=_reason(path, error)
        ) from None


class _Scan:
    """Reads all packets once, and decodes just enough to get the first frame."""

    def __init__(self, container: Any, stream: Any, path: str) -> None:
        self._container, self._stream, self._path = container, stream, path
        self._times: array[float] = array("d")
        self._keys: array[float] = array("d")
        self._packets = 0
        self._hidden = 0
        self._untimed = 0
        self._undecodable = 0
        self._unreferenced = 0
        self._first_key: float | None = None
        self._last: Any = None
        self.damaged = False
        self.second_fields = 0
        self.first_frame: Any = None

    def run(self, av: Any) -> None:
        for other in self._container.streams:
            if other.index != self._stream.index:
                other.discard = av.stream.Discard.all
        context = self._stream.codec_context
        check, references = BitstreamCheck(context), ReferenceCheck(context) if _is_common(context) else None
        if self._container.format.name == "mpegts":
            self.damaged = not is_intact(self._path, self._stream.id)
        base, start = float(self._stream.time_base or 0), self._stream.start_time or 0
        for packet in self._each_packet(av):
            self._packets += 1
            if self.first_frame is None and self._packets <= _PROBE_PACKETS:
                self._decode_first(av, packet)
            if packet.is_corrupt:
                self.damaged = True
            if references is not None and self._packets <= _PROBE_PACKETS:
                self._unreferenced += references(packet)
            kind = check(packet)
            if kind == "damaged":
                self.damaged = True
            self._last = packet
            self.second_fields += kind == "second"
            if packet.is_discard or kind in ("hidden", "second"):
                self._hidden += 1
                continue
            if packet.pts is None:
                self._untimed += 1
                continue
            time = (packet.pts - start) * base
            self._times.append(time)
            if packet.is_keyframe and self._first_key is None:
                self._first_key = time
            # Pictures before the first keyframe refer to pictures that are not in the file, and can't be decoded.
            # Programs that can't write negative times give them the keyframe's time.
            self._undecodable += self._first_key is None or (time, packet.is_keyframe) < (self._first_key, True)
            if packet.is_keyframe and kind != "refresh":
                self._keys.append(time)
        if self._first_key is None:
            self._undecodable = 0
        self._undecodable += check.unpaired
        if self.first_frame is None and self._packets <= _PROBE_PACKETS:
            self._decode_first(av, None)

    def index(self) -> PacketIndex:
        times = array("d", sorted(self._times))
        distinct = all(times[i] < times[i + 1] for i in range(len(times) - 1))
        timed = len(times) > 0 and not self._untimed and self._stream.start_time is not None
        # If a seek jumped over a damaged stretch, all frame numbers after it would be wrong, and nobody would notice.
        reliable = distinct and timed and not self.damaged
        name = self._container.format.name
        indexed = any(kind in name for kind in _INDEXED_CONTAINERS)
        declared = self._stream.frames
        structure = is_whole(self._path, name)
        # PyAV marks a packet as corrupt if the container gives its size and fewer bytes are there.
        torn = structure is False or (self._last is not None and self._last.is_corrupt)
        if "mov" in name and declared:
            # If all pictures are there, data missing after the last one does no harm.
            whole = declared == self._packets
            torn = torn and not whole
        elif structure is None and name != "avi":
            span = times[-1] - times[0] if timed else 0.0
            whole = not torn and span > _duration(self._container, self._stream) - _END_TOLERANCE
        else:
            whole = bool(structure) and not torn
        complete = reliable and indexed and whole and not self._hidden
        return PacketIndex(
            times=times,
            keys=array("q", sorted(bisect_left(times, key) for key in self._keys)) if reliable else array("q"),
            packets=self._packets,
            decodable=len(times) - self._undecodable,
            reliable=reliable,
            whole=whole,
            torn=torn,
            complete=complete,
            seekable=indexed,
            counted=name == "avi",
            unreferenced=self._unreferenced / min(self._packets, _PROBE_PACKETS) if complete else 0.0,
        )

    def _each_packet(self, av: Any) -> Iterator[Any]:
        errors = 0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        yield packet
                return
            except av.EOFError:
                return
            except (av.FFmpegError, IndexError):
                # The data is damaged: there may be intact packets after it. PyAV raises IndexError if a packet seems to
                # belong to an unknown stream.
                self.damaged = True
                errors += 1
                if errors > _MAX_READ_ERRORS:
                    return

    def _decode_first(self, av: Any, packet: Any) -> None:
        try:
            frames = self._stream.codec_context.decode(packet)
        except av.FFmpegError:
            return
        if frames:
            self.first_frame = frames[0]


@lru_cache(maxsize=1)
def _allowed_formats() -> str:
    names = {name for entry in load_av().formats_available for name in entry.split(",")}
    return ",".join(sorted(n for n in names if n not in _REFUSED and not n.endswith("_pipe")))


def _choose_stream(container: Any, path: str) -> Any:
    av = load_av()
    streams = container.streams.video
    if not streams:
        raise NotAVideoError.about(
            path, "{subject!r} holds no video, only {kinds}", kinds=_kinds(container) or "no stream at all"
        )
    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    moving = [stream for stream in streams if not stream.disposition & covers]
    if moving and moving[0].codec_context is None:
        raise NoDecoderError.about(path, "{subject!r} holds video in a format that nothing here decodes, or is damaged")
    if not moving:
        raise NotAVideoError.about(
            path, "{subject!r} holds no video, only {kinds} and a cover picture", kinds=_kinds(container) or "a picture"
        )
    return moving[0]


_PLURALS = {"attachment": "attachments", "subtitle": "subtitles"}


def _kinds(container: Any) -> str:
    types = sorted({stream.type for stream in container.streams if stream.type != "video"})
    return " and ".join(_PLURALS.get(kind, kind) for kind in types)


def _why_not_opencv(container: Any, stream: Any, frame: Any) -> str | None:
    context = stream.codec_context
    videos = container.streams.video
    if stream.index != videos[0].index:
        return "the video is not the first picture stream"
    transfer = frame.color_trc if frame is not None else context.color_trc
    if transfer in _HDR_TRANSFERS:
        return f"{_HDR_TRANSFERS[transfer]} colours"
    if (frame is not None and frame.interlaced_frame) or context.field_order not in _PROGRESSIVE:
        return "interlaced"
    return None


def _is_common(context: Any) -> bool:
    """Return whether OpenCV and PyAV give the same pixels (tests/video/test_sparse.py compares them)."""
    even = context.width % 2 == 0 == context.height % 2
    return even and context.pix_fmt in _COMMON_FORMATS and context.color_primaries in _COMMON_PRIMARIES


def _pixel_aspect(value: Fraction | None) -> Fraction:
    # A value outside this range is nonsense. PyAV 19 has its own fraction type, with a zero denominator for "none".
    return Fraction(value.numerator, value.denominator) if value and Fraction(1, 5) <= value <= 5 else Fraction(1)


def _sane_rate(rate: float, index: PacketIndex) -> float:
    times = index.times
    span = times[-1] - times[0] if index.reliable and len(times) > 1 else 0.0
    measured = (len(times) - 1) / span if span > 0 else 0.0
    if measured and not 0.5 < rate / measured < 2:
        return measured
    return rate if 0 < rate <= 1000 else 25.0


def _duration(container: Any, stream: Any) -> float:
    """Return the seconds from the first picture to the end according to the header; 0 if it doesn't say."""
    # Matroska: the container's duration is that of its longest stream; the tag DURATION is this stream's.
    fields = stream.metadata.get("DURATION", "").split(":")
    if len(fields) == 3 and all(field.replace(".", "", 1).isdigit() for field in fields):
        seconds = float(fields[0]) * 3600 + float(fields[1]) * 60 + float(fields[2])
        # mkvmerge, which is recognised by its own tags, counts from the first picture; other programs count from 0.
        relative = any(key.startswith("_STATISTICS") for key in stream.metadata)
    elif stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    else:
        seconds, relative = (container.duration or 0) / 1e6, "matroska" not in container.format.name
    start = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    return max(seconds - (0.0 if relative else start), 0.0)


def _reason(path: str, error: Exception) -> str:
    """Say in a few words what the file is instead of a video."""
    try:
        with opened(path) as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError) as problem:
        return getattr(problem, "strerror", None) or "can't be read"
    if not head:
        return "the file is empty"
    content = content_in(path)
    if content is not None and content.family != "video":
        return f"it is {content.advice}"
    if content is None and not any(byte < 9 for byte in head):
        return f"it looks like text{_kind_of_text(head, path)}"
    return " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".") or "unknown format"


def _kind_of_text(head: bytes, path: str) -> str:
    """Recognise text files that are often named like videos, and say what to do; empty for others."""
    if head.lstrip().startswith(b"#EXTM3U"):
        return ": a playlist; the videos are where it points to, save one of them with ffmpeg -i"
    if b"<MPD" in head:
        return ": a DASH manifest; the videos are where it points to, save one of them with ffmpeg -i"
    if head.startswith(b"version https://git-lfs"):
        return ": a pointer of Git LFS; git lfs pull brings the video"
    if path.lower().endswith((".ts", ".mts")):
        return say(", TypeScript perhaps: {@exclude} leaves out names")
    return ""

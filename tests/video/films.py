"""Makes small video files whose every frame carries its own number, readable after any lossy codec.

A frame is a grid of 4 x 2 black or white blocks: the bits of its number, most significant first.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

COLUMNS, ROWS = 4, 2
_NO_CUTS = {codec: {"sc_threshold": str(10**9)} for codec in ("mpeg2video", "mpeg4")} | {
    "libx264": {"sc_threshold": "0"}
}
Frame = npt.NDArray[np.uint8]


def numbered_frame(number: int, width: int = 96, height: int = 64) -> Frame:
    """(height, width, 3) uint8 showing the low eight bits of `number`."""
    frame = np.full((height, width, 3), 24, np.uint8)
    for bit in range(COLUMNS * ROWS):
        row, column = divmod(bit, COLUMNS)
        if number >> (COLUMNS * ROWS - 1 - bit) & 1:
            top, left = row * height // ROWS, column * width // COLUMNS
            frame[top : top + height // ROWS, left : left + width // COLUMNS] = (230, 225, 220)
    return frame


def read_number(frame: Frame) -> int:
    """The number shown by a frame of any size."""
    height, width = frame.shape[:2]
    number = 0
    for row in range(ROWS):
        for column in range(COLUMNS):
            y, x = int((row + 0.5) * height / ROWS), int((column + 0.5) * width / COLUMNS)
            patch = frame[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            number = number << 1 | int(patch.mean() > 127)
    return number


def write_film(
    path: Path | str,
    *,
    count: int = 40,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    rate: int | Fraction = 25,
    options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    setup: Callable[[Any], None] | None = None,
    prepare: Callable[[av.VideoFrame], None] | None = None,
    frames: Iterable[Frame] | None = None,
) -> Path:
    """Encode frames 0 .. count-1. size: (width, height); pts: ticks of `time_base` for each frame."""
    path = Path(path)
    with _usual_priority(), av.open(str(path), "w", format=container, options=container_options or {}) as output:
        # Every other frame looks like a cut; keyframes are to be where `g` says.
        stream = output.add_stream(codec, rate=rate, options={**_NO_CUTS.get(codec, {}), **(options or {})})
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], pix_fmt
        if time_base is not None:
            stream.time_base = stream.codec_context.time_base = time_base
        if setup is not None:
            setup(stream)
        for number, image in enumerate(frames or (numbered_frame(n, *size) for n in range(count))):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts = number if pts is None else pts[number]
            frame.time_base = time_base or Fraction(1) / Fraction(rate)
            if prepare is not None:
                prepare(frame)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@contextmanager
def _usual_priority() -> Iterator[None]:
    """Undo after the block what SVT-AV1 does to a thread of root's: from its first film on that runs as a real-time one, before
    all else, and so does every thread that it starts. Two workers of that kind take a machine of two cores for themselves, and
    their own encoders wait for each other for ever."""
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler"):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def sequential_frames(path: Path | str, decoder: str) -> list[Frame]:
    """Every frame of a full decode from the start, by nothing but the decoder itself, as stored: the truth."""
    return _sequential_opencv(path) if decoder == "opencv" else _sequential_pyav(path)


def _sequential_opencv(path: Path | str) -> list[Frame]:
    from videomae_cli.video.native import load_cv2

    cv2 = load_cv2()
    capture = cv2.VideoCapture(os.fspath(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 2])
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    result: list[Frame] = []
    misses = 0
    while misses < 300:
        done, frame = capture.read()
        if done:
            result.append(np.ascontiguousarray(frame[:, :, ::-1]))
        else:
            misses += 1
    return result


def _sequential_pyav(path: Path | str) -> list[Frame]:
    result = []
    with av.open(os.fspath(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            for frame in packet.decode():
                result.append(frame.to_ndarray(format="rgb24"))
    return result


Recipe = Callable[[Path], None]


def place_of_packet(path: Path, number: int) -> int:
    """Where in the file a packet of the first video stream begins, counted in the order of the file."""
    places = _places(path)
    # In program streams packets of the stream have no place of their own.
    return places[number] if len(places) >= -number else path.stat().st_size * 9 // 10


def middle_of_packets(path: Path, part: float) -> int:
    """A place a few bytes into the packet after this part of all packets: where a share of the bytes falls, encoders decide."""
    places = _places(path)
    return places[int(len(places) * part)] + 9 if places else int(path.stat().st_size * part)


def _places(path: Path) -> list[int]:
    with av.open(str(path)) as film:
        return sorted(packet.pos for packet in film.demux(video=0) if packet.size and packet.pos is not None)


class _BitWriter:
    """Builds one unit of an H.264 stream."""

    def __init__(self, kind: int) -> None:
        self.head, self.bits = bytes([kind]), ""

    def put(self, width: int, value: int) -> _BitWriter:
        self.bits += f"{value:0{width}b}"
        return self

    def ue(self, *values: int) -> _BitWriter:
        for value in values:
            code = f"{value + 1:b}"
            self.bits += "0" * (len(code) - 1) + code
        return self

    def align(self) -> bytes:
        self.bits += "0" * (-len(self.bits) % 8)
        return bytes(int(self.bits[i : i + 8], 2) for i in range(0, len(self.bits), 8))

    def unit(self, body: bytes = b"") -> bytes:
        """With the last bit that every unit has; body: whole bytes in between."""
        if not body:
            self.bits += "1"
            body, self.bits = self.align(), ""
        else:
            body += b"\x80"
        # Nothing inside may look like a start code.
        plain = bytearray()
        for byte in self.head + body:
            if byte < 4 and plain[-2:] == b"\0\0":
                plain.append(3)
            plain.append(byte)
        return b"\0\0\0\1" + bytes(plain)


def _field_units(number: int, bottom: bool) -> bytes:
    """One field of a picture that shows `number`: an I slice whose blocks are plain samples (I_PCM)."""
    writer = _BitWriter(0x61 if bottom else 0x65)
    writer.ue(0, 7, 0).put(4, 0).put(1, 1).put(1, int(bottom))  # place, I, parameters; number, field, which one
    if not bottom:
        writer.ue(number % 2)  # two key pictures in a row have different ids
    writer.put(4, int(bottom))  # order
    if bottom:
        writer.put(1, 0)  # references as usual
    else:
        writer.put(2, 0)
    writer.bits += "1"  # quantiser as it is, se(0)
    writer.ue(1)  # no filter
    picture = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24").reformat(format="yuv420p")
    planes = picture.to_ndarray()
    luma = planes[:64][int(bottom) :: 2]
    chroma = planes[64:].reshape(2, 32, 48)[:, int(bottom) :: 2]
    body = b""
    for row in range(2):
        for column in range(6):
            writer.ue(25)
            y = luma[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            uv = chroma[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            body += writer.align() + y.tobytes() + uv.tobytes()
            writer.bits = ""
    return writer.unit(body)


def field_stream(count: int) -> list[bytes]:
    """H.264 as camcorders store it, 96x64 at 25 pictures a second: access units of one field each, two for a picture."""
    sps = _BitWriter(0x67).put(8, 77).put(8, 0).put(8, 30).ue(0, 0, 0, 0, 1).put(1, 0).ue(5, 1).put(1, 0)
    sps.put(1, 0).put(1, 1).put(1, 0).put(1, 0)  # fields allowed, no mixed blocks, direct_8x8, no crop, no more
    pps = _BitWriter(0x68).ue(0, 0).put(2, 0).ue(0, 0, 0).put(3, 0)
    pps.bits += "111"  # three se(0)
    pps.put(1, 1).put(2, 0)  # filter as each slice says
    sets = sps.unit() + pps.unit()
    delimiter = b"\0\0\0\1\x09\xf0"
    units = []
    for number in range(count):
        units.append(delimiter + sets + _field_units(number, bottom=False))
        units.append(delimiter + _field_units(number, bottom=True))
    return units


def fields(
    count: int = 31, *, apart: bool = True, odd: bool = False, container: str | None = None, **options: str
) -> Recipe:
    """A film stored as fields. apart: whether the two of a picture are written as packets of their own; odd: the last one's
    second is missing."""

    def make(path: Path) -> None:
        raw, units = path.with_name(f"{path.name}-raw.h264"), field_stream(count)[: 2 * count - odd]
        raw.write_bytes(b"".join(units))
        contents = units if apart else [a + b for a, b in pairwise(units)][::2]
        with av.open(str(raw)) as film, av.open(str(path), "w", format=container, options=options) as output:
            stream = output.add_stream_from_template(film.streams.video[0])
            for number, content in enumerate(contents):
                packet = av.Packet(content)
                packet.stream, packet.time_base = stream, Fraction(1, 50 if apart else 25)
                packet.pts = packet.dts = number
                packet.duration, packet.is_keyframe = 1, not apart or number % 2 == 0
                output.mux(packet)

    return make


def _film(**settings: Any) -> Recipe:
    def make(path: Path) -> None:
        write_film(path, **settings)

    return make


def _patched(source: Recipe, patch: Callable[[bytearray], Any]) -> Recipe:
    """A film whose bytes are changed after it is written."""

    def make(path: Path) -> None:
        source(path)
        data = bytearray(path.read_bytes())
        patch(data)
        path.write_bytes(data)

    return make


def _joined(*sources: Recipe) -> Recipe:
    """Films one after the other in one file, as `cat` does."""

    def make(path: Path) -> None:
        parts = []
        for source in sources:
            source(path)
            parts.append(path.read_bytes())
        path.write_bytes(b"".join(parts))

    return make


def _rotated(degrees: int, **settings: Any) -> Recipe:
    return _film(setup=lambda stream: stream.set_display_rotation(degrees), **settings)


def set_matrix(*matrix: float) -> Callable[[bytearray], None]:
    """Writes a, b, c, d of a display matrix into the first track's header of an mp4 or mov."""

    def patch(data: bytearray) -> None:
        start = data.find(b"tkhd") + 4
        # Version 1 has three dates and lengths of eight bytes.
        at = start + 4 + (32 if data[start] else 20) + 16
        a, b, c, d = (round(number * 65536) for number in matrix)
        data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)

    return patch


def turned(*matrix: float, **settings: Any) -> Recipe:
    """A film with a display matrix."""
    return _patched(_film(**settings), set_matrix(*matrix))


def rewrapped(source: Recipe, suffix: str = ".mp4") -> Recipe:
    """The packets of a film in another container, which its name decides."""

    def make(path: Path) -> None:
        first = path.with_name(f"{path.stem}-first{suffix}")
        source(first)
        with av.open(str(first)) as film, av.open(str(path), "w") as output:
            stream = output.add_stream_from_template(film.streams.video[0])
            for packet in film.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)

    return make


def _pixel_aspect(ratio: Fraction, **settings: Any) -> Recipe:
    return _film(setup=lambda stream: setattr(stream.codec_context, "sample_aspect_ratio", ratio), **settings)


def _two_streams(path: Path) -> None:
    """The first stream counts up, the second, larger one shows 255 throughout."""
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, (width, height) in zip(streams, ((96, 64), (160, 120)), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(30):
            for stream, shown in zip(streams, (number, 255), strict=True):
                image = numbered_frame(shown, stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))


def write_audio(path: Path, *, cover: bool = False) -> Path:
    """Half a second of silence, with a cover picture on request."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=44100)
        if cover:
            picture = output.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 96, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            frame = av.VideoFrame.from_ndarray(numbered_frame(7), format="rgb24").reformat(format="yuvj420p")
            output.mux(picture.encode(frame))
            output.mux(picture.encode(None))
        for _ in range(20):
            samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp")
            samples.sample_rate = 44100
            output.mux(stream.encode(samples))
        output.mux(stream.encode(None))
    return path


def _with_sound(tracks: int) -> Recipe:
    """Two seconds of film with so many sound tracks."""

    def make(path: Path) -> None:
        with av.open(str(path), "w") as output:
            video = output.add_stream("libx264", rate=25, options=B)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            sounds = [output.add_stream("mp2", rate=44100) for _ in range(tracks)]
            for number in range(50):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                output.mux(video.encode(frame))
                for sound in sounds:
                    samples = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), format="s16", layout="stereo")
                    samples.sample_rate = 44100
                    output.mux(sound.encode(samples))
            output.mux(video.encode(None))

    return make


def _recording(codec: str = "libx264", sound: str = "aac", **settings: Any) -> Recipe:
    """50 frames with sound: the video as `write_film` encodes it, and silence, each packet where it belongs in time."""
    container, container_options = settings.pop("container", None), settings.pop("container_options", {})

    def make(path: Path) -> None:
        silent = path.with_name(f"{path.name}-silent{'.avi' if path.suffix == '.avi' else '.mkv'}")
        write_film(silent, codec=codec, **{"count": 50, "options": B, **settings})
        with av.open(str(silent)) as film, av.open(str(path), "w", container, options=container_options) as output:
            video = output.add_stream_from_template(film.streams.video[0])
            audio = output.add_stream(sound, rate=22050 if sound == "adpcm_swf" else 48000)
            audio.layout = "mono" if sound in ("adpcm_swf", "libopencore_amrnb") else "stereo"
            form, size = audio.codec_context.format.name, audio.codec_context.frame_size or 1024
            packets = [packet for packet in film.demux(video=0) if packet.size]
            done = 0.0
            for packet in packets:
                packet.stream = video
                output.mux(packet)
                while done < float((packet.dts or 0) * packet.time_base):
                    shape = (1, size * 2) if "p" not in form else (len(audio.layout.channels), size)
                    kind = np.float32 if form.startswith("flt") else np.int16
                    frame = av.AudioFrame.from_ndarray(np.zeros(shape, kind), format=form, layout=audio.layout.name)
                    frame.sample_rate = audio.rate
                    output.mux(audio.encode(frame))
                    done += size / audio.rate
            output.mux(audio.encode(None))

    return make


def _later(source: Recipe, seconds: float, suffix: str = ".mp4") -> Recipe:
    """The film in Matroska whose clock shows `seconds` when it begins, as `-itsoffset` and `-f segment` leave it."""

    def make(path: Path) -> None:
        first = path.with_name(f"{path.stem}-first{suffix}")
        source(first)
        with av.open(str(first)) as film, av.open(str(path), "w") as output:
            stream = output.add_stream_from_template(film.streams.video[0])
            for packet in film.demux(video=0):
                if packet.size:
                    shift = round(seconds / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    output.mux(packet)

    return make


def _filtered(source: Recipe, name: str, suffix: str) -> Recipe:
    """The packets of a film through one of ffmpeg's bitstream filters."""

    def make(path: Path) -> None:
        first = path.with_name(f"{path.stem}-first{suffix}")
        source(first)
        with av.open(str(first)) as film, av.open(str(path), "w") as output:
            origin = film.streams.video[0]
            stream = output.add_stream_from_template(origin, opaque=True)
            bitstream = av.BitStreamFilterContext(name, origin)
            last = -1
            for packet in film.demux(origin):
                for part in bitstream.filter(packet if packet.size else None):
                    # Pictures that are never shown come before one that is, at the same time.
                    part.pts = part.dts = last = max(part.pts if part.pts is not None else last + 1, last + 1)
                    part.stream = stream
                    output.mux(part)

    return make


def _begun_in_between(source: Recipe, share: float = 0.3) -> Recipe:
    """A transport stream as a receiver finds it: from a packet in the middle on."""
    return _patched(source, lambda data: data.__delitem__(slice(0, int(len(data) * share) // 188 * 188)))


def _slideshow(path: Path) -> None:
    """Three pictures, 110 seconds of sound apart: more than the 4096 packets after which OpenCV gives up by itself."""
    clock, seconds = Fraction(1, 1000), 110
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"g": "1", "bf": "0"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.time_base = video.codec_context.time_base = clock
        sound = output.add_stream("aac", rate=44100)
        pictures = []
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number * seconds * 1000, clock
            pictures += video.encode(frame)
        pictures += video.encode(None)
        for picture in pictures:
            output.mux(picture)
            for _ in range(seconds * 44100 // 1024):
                samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp")
                samples.sample_rate = 44100
                output.mux(sound.encode(samples))
        output.mux(sound.encode(None))


def _set_avi_length(count: int) -> Callable[[bytearray], None]:
    def patch(data: bytearray) -> None:
        for tag, offset in ((b"avih", 24), (b"strh", 40)):
            at = data.find(tag) + offset
            data[at : at + 4] = count.to_bytes(4, "little")

    return patch


def _spoiled(number: int, offset: int, content: bytes, **settings: Any) -> Recipe:
    """A film in whose packet `number`, in decoding order, some bytes are others."""

    def make(path: Path) -> None:
        write_film(path, **settings)
        with av.open(str(path)) as source:
            packets = [bytes(packet) for packet in source.demux(source.streams.video[0]) if packet.size]
        data = bytearray(path.read_bytes())
        assert data.count(packets[number]) == 1
        at = data.find(packets[number]) + offset
        data[at : at + len(content)] = content
        path.write_bytes(data)

    return make


def _trim_start(ticks: int) -> Callable[[bytearray], None]:
    """Makes the mp4's edit list start `ticks` of the media's clock later."""

    def patch(data: bytearray) -> None:
        at = data.find(b"elst") + 16
        start = int.from_bytes(data[at : at + 4], "big")
        data[at : at + 4] = (start + ticks).to_bytes(4, "big")

    return patch


def middle_of_packet(path: Path, number: int) -> int:
    """Where in the file the middle of a packet lies: half way to the next, and at no border between transport packets."""
    return (place_of_packet(path, number) + place_of_packet(path, number + 1)) // 2 | 1


def _cut(source: Recipe, place: Callable[[Path], int]) -> Recipe:
    """A film that ends where `place` says, which asks its packets: an encoder writes other sizes on another CPU."""

    def make(path: Path) -> None:
        source(path)
        at = place(path)
        with path.open("r+b") as file:
            file.truncate(at)

    return make


def cut_in(source: Recipe, number: int) -> Recipe:
    """A film that ends in the middle of a packet, counted in the order of the file."""
    return _cut(source, lambda path: middle_of_packet(path, number))


def cut_before(source: Recipe, number: int) -> Recipe:
    """A film that ends between two packets: the first that is missing is `number`."""
    return _cut(source, lambda path: place_of_packet(path, number))


def _overwritten(source: Recipe, number: int, size: int) -> Recipe:
    """A film with zeros from the middle of a packet on."""

    def make(path: Path) -> None:
        source(path)
        at = middle_of_packet(path, number)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes(size))

    return make


def _frame_of_webp(path: Path, number: int) -> int:
    """Where in an animation the chunk of a frame begins."""
    data = path.read_bytes()
    return [match.start() for match in re.finditer(b"ANMF", data)][number]


def _spoil_webp(number: int) -> Callable[[bytearray], None]:
    def patch(data: bytearray) -> None:
        # Behind the picture's own header, which is looked at before anything is decoded.
        at = [match.start() for match in re.finditer(b"VP8L", data)][number] + 14
        data[at : at + 20] = b"\xff" * 20

    return patch


B = {"g": "12", "bf": "2"}
INTERLACED = {"g": "12", "flags": "+ildct+ilme"}
X265 = "log-level=none:scenecut=0"
MS = Fraction(1, 1000)
TS = Fraction(1, 90_000)
_jitter = [40 * i + 7 * (i % 3) + 2500 * (i // 30) for i in range(90)]
_LOSSLESS = {"lossless": "1"}
_FASTSTART = _film(count=120, options=B, container_options={"movflags": "faststart"})
_WEBP = _film(codec="libwebp_anim", pix_fmt="bgra", options=_LOSSLESS)
_ts = _film(count=100, options=B)

# Files in which frame i shows i, whole and in order.
INTACT: dict[str, Recipe] = {
    "h264.mp4": _film(count=60, options=B),
    "h264-gop250.mp4": _film(count=280, options={"g": "250", "bf": "3"}),
    "h264-open-gop.mp4": _film(count=90, options={"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "h264-open-gop.ts": _film(count=90, options={"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "h264-refresh.mp4": _film(count=120, options={"g": "30", "bf": "0", "x264-params": "intra-refresh=1"}),
    "h264-refresh.ts": _film(count=120, options={"g": "30", "bf": "0", "x264-params": "intra-refresh=1"}),
    "h264-interlaced.mp4": _film(options={**INTERLACED, "x264-params": "interlaced=1:tff=1"}),
    "h264-10bit.mp4": _film(pix_fmt="yuv420p10le"),
    "h264-422.mp4": _film(pix_fmt="yuv422p"),
    "h264-444.mp4": _film(pix_fmt="yuv444p"),
    "h264-odd.mp4": _film(pix_fmt="yuv444p", size=(97, 65)),
    "h264-fragmented.mp4": _film(count=60, options=B, container_options={"movflags": "frag_keyframe+empty_moov"}),
    "h264.mov": _film(options=B),
    "h264.mkv": _film(count=60, options=B),
    "h264-no-cues.mkv": _film(count=60, options=B, container_options={"live": "1"}),
    "h264.avi": _film(count=90, options={"g": "24", "bf": "3"}),
    "h264.ts": _ts,
    "h264.m2ts": _film(count=60, options=B, container="mpegts", container_options={"mpegts_m2ts_mode": "1"}),
    "h264.flv": _film(count=60, options=B),
    "h264.h264": _film(options=B),
    "hevc.mp4": _film(count=60, codec="libx265", options={"x265-params": f"{X265}:keyint=12:open-gop=1:bframes=3"}),
    "hevc.ts": _film(count=60, codec="libx265", options={"x265-params": f"{X265}:keyint=12:open-gop=1:bframes=3"}),
    "hevc-10bit.mkv": _film(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": X265}),
    "vp8.webm": _film(count=60, codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16", "g": "24"}),
    "vp9.webm": _film(count=60, codec="libvpx-vp9", options={"auto-alt-ref": "1", "lag-in-frames": "16", "g": "24"}),
    "vp9-odd.webm": _film(codec="libvpx-vp9", size=(97, 65)),
    "vp9-alpha.webm": _film(codec="libvpx-vp9", pix_fmt="yuva420p"),
    "av1.mp4": _film(codec="libsvtav1", options={"g": "12", "preset": "12", "crf": "20"}),
    "mpeg2.ts": _film(count=90, codec="mpeg2video", options={"bf": "2", "g": "15"}),
    "mpeg2.mpg": _film(count=90, codec="mpeg2video", options={"bf": "2", "g": "15"}),
    "mpeg2-interlaced.ts": _film(codec="mpeg2video", options=INTERLACED),
    "mpeg2.mxf": _film(codec="mpeg2video"),
    "mpeg4.avi": _film(count=60, codec="mpeg4", options={"g": "12"}),
    "mpeg4-b.mp4": _film(count=60, codec="mpeg4", options=B),
    "mjpeg.avi": _film(codec="mjpeg", pix_fmt="yuvj420p"),
    "mjpeg.mjpeg": _film(codec="mjpeg", pix_fmt="yuvj420p"),
    "prores.mov": _film(codec="prores_ks", pix_fmt="yuv422p10le"),
    "prores-alpha.mov": _film(codec="prores_ks", pix_fmt="yuva444p10le"),
    "png-alpha.mov": _film(codec="png", pix_fmt="rgba"),
    "ffv1.mkv": _film(codec="ffv1"),
    "ffv1-grey.mkv": _film(codec="ffv1", pix_fmt="gray"),
    "huffyuv.avi": _film(codec="huffyuv", pix_fmt="yuv422p"),
    "wmv2.wmv": _film(codec="wmv2", container="asf", options={"g": "12"}),
    "raw.y4m": _film(codec="rawvideo", container="yuv4mpegpipe"),
    "animation.gif": _film(codec="gif", pix_fmt="rgb8"),
    "animation.apng": _film(codec="apng", pix_fmt="rgb24"),
    "starts-late.mp4": _film(options=B, pts=[2500 + i for i in range(40)]),
    "variable.mp4": _film(count=90, pts=_jitter, time_base=MS, options={"g": "24"}),
    "variable.mkv": _film(count=90, pts=_jitter, time_base=MS, options={"g": "24"}),
    "gap.mp4": _film(count=60, pts=[40 * i + 3_600_000 * (i // 30) for i in range(60)], time_base=MS, options=B),
    "gap.ts": _film(count=60, pts=[40 * i + 3_600_000 * (i // 30) for i in range(60)], time_base=MS, options=B),
    # The clock of MPEG-TS has 33 bits: 1 second after the start it starts over, or 90 seconds after.
    "clock-wraps.ts": _film(count=60, pts=[2**33 + 3600 * (i - 25) for i in range(60)], time_base=TS, options=B),
    "clock-wraps-later.ts": _film(
        count=60, rate=1, pts=[2**33 + 90_000 * (3 * i - 90) for i in range(60)], time_base=TS, options=B
    ),
    "slideshow.mkv": _slideshow,
    "slideshow.mp4": _slideshow,
    "ntsc.mp4": _film(count=60, rate=Fraction(30000, 1001), options=B),
    "120fps.mp4": _film(count=60, rate=120, options=B),
    "pq.mp4": _film(
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": f"{X265}:transfer=smpte2084:colormatrix=bt2020nc"},
    ),
    "hlg.mp4": _film(codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": f"{X265}:transfer=arib-std-b67"}),
    "one-frame.mp4": _film(count=1),
    "two-frames.mp4": _film(count=2),
    "three-frames.mkv": _film(count=3, options=B),
    "sixteen-frames.webm": _film(count=16, codec="libvpx-vp9"),
    "two-streams.mkv": _two_streams,
    "header-says-100.avi": _patched(_film(count=120, codec="mpeg4", options={"g": "12"}), _set_avi_length(100)),
    "header-says-10-million.avi": _patched(_film(codec="mpeg4", options={"g": "12"}), _set_avi_length(10_000_000)),
    "header-says-45.avi": _patched(_film(codec="mjpeg", pix_fmt="yuvj420p"), _set_avi_length(45)),
}

_X265 = {"x265-params": f"{X265}:keyint=12:bframes=2"}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_ALTREF = {
    "auto-alt-ref": "1",
    "lag-in-frames": "16",
    "g": "24",
    "b": "200k",
    "arnr-maxframes": "7",
    "arnr-strength": "5",
}
_UNEVEN = [40 * i + 9 * (i % 4) + 900 * (i // 20) for i in range(50)]
_VP9 = _film(count=50, codec="libvpx-vp9", options=_ALTREF)
_AV1 = _film(count=50, codec="libsvtav1", options={"g": "24", "preset": "10"})

# What cameras, phones, screen recorders and receivers write, all of it sound.
RECORDINGS: dict[str, Recipe] = {
    "phone.mp4": _recording(),
    "phone-portrait.mp4": _patched(_recording(container_options={"movflags": "faststart"}), set_matrix(0, 1, -1, 0)),
    "phone-front-camera.mov": turned(-1, 0, 0, 1, count=50, options=B),
    "phone-hevc.mov": _recording("libx265", options=_X265),
    "phone-uneven.mp4": _recording(pts=_UNEVEN, time_base=Fraction(1, 1000)),
    "phone.3gp": _film(count=50, codec="h263", size=(176, 144)),
    "action-camera.mp4": _recording(count=120, rate=60, container_options={"movflags": "faststart"}),
    "dashboard-camera.mp4": _recording(container_options=_FRAGMENTS),
    "camcorder-fields.mts": fields(container="mpegts", mpegts_m2ts_mode="1"),
    "camcorder-fields-together.mts": fields(apart=False, container="mpegts", mpegts_m2ts_mode="1"),
    "camcorder-fields.mp4": fields(),
    "camcorder-fields-odd.mp4": fields(odd=True),
    "camcorder-fields-odd.mts": fields(odd=True, container="mpegts", mpegts_m2ts_mode="1"),
    "camcorder-fields.mkv": fields(),
    "camcorder-fields.mov": fields(movflags="faststart"),
    "camcorder-mixed.m2ts": _recording(
        sound="ac3",
        options={**INTERLACED, "x264-params": "interlaced=1:tff=1"},
        container="mpegts",
        container_options={"mpegts_m2ts_mode": "1"},
    ),
    "camcorder-tape.avi": _film(count=12, codec="dvvideo", size=(720, 576)),
    "camcorder-tape.dv": _film(count=12, codec="dvvideo", size=(720, 576)),
    "camcorder-tape.m2t": _recording("mpeg2video", "mp2", options=INTERLACED, container="mpegts"),
    "camcorder-disc.vob": _recording("mpeg2video", "mp2", options={"bf": "2", "g": "12"}, container="vob"),
    "camcorder-disc.mpg": _recording("mpeg2video", "mp2", options={"bf": "2", "g": "12"}),
    "camcorder-professional.mxf": _film(count=50, codec="mpeg2video", options={"bf": "2", "g": "12"}),
    "camera-pictures.avi": _film(count=50, codec="mjpeg", pix_fmt="yuvj420p"),
    "camera-old.avi": _recording("mpeg4", "mp2", options={"g": "12"}),
    "screen.mkv": _recording(),
    "screen-late.mkv": _later(_film(count=50, options=B), 3.0),
    "screen-part-2.mkv": _later(_film(count=50, options=B), 10.0),
    "screen-part-of-webm.mkv": _later(_film(count=50, codec="libvpx", options=_ALTREF), 300.0, ".webm"),
    "screen.flv": _recording(),
    "screen.wmv": _film(count=50, codec="wmv2", container="asf", options={"g": "12"}),
    "screen-vp8.webm": _recording("libvpx", "libopus", options=_ALTREF),
    "screen-vp9.webm": _VP9,
    "screen-vp9-hidden.mkv": _filtered(_VP9, "vp9_superframe_split", ".webm"),
    "screen-av1.mp4": _AV1,
    "screen-av1.webm": _AV1,
    "screen-av1-hidden.mkv": _filtered(_AV1, "av1_frame_split", ".mp4"),
    "browser.webm": _film(count=50, codec="libvpx", options=_ALTREF, container_options={"live": "1"}),
    "screen-uneven.mkv": _film(count=50, pts=_UNEVEN, time_base=MS, options=B),
    "screen.gif": _film(count=50, codec="gif", pix_fmt="rgb8"),
    "screen.apng": _film(count=50, codec="apng", pix_fmt="rgb24"),
    "receiver.ts": _recording(sound="ac3", container="mpegts"),
    "receiver-in-between.ts": _begun_in_between(_film(count=100, options={"g": "24", "bf": "2"})),
    "receiver-open-gop.ts": _begun_in_between(
        _film(count=100, options={"g": "24", "bf": "3", "x264-params": "open-gop=1"})
    ),
    "receiver-mpeg2.ts": _begun_in_between(_film(count=100, codec="mpeg2video", options={"g": "24", "bf": "2"})),
    "receiver-hevc.ts": _begun_in_between(
        _film(count=100, codec="libx265", options={"x265-params": f"{X265}:keyint=24:open-gop=1:bframes=3"})
    ),
}

# Files that need a test of their own.
ODD: dict[str, Recipe] = {
    "edit-list.mp4": _patched(_film(count=60, options=B), _trim_start(10 * 512)),
    "cut-off.mp4": cut_in(_FASTSTART, 72),
    "cut-off.mkv": cut_in(_film(count=120, options=B), 72),
    "cut-off.avi": cut_in(_film(count=120, codec="mpeg4", options={"g": "12"}), 72),
    "cut-off.ts": cut_in(_ts, 72),
    "cut-between.mp4": cut_before(_FASTSTART, 72),
    "cut-between.mkv": cut_before(_film(count=120, options=B), 72),
    "cut-between.avi": cut_before(_film(count=120, codec="mpeg4", options={"g": "12"}), 72),
    "cut-between.ts": cut_before(_ts, 72),
    "cut-in-header.mp4": _cut(_FASTSTART, lambda path: place_of_packet(path, 0) // 2),
    "cut-in-header.mkv": _cut(_film(count=120, options=B), lambda path: place_of_packet(path, 0) // 2),
    "cut-in-header.avi": _cut(_film(count=120, codec="mpeg4", options={"g": "12"}), lambda path: 200),
    "cut-in-header.ts": _cut(_ts, lambda path: 188 + 94),
    "header-only.mp4": cut_before(_FASTSTART, 0),
    "overwritten.mp4": _overwritten(_FASTSTART, 80, 3000),
    "overwritten.mkv": _overwritten(_film(count=120, options=B), 80, 3000),
    "overwritten.ts": _overwritten(_film(count=200, options=B), 133, 3000),
    "joined.ts": _joined(_ts, _ts),
    # So long before and after that nothing tells of the 32 tracks when the file is opened.
    "gains-tracks.ts": _joined(_film(count=900, options=B), _with_sound(32), _film(count=900, options=B)),
    "size-changes.ts": _joined(_film(count=50, options=B), _film(count=50, size=(128, 96), options=B)),
    "becomes-interlaced.ts": _joined(
        _film(count=50, options=B), _film(count=50, options={**INTERLACED, "x264-params": "interlaced=1"})
    ),
    # The first block of the last keyframe is one that no picture of this size has, which only a decoder can know.
    "spoiled.mp4": _spoiled(48, 5, b"\0\1", count=60, options=B),
    "spoiled-slice.mp4": _spoiled(16, 8, bytes(12), count=60, options=B),
    "spoiled-slice.mkv": _spoiled(16, 8, bytes(12), count=60, options=B),
    "spoiled-kind.mp4": _spoiled(16, 4, b"\x40", count=60, options=B),
    "spoiled-bit.mp4": _spoiled(16, 4, b"\xc1", count=60, options=B),
    "spoiled-picture.avi": _spoiled(16, 3, b"\0", count=60, codec="mpeg4", options={"g": "12"}),
    "rotated-90.mp4": _rotated(90),
    "rotated-180.mp4": _rotated(180),
    "rotated-270.mp4": _rotated(270),
    "wide-pixels.mp4": _pixel_aspect(Fraction(64, 45)),
    "narrow-pixels.mp4": _pixel_aspect(Fraction(8, 9)),
    "wide-pixels-rotated.mp4": _film(
        setup=lambda s: (setattr(s.codec_context, "sample_aspect_ratio", Fraction(3, 2)), s.set_display_rotation(90))
    ),
    "dv.avi": _film(codec="dvvideo", size=(720, 576)),
    "dv.mov": _film(codec="dvvideo", size=(720, 576)),
    "dv.dv": _film(codec="dvvideo", size=(720, 576)),
    "dv-ntsc.avi": _film(codec="dvvideo", pix_fmt="yuv411p", size=(720, 480), rate=Fraction(30000, 1001)),
    "animation.webp": _WEBP,
    "cut-off.webp": _cut(_WEBP, lambda path: (_frame_of_webp(path, 24) + _frame_of_webp(path, 25)) // 2),
    "overwritten.webp": _patched(_WEBP, _spoil_webp(26)),
    "uneven.webp": _film(
        codec="libwebp_anim",
        pix_fmt="bgra",
        pts=[40 * i + 7 * (i % 3) for i in range(40)],
        time_base=MS,
        options=_LOSSLESS,
    ),
    "picture.webp": _film(codec="libwebp", pix_fmt="bgra", count=1),
    "still.mp4": _film(frames=[numbered_frame(5)] * 40),
    "numbers.mp4": _film(count=200, options=B),
}

RECIPES = {**INTACT, **RECORDINGS, **ODD}

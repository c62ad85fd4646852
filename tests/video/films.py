"""Makes small video files whose every frame carries its own number, readable after any lossy codec.

A frame is a grid of 4 x 2 black or white blocks: the bits of its number, most significant first.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
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
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
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
    """Writes a, b, c, d of a display matrix into the track header of an mp4 or mov."""

    def patch(data: bytearray) -> None:
        assert data.count(b"tkhd") == 1
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


def _keep(fraction: float) -> Callable[[bytearray], None]:
    return lambda data: data.__delitem__(slice(int(len(data) * fraction), None))


def _overwrite(size: int) -> Callable[[bytearray], None]:
    def patch(data: bytearray) -> None:
        at = len(data) * 2 // 3
        data[at : at + size] = bytes(size)

    return patch


def _spoil_webp(data: bytearray) -> None:
    # Behind the picture's own header, which is looked at before anything is decoded.
    at = data.find(b"VP8L", len(data) * 2 // 3) + 14
    data[at : at + 20] = b"\xff" * 20


B = {"g": "12", "bf": "2"}
INTERLACED = {"g": "12", "flags": "+ildct+ilme"}
X265 = "log-level=none:scenecut=0"
MS = Fraction(1, 1000)
TS = Fraction(1, 90_000)
_jitter = [40 * i + 7 * (i % 3) + 2500 * (i // 30) for i in range(90)]
_LOSSLESS = {"lossless": "1"}
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
    "av1.mp4": _film(codec="libsvtav1", options={"g": "12", "preset": "12"}),
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
    # The clock of MPEG-TS has 33 bits: 1 second after the start it begins anew, or 90 seconds after.
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

# Files that need a test of their own.
ODD: dict[str, Recipe] = {
    "edit-list.mp4": _patched(_film(count=60, options=B), _trim_start(10 * 512)),
    "cut-off.mp4": _patched(_film(count=120, options=B, container_options={"movflags": "faststart"}), _keep(0.6)),
    "cut-off.mkv": _patched(_film(count=120, options=B), _keep(0.6)),
    "cut-off.avi": _patched(_film(count=120, codec="mpeg4", options={"g": "12"}), _keep(0.6)),
    "cut-off.ts": _patched(_ts, _keep(0.6)),
    "header-only.mp4": _patched(_film(count=120, container_options={"movflags": "faststart"}), _keep(0.1)),
    "overwritten.mp4": _patched(
        _film(count=120, options=B, container_options={"movflags": "faststart"}), _overwrite(3000)
    ),
    "overwritten.mkv": _patched(_film(count=120, options=B), _overwrite(3000)),
    "overwritten.ts": _patched(_film(count=200, options=B), _overwrite(3000)),
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
    "cut-off.webp": _patched(_WEBP, _keep(0.6)),
    "overwritten.webp": _patched(_WEBP, _spoil_webp),
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

RECIPES = {**INTACT, **ODD}

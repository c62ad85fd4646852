"""Describes a file with OpenCV alone, if PyAV can't read it because it is missing, broken or an unknown release.

There is no packet index then, so the reader counts frames from the first. Interlaced and HDR pictures go unnoticed,
hence the warning that the reader attaches to such a file.
"""

from __future__ import annotations

from fractions import Fraction

from videomae_cli.errors import DecodeError
from videomae_cli.video.captures import OpenCVCapture
from videomae_cli.video.native import load_cv2
from videomae_cli.video.orientation import Orientation
from videomae_cli.video.probe import PacketIndex, Probe
from videomae_cli.video.tar_members import opened

# (offset, bytes at it) of formats that contain their own pictures. ffmpeg would also open lists of other files (concat,
# HLS), which an untrusted file must not make it do.
_SIGNATURES = (
    *((4, kind) for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    *((0, head) for head in (b"\x1aE\xdf\xa3", b"FLV\1", b"\x30\x26\xb2\x75", b"OggS", b"GIF8")),
    *((0, head) for head in (b"\0\0\1", b"\0\0\0\1", b"\x06\x0e\x2b\x34", b"YUV4MPEG2")),
    *((8, kind) for kind in (b"AVI ", b"AVIX")),
)
_TURNS = {
    90: Orientation(transposed=True, reversed_x=True),
    180: Orientation(reversed_x=True, reversed_y=True),
    270: Orientation(transposed=True, reversed_y=True),
}
_THREADS = 2


def probe_with_opencv(path: str) -> Probe:
    """Describe the first video stream by what its header promises. Raises DecodeError if OpenCV can't open it."""
    with opened(path) as file:
        if not _holds_its_pictures(file.read(512)):
            raise DecodeError.about(path, "{subject!r} is in no format that OpenCV is given by itself")
    cv2 = load_cv2()
    capture = OpenCVCapture(path, _THREADS)
    try:
        width, height, rate, count, turn, across, up, fourcc = (
            capture.property(name)
            for name in (
                *(cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT),
                *(cv2.CAP_PROP_ORIENTATION_META, cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN, cv2.CAP_PROP_FOURCC),
            )
        )
    finally:
        capture.close()
    fps = rate if 0 < rate <= 1000 else 25.0
    aspect = Fraction(int(across), int(up)) if across > 0 and up > 0 else Fraction(1)
    return Probe(
        path=path,
        codec=int(fourcc).to_bytes(4, "little", signed=fourcc < 0).decode("latin-1").strip("\0 ").lower(),
        width=int(width),
        height=int(height),
        fps=fps,
        declared=0,  # often a guess from the duration
        duration=count / fps if 0 < count < 2**40 else 0.0,
        orientation=_TURNS.get(int(turn) % 360, Orientation()),
        pixel_aspect=aspect if Fraction(1, 5) <= aspect <= 5 else Fraction(1),
        index=PacketIndex(),
    )


def _holds_its_pictures(head: bytes) -> bool:
    if any(head[at : at + 1] == b"\x47" == head[at + step : at + step + 1] for at, step in ((0, 188), (4, 192))):
        return True  # MPEG-TS, plain and as Blu-rays and camcorders store it
    return any(head.startswith(signature, at) for at, signature in _SIGNATURES)

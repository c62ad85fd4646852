"""Recognises the kind of a file by its first bytes: a video, a picture, an archive, text.

Used in messages, and to tell a list of names from a video.

No decoder is involved: a few hundred bytes are enough, and whether ffmpeg can decode the file is for the reader to find
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Family = Literal["video", "picture", "archive", "document", "sound"]

# Enough for three packets of a transport stream with 192 or 204 bytes each, and for an MP4 that begins with padding.
HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Content:
    """A kind of file, as described to users.

    words: its name with an article, for messages; suffix: the usual suffix of such a file.
    """

    family: Family
    words: str
    suffix: str = ""


# Signatures that are enough by themselves.
_BEGINNINGS: tuple[tuple[bytes, Content], ...] = (
    (b"\x1aE\xdf\xa3", Content("video", "a video (Matroska or WebM)", ".mkv")),
    (b"FLV\x01", Content("video", "a video (FLV)", ".flv")),
    (b"OggS", Content("video", "a video (Ogg)", ".ogv")),
    (b"0&\xb2u\x8ef\xcf\x11", Content("video", "a video (Windows Media)", ".wmv")),
    (b"GIF87a", Content("video", "a video (GIF)", ".gif")),
    (b"GIF89a", Content("video", "a video (GIF)", ".gif")),
    (b"\0\0\x01\xba", Content("video", "a video (MPEG program stream)", ".mpg")),
    (b"\0\0\x01\xb3", Content("video", "a video (MPEG)", ".m2v")),
    (b"\0\0\x01\xb0", Content("video", "a video (MPEG-4)", ".m4v")),
    (b"YUV4MPEG2", Content("video", "a video (YUV4MPEG)", ".y4m")),
    (b"DKIF\0\0", Content("video", "a video (IVF)", ".ivf")),
    (b"nut/multimedia container", Content("video", "a video (NUT)", ".nut")),
    (b".RMF", Content("video", "a video (RealMedia)", ".rm")),
    (b"\x06\x0e+4\x02\x05\x01\x01\r\x01\x02\x01", Content("video", "a video (MXF)", ".mxf")),
    (b"\x1f\x07\0", Content("video", "a video (DV)", ".dv")),
    (b"\xff\xd8\xff", Content("picture", "a picture (JPEG)", ".jpg")),
    (b"\x89PNG\r\n\x1a\n", Content("picture", "a picture (PNG)", ".png")),
    (b"BM", Content("picture", "a picture (BMP)", ".bmp")),
    (b"II*\0", Content("picture", "a picture (TIFF)", ".tif")),
    (b"MM\0*", Content("picture", "a picture (TIFF)", ".tif")),
    (b"\x1f\x8b", Content("archive", "compressed (gzip)", ".gz")),
    (b"BZh", Content("archive", "compressed (bzip2)", ".bz2")),
    (b"\xfd7zXZ\0", Content("archive", "compressed (xz)", ".xz")),
    (b"(\xb5/\xfd", Content("archive", "compressed (zstandard)", ".zst")),
    (b"7z\xbc\xaf'\x1c", Content("archive", "an archive (7z)", ".7z")),
    (b"Rar!\x1a\x07", Content("archive", "an archive (RAR)", ".rar")),
    (b"PK\x03\x04", Content("archive", "a zip archive or an Office document", ".zip")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Content("document", "an old Office document", ".doc")),
    (b"%PDF-", Content("document", "a PDF document", ".pdf")),
    (b"{\\rtf", Content("document", "a document (RTF)", ".rtf")),
    (b"SQLite format 3\0", Content("document", "a database (SQLite)", ".db")),
    (b"\x7fELF", Content("document", "a program", "")),
    (b"fLaC", Content("sound", "sound (FLAC)", ".flac")),
    (b"ID3", Content("sound", "sound (MP3)", ".mp3")),
)
# The first boxes of files of the MP4 family: the file type (ftyp) does not always come first.
_BOXES = frozenset({b"ftyp", b"moov", b"moof", b"mdat", b"wide", b"skip", b"free", b"pnot", b"styp", b"sidx"})
_STILL_BRANDS = frozenset({b"avif", b"heic", b"heix", b"mif1"})
_SOUND_BRANDS = frozenset({b"M4A ", b"M4B "})
_RIFF = {
    b"AVI ": Content("video", "a video (AVI)", ".avi"),
    b"AMV ": Content("video", "a video (AMV)", ".amv"),
    b"WAVE": Content("sound", "sound (WAV)", ".wav"),
}
_MP4 = Content("video", "a video (MP4)", ".mp4")
_TRANSPORT = Content("video", "a video (MPEG transport stream)", ".ts")
# NAL unit types that a raw stream begins with: H.264's parameter sets, slices and delimiter; H.265's.
_H264_UNITS = frozenset({7, 9, 5, 6, 8})
_H265_UNITS = frozenset({32, 33, 34, 35, 39})


def content_of(head: bytes) -> Content | None:
    """Recognise a file by its first bytes, `HEAD_BYTES` of them if it has so many; None for text and unknown formats."""
    for beginning, content in _BEGINNINGS:
        if head.startswith(beginning) and (beginning != b"BM" or _is_bitmap(head)):
            return content
    return _boxes(head) or _riff(head) or _transport(head) or _raw(head)


def is_animated(path: str) -> bool | None:
    """Return whether a WebP file's header says that it is animated; None for any other file."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(21)
    except (OSError, ValueError):
        return None
    return _is_animated(head) if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def _is_animated(head: bytes) -> bool:
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)


def _boxes(head: bytes) -> Content | None:
    size, kind = int.from_bytes(head[:4], "big"), head[4:8]
    if kind not in _BOXES or not (size in (0, 1) or size >= 8):
        return None
    if kind == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return Content("picture", "a picture (HEIF or AVIF)", ".heic")
    if kind == b"ftyp" and head[8:12] in _SOUND_BRANDS:
        return Content("sound", "sound (MPEG-4)", ".m4a")
    return _MP4


def _riff(head: bytes) -> Content | None:
    if head[:4] not in (b"RIFF", b"RIFX"):
        return None
    if head[8:12] == b"WEBP":
        moving = _is_animated(head)
        return Content("video" if moving else "picture", f"a {'video' if moving else 'picture'} (WebP)", ".webp")
    return _RIFF.get(head[8:12])


def _transport(head: bytes) -> Content | None:
    """Recognise a transport stream: packets of 188 bytes that begin with 0x47, also as camcorders and receivers wrap
    them.
    """
    for size, lead in ((188, 0), (192, 4), (192, 0), (204, 0)):
        marks = head[lead::size]
        if len(marks) >= 3 and marks == b"G" * len(marks) and len(head) >= lead + 2 * size:
            return _TRANSPORT
    return None


def _raw(head: bytes) -> Content | None:
    """Recognise H.264 or H.265 without a container: a start code, and a unit that such a stream begins with."""
    start = next((len(code) for code in (b"\0\0\0\x01", b"\0\0\x01") if head.startswith(code)), 0)
    if not start or len(head) <= start:
        return None
    unit = head[start]
    if not unit & 0x80 and (unit >> 1) & 0x3F in _H265_UNITS and head[start + 1 : start + 2] == b"\x01":
        return Content("video", "a video (raw H.265)", ".h265")
    if not unit & 0x80 and unit & 0x1F in _H264_UNITS:
        return Content("video", "a video (raw H.264)", ".h264")
    return None


def _is_bitmap(head: bytes) -> bool:
    """Return whether a file that begins with "BM" has a bitmap's header: a list of names may begin so, too."""
    return len(head) >= 18 and head[6:10] == b"\0\0\0\0" and int.from_bytes(head[14:18], "little") in (12, 40, 108, 124)

"""Recognises the kind of a file by its first bytes: a video, a picture, an archive, text, an output of this program.

Used in messages, and to tell a list of names from a video.

No decoder is involved: a few hundred bytes are enough, and whether ffmpeg can decode the file is for the reader to find
out.
"""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from videomae_cli import filesystem
from videomae_cli.errors import say

Family = Literal["video", "picture", "archive", "document", "sound", "output", "page", "weights"]

# Suffixes of the files that are picked from folders; a file named on the command line may have any.
VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".f4v", ".m4v", ".mov", ".mp4", ".qt"),
        *(".mk3d", ".mkv", ".webm", ".ivf", ".nut", ".ogm", ".ogv"),
        *(".m2t", ".m2ts", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ts", ".vob"),
        *(".amv", ".asf", ".avi", ".divx", ".dv", ".flv", ".rm", ".rmvb", ".wmv"),
        *(".264", ".265", ".h264", ".h265", ".hevc", ".m1v", ".m2v", ".mjpeg", ".mjpg", ".y4m"),
        *(".apng", ".gif", ".webp"),
    }
)
# Enough for three packets of a transport stream with 192 or 204 bytes each, and for an MP4 that begins with padding.
HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Content:
    """A kind of file, as described to users.

    words: its name with an article, for messages; suffix: the usual suffix of such a file; use: a template
    (`errors.say`) of what to do with it.
    """

    family: Family
    words: str
    suffix: str = ""
    use: str = ""

    @property
    def advice(self) -> str:
        """Return the words with what to do with such a file, spelled for the reader."""
        return f"{self.words}: {say(self.use)}" if self.use else self.words


_UNPACK, _GIVE_MODEL = "unpack it first", "give it {@model_place}"
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
    (b"\x1f\x8b", Content("archive", "compressed (gzip)", ".gz", _UNPACK)),
    (b"BZh", Content("archive", "compressed (bzip2)", ".bz2", _UNPACK)),
    (b"\xfd7zXZ\0", Content("archive", "compressed (xz)", ".xz", _UNPACK)),
    (b"(\xb5/\xfd", Content("archive", "compressed (zstandard)", ".zst", _UNPACK)),
    (b"7z\xbc\xaf'\x1c", Content("archive", "an archive (7z)", ".7z", _UNPACK)),
    (b"Rar!\x1a\x07", Content("archive", "an archive (RAR)", ".rar", _UNPACK)),
    (b"PK\x03\x04", Content("archive", "a zip archive or an Office document", ".zip", _UNPACK)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Content("document", "an old Office document", ".doc")),
    (b"%PDF-", Content("document", "a PDF document", ".pdf")),
    (b"{\\rtf", Content("document", "a document (RTF)", ".rtf")),
    (b"SQLite format 3\0", Content("document", "a database (SQLite)", ".db")),
    (b"\x7fELF", Content("document", "a program", "")),
    # An ONNX file of PyTorch's exporter: its format's version, and the exporter's name.
    *(
        (bytes((8, version)) + b"\x12\x07pytorch", Content("weights", "an ONNX model", ".onnx", _GIVE_MODEL))
        for version in range(7, 14)
    ),
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
_PAGE = Content("page", "a web page", ".html", "open it in a browser")
_WEIGHTS = Content("weights", "a model's weights", ".safetensors", "give them {@model_place}")
EMBEDDINGS = Content("output", "an output of videomae embed", "", "{@vectors_used}")
LABELS = Content("output", "an output of videomae classify", "", "{@labels_used}")
TIMELINE = Content("output", "an output of videomae timeline", "", "{@timelines_used}")
EVALUATION = Content("output", "an output of videomae evaluate")
# Keys of the first record, in the order in which they decide, as JSON writes them.
_KEYS = (
    (b'"embedding"', EMBEDDINGS),
    (b'"segments"', TIMELINE),
    (b'"windows"', TIMELINE),
    (b'"confusion"', EVALUATION),
    (b'"split"', EVALUATION),
    (b'"predictions"', LABELS),
    (b'"values"', LABELS),
)
_OUR_RECORD = re.compile(rb'\s*\[?\s*\{\s*"schema_version": ')
# The header of CSV: for people, or with all columns.
_NARROW = re.compile(rb"path,(kind,)?(start,end,)?label,score,(unsure,)?error\r?\n")
_WIDE = re.compile(rb"(?:schema_version,)?index,path,path_bytes,status,(kind,start,)?")
# The schema at the end of a Parquet file is read as far as this.
_MOST_SCHEMA = 1 << 20
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


def content_in(path: str | os.PathLike[str]) -> Content | None:
    """Recognise a file, also outputs of this program, pages and weights; None for others, and for one that can't be read."""
    if not filesystem.is_file(path):
        return None  # opening a pipe would block
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD_BYTES)
            return _ours(file, head) or content_of(head)
    except (OSError, ValueError):
        return None


def holds_videos(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder itself, without its subfolders, holds a file that is named like a video."""
    return any(Path(name).suffix.lower() in VIDEO_SUFFIXES for name in filesystem.names_in(folder))


def _ours(file: BinaryIO, head: bytes) -> Content | None:
    if head.startswith(b"PAR1"):
        return _table(file)
    if head.startswith(b"PK\x03\x04"):
        return _zip(file)
    if head[8:9] == b"{" and head[5:8] == b"\0\0\0":
        return _WEIGHTS
    if re.match(rb"\s*(<!doctype html|<html)", head, re.IGNORECASE):
        return _PAGE
    if _OUR_RECORD.match(head):
        return next((content for key, content in _KEYS if key + b":" in head), None)
    if narrow := _NARROW.match(head):
        return TIMELINE if narrow[2] else LABELS
    wide = _WIDE.match(head)
    return None if wide is None else EMBEDDINGS if b",embedding," in head else TIMELINE if wide[1] else LABELS


def _table(file: BinaryIO) -> Content | None:
    """Recognise a Parquet file by the names of columns in its schema, which is at its end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 8, 0))
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(size - 8 - min(length, _MOST_SCHEMA), 0))
    schema = file.read(min(length, _MOST_SCHEMA))
    if b"fingerprint" in schema and b"schema_version" in schema:
        for column, content in ((b"embedding", EMBEDDINGS), (b"segments", TIMELINE), (b"predictions", LABELS)):
            if column in schema:
                return content
    return Content("document", "a table (Parquet)", ".parquet")


def _zip(file: BinaryIO) -> Content | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError):
        return None
    if {"embeddings.npy", "metadata.npy"} <= set(names):
        return EMBEDDINGS
    if any(name.endswith("/data.pkl") for name in names):
        return _WEIGHTS
    return Content("document", "an archive of arrays (npz)", ".npz") if names and names[0].endswith(".npy") else None


def is_animated(path: str) -> bool | None:
    """Return whether a WebP file's header says that it is animated; None for any other file."""
    try:
        with filesystem.opened(path) as file:
            head = file.read(21)
    except (OSError, ValueError):
        return None
    return is_animated_head(head) if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def is_animated_head(head: bytes) -> bool:
    """Return whether these are the first bytes of an animated WebP."""
    return (
        head[:4] == b"RIFF"
        and head[8:12] == b"WEBP"
        and head[12:16] == b"VP8X"
        and len(head) > 20
        and bool(head[20] & 2)
    )


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
        moving = is_animated_head(head)
        return Content("video" if moving else "picture", f"a {'video' if moving else 'picture'} (WebP)", ".webp")
    return _RIFF.get(head[8:12])


def _transport(head: bytes) -> Content | None:
    """Recognise a transport stream: packets of 188 bytes that begin with 0x47, also as camcorders wrap them."""
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

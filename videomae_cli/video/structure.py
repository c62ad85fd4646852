"""Tells from a container's outermost structure whether a file is truncated: then it ends inside an element.

Durations and frame counts in headers are unreliable, but the sizes of a file's elements show whether its end is
missing. If only an index or tags after the pictures are truncated, no picture is lost. Reads a few bytes here and
there, never a picture.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

from videomae_cli.video.tar_members import opened
from videomae_cli.video.transport import ends_in_pes, ends_torn

_RIFF = struct.Struct("<4sI")
# Sizes written by programs that can't go back to fill them in.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
_TAIL = 1 << 18
_PACK = b"\0\0\1\xba"
_SEGMENT, _CLUSTER, _EBML = 0x18538067, 0x1F43B675, 0x1A45DFA3
# Cues, tags, chapters, attachments, the table of contents (SeekHead) and free space (Void).
_BEHIND_CLUSTERS = (0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, 0x114D9B74, 0xEC)
_MXF_KEY, _MXF_PARTITION, _MXF_FOOTER = (bytes.fromhex(key) for key in ("060e2b34", "0d01020101", "0d0102010104"))
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_INDEX, _ASF_DATA_HEAD = bytes.fromhex("90080033b1e5cf1189f400a0c90349cb"), 50


def is_whole(path: str, format: str) -> bool | None:
    """Return whether the file ends where its container says; None if that is unknown.

    format: ffmpeg's name of the container.
    """
    check = next((check for name, check in _CHECKS.items() if name in format.split(",")), None)
    if check is None:
        return None
    try:
        with opened(path) as file:
            length = file.seek(0, 2)
            file.seek(0)
            return check(file, length)
    except (OSError, ValueError):
        return None


def _riff(file: BinaryIO, length: int) -> bool | None:
    """AVI: return whether every RIFF chunk (files above 1 GB have several) ends inside the file."""
    end = 0
    while end < length:
        file.seek(end)
        head = file.read(_RIFF.size)
        if head[:4] != b"RIFF":
            # Other data after the last chunk does no harm.
            return end > 0
        if len(head) < _RIFF.size:
            return False
        size = _RIFF.unpack(head)[1]
        if size in _UNKNOWN_SIZES:
            return _riff_chunks(file, end + 12, length)
        end += _RIFF.size + size
        if end > length:
            return False
        end += size % 2
    return end > 0


def _riff_chunks(file: BinaryIO, end: int, length: int) -> bool | None:
    """Return whether the last chunk of a RIFF without a valid size (its writer could not fill it in) is complete."""
    while end < length:
        file.seek(end)
        head = file.read(12)
        if len(head) < _RIFF.size:
            return False
        if not head[:4].isascii():
            return None
        size = _RIFF.unpack(head[:8])[1]
        if head[:4] == b"LIST" and (size in _UNKNOWN_SIZES or head[8:] == b"movi"):
            end += 12
        else:
            end += _RIFF.size + size + size % 2
    # The padding byte of the last chunk is often left out.
    return end <= length + 1


def _boxes(file: BinaryIO, length: int) -> bool | None:
    """MP4 and MOV: return whether the last box ends inside the file."""
    end = 0
    while end + 8 <= length:
        file.seek(end)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size == 0:
            return None  # the box reaches to the end of the file, wherever that is
        if size < 8:
            return end > 0
        end += size
        if end > length:
            return head[4:8] not in (b"mdat", b"moof", b"moov")
    return True


def vint(file: BinaryIO, *, marked: bool) -> int | None:
    """Read one of Matroska's numbers, with its marker (an element's id) or without (a size, -1 for unknown)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    if len(rest) < width - 1:
        return None
    value = int.from_bytes(first + rest, "big")
    if marked:
        return value
    value &= (1 << 7 * width) - 1
    return -1 if value == (1 << 7 * width) - 1 else value


def _matroska(file: BinaryIO, length: int) -> bool | None:
    """Matroska and WebM: return whether the clusters fill the segment's stated size."""
    segment_end = length
    while (position := file.tell()) < length:
        name, size = vint(file, marked=True), vint(file, marked=False)
        if position >= segment_end and name != _EBML:
            # Other data after the segment does no harm.
            return True
        if name is None or size is None:
            return False
        if name == _EBML:
            segment_end = length
        if name == _SEGMENT and size >= 0:
            segment_end = file.tell() + size
        elif size == -1 and name not in (_SEGMENT, _CLUSTER):
            return None
        # An element without a size ends with its last child: look inside.
        elif name != _SEGMENT and file.seek(max(size, 0), 1) > length:
            return name in _BEHIND_CLUSTERS
    return segment_end <= length


def _flash(file: BinaryIO, length: int) -> bool | None:
    """FLV: return whether the last tag is complete: its size is repeated after it."""
    file.seek(max(length - 4, 0))
    size = int.from_bytes(file.read(4), "big")
    if 11 <= size <= length - 17:
        file.seek(length - 4 - size)
        head = file.read(4)
        if head[0] & 31 in (8, 9, 18) and int.from_bytes(head[1:], "big") + 11 == size:
            return True
    end = 13
    while end + 11 <= length:
        file.seek(end)
        head = file.read(4)
        if head[0] & 31 not in (8, 9, 18):
            return None
        end += 11 + int.from_bytes(head[1:], "big") + 4
    return end == length


def _windows_media(file: BinaryIO, length: int) -> bool | None:
    """ASF: return whether the object with the packets is complete or, if it has no size, ends between two packets."""
    head = file.read(1 << 16)
    properties, data = head.find(_ASF_PROPERTIES), head.find(_ASF_DATA)
    if properties < 0 or data < 0 or len(head) < data + 24:
        return None
    size, flags = int.from_bytes(head[data + 16 : data + 24], "little"), head[properties + 88]
    if size > _ASF_DATA_HEAD and not flags & 1:
        return data + size <= length
    packet = int.from_bytes(head[properties + 92 : properties + 96], "little")
    file.seek(max(length - _TAIL, 0))
    if _ASF_INDEX in file.read():
        return True
    # A recording without a size is damaged if its last packet is incomplete; otherwise it may be complete or not.
    return False if packet and (length - data - _ASF_DATA_HEAD) % packet else None


def _program_stream(file: BinaryIO, length: int) -> bool | None:
    """MPEG-PS: return whether the last packets end exactly at the end of the file."""
    start = max(length - _TAIL, 0)
    file.seek(start)
    tail = file.read()
    position = tail.find(_PACK)
    while 0 <= position < len(tail):
        kind = tail[position + 3] if tail[position : position + 3] == b"\0\0\1" and position + 3 < len(tail) else 0
        if kind == 0xBA:
            second = tail[position + 4] >> 6 == 1 if position + 4 < len(tail) else False
            stuffing = tail[position + 13] & 7 if second and position + 13 < len(tail) else 0
            position += 14 + stuffing if second else 12
        elif kind == 0xB9:
            position += 4
        elif kind > 0xBA:
            position += 6 + int.from_bytes(tail[position + 4 : position + 6], "big")
        elif (following := tail.find(_PACK, position)) > 0 and not any(tail[position:following]):
            position = following  # discs fill up their sectors with zeros
        else:
            # Padding after the end does no harm; half of a start code means that the file is cut off.
            return False if len(tail) - position < 4 and tail[position:] in (b"\0", b"\0\0", b"\0\0\1") else None
    return None if position < 0 else position == len(tail)


def _ogg(file: BinaryIO, length: int) -> bool | None:
    """Ogg: return whether the last page is complete."""
    file.seek(max(length - _TAIL, 0))
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return None
    table = tail[page + 27 : page + 27 + tail[page + 26]] if page + 26 < len(tail) else b""
    return page + 26 < len(tail) and page + 27 + tail[page + 26] + sum(table) <= len(tail)


def _gif(file: BinaryIO, length: int) -> bool | None:
    """GIF: return whether it ends with its trailer; None if it ends with a byte that can end a picture."""
    file.seek(max(length - 1, 0))
    last = file.read(1)
    return True if last == b";" else None if last == b"\0" else False


def _png(file: BinaryIO, length: int) -> bool | None:
    """APNG: return whether its last chunk (IEND) is there."""
    file.seek(max(length - 1024, 0))
    return b"IEND" in file.read()


def _mxf(file: BinaryIO, length: int) -> bool | None:
    """MXF: return whether it has its footer, at the place stated in the header or else after all elements."""
    end, footer = 0, False
    while end < length:
        file.seek(end)
        head = file.read(57)
        if not head.startswith(_MXF_KEY[: len(head)]):
            return None
        if len(head) < 17:
            return footer
        # Up to 127 the byte is the length itself; otherwise it says how many bytes the length takes.
        width = head[16] & 127 if head[16] > 127 else 0
        if width > 8:
            return None
        value = 17 + width
        promised = int.from_bytes(head[value + 24 : value + 32], "big")
        if not end and head.startswith(_MXF_PARTITION, 8) and promised:
            return promised < length
        footer = footer or head.startswith(_MXF_FOOTER, 8)
        end += value + (int.from_bytes(head[17:value], "big") if width else head[16])
    return True if footer else None if end == length else False


def _tape(file: BinaryIO, length: int) -> bool | None:
    """DV: return False if the last picture is incomplete, judging by its fixed size.

    Otherwise None, since nothing says how long the file should be.
    """
    head = file.read(4)
    size = 144_000 if len(head) == 4 and head[3] & 128 else 120_000
    return None if length % size == 0 else False


def _transport(file: BinaryIO, length: int) -> bool | None:
    """MPEG-TS: return whether the last packet is complete, and also the picture or sound that it belongs to."""
    return not (ends_torn(file, length) or ends_in_pes(file, length))


_CHECKS: dict[str, Callable[[BinaryIO, int], bool | None]] = {
    "avi": _riff,
    "mov": _boxes,
    "matroska": _matroska,
    "flv": _flash,
    "asf": _windows_media,
    "mpeg": _program_stream,
    "mpegts": _transport,
    "ogg": _ogg,
    "mxf": _mxf,
    "dv": _tape,
    "gif": _gif,
    "apng": _png,
}

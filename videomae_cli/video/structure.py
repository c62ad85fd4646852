"""Whether a container's outermost structure is all there: a file that was cut off ends inside an element.

Lengths of films and counts of frames in headers may be anything; the sizes of the elements that a file is made of tell
whether its end is missing. Reads a few bytes here and there, never a picture.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from videomae_cli.video.transport import ends_torn

_RIFF = struct.Struct("<4sI")
# What programs write that can't go back to fill in the size.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
_TAIL = 1 << 18
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_MXF_KEY = bytes.fromhex("060e2b34")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def is_whole(path: str, format: str) -> bool | None:
    """Whether the file ends where its container says, by ffmpeg's name of the format; None where nothing tells."""
    check = next((check for name, check in _CHECKS.items() if name in format.split(",")), None)
    if check is None:
        return None
    try:
        with Path(path).open("rb") as file:
            length = file.seek(0, 2)
            file.seek(0)
            return check(file, length)
    except OSError:
        return None


def _riff(file: BinaryIO, length: int) -> bool | None:
    """AVI: whether every RIFF chunk (of more than 1 GB there are several) ends inside the file."""
    end = 0
    while end < length:
        file.seek(end)
        head = file.read(_RIFF.size)
        if head[:4] != b"RIFF":
            # Something else behind the last chunk does no harm.
            return end > 0
        if len(head) < _RIFF.size:
            return False
        size = _RIFF.unpack(head)[1]
        if size in _UNKNOWN_SIZES:
            return None
        end += _RIFF.size + size
        if end > length:
            return False
        end += size % 2
    return end > 0


def _boxes(file: BinaryIO, length: int) -> bool | None:
    """MP4 and MOV: whether the last box ends inside the file."""
    end = 0
    while end + 8 <= length:
        file.seek(end)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size == 0:
            return None  # up to the end, wherever that is
        if size < 8:
            return end > 0
        end += size
    return end <= length


def _vint(file: BinaryIO, marked: bool) -> int | None:
    """A number of Matroska's, with its marker (an element's id) or without (a size, -1 for unknown)."""
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
    """Matroska and WebM: whether the segment ends inside the file; of one of unknown size, whether its last element does."""
    while file.tell() < length:
        name, size = _vint(file, True), _vint(file, False)
        if name is None or size is None:
            return False
        if size == -1 and name not in (_SEGMENT, _CLUSTER):
            return None
        # What has no size ends where its last element does: go into it.
        if file.seek(max(size, 0), 1) > length:
            return False
    return True


def _flash(file: BinaryIO, length: int) -> bool | None:
    """FLV: whether the last tag is there, by its size, which is written behind it too."""
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
    """ASF: whether the file is as long as its properties say, unless they were written before anybody knew."""
    head = file.read(1 << 16)
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return None
    size, flags = struct.unpack_from("<Q40xI", head, at + 40)
    return None if flags & 1 or not size else size <= length


def _program_stream(file: BinaryIO, length: int) -> bool | None:
    """MPEG-PS: whether the packets of the last packs end with the file."""
    start = max(length - _TAIL, 0)
    file.seek(start)
    tail = file.read()
    position = tail.find(b"\0\0\1\xba")
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
        else:
            # Padding behind the end does no harm; the start of a code does.
            return False if len(tail) - position < 4 and tail[position:] in (b"\0", b"\0\0", b"\0\0\1") else None
    return None if position < 0 else position == len(tail)


def _ogg(file: BinaryIO, length: int) -> bool | None:
    """Ogg: whether the last page is all there."""
    file.seek(max(length - _TAIL, 0))
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return None
    table = tail[page + 27 : page + 27 + tail[page + 26]] if page + 26 < len(tail) else b""
    return page + 26 < len(tail) and page + 27 + tail[page + 26] + sum(table) <= len(tail)


def _gif(file: BinaryIO, length: int) -> bool | None:
    """GIF: whether it ends in its trailer, or at least where a picture may end."""
    file.seek(max(length - 1, 0))
    last = file.read(1)
    return True if last == b";" else None if last == b"\0" else False


def _png(file: BinaryIO, length: int) -> bool | None:
    """APNG: whether its last chunk is there."""
    file.seek(max(length - 1024, 0))
    return b"IEND" in file.read()


def _mxf(file: BinaryIO, length: int) -> bool | None:
    """MXF: whether the last of its keys, lengths and values is all there."""
    end = 0
    while end < length:
        file.seek(end)
        head = file.read(25)
        if not head.startswith(_MXF_KEY[: len(head)]):
            return None
        if len(head) < 17:
            return False
        # Up to 127 the length is one byte; else that says how many bytes it has.
        width = head[16] & 127 if head[16] > 127 else 0
        if width > 8:
            return None
        end += 17 + width + (int.from_bytes(head[17 : 17 + width], "big") if width else head[16])
    return end == length


def _tape(file: BinaryIO, length: int) -> bool | None:
    """DV: whether the last picture is all there, each having a fixed size; where a recording was to end nothing says."""
    head = file.read(4)
    size = 144_000 if len(head) == 4 and head[3] & 128 else 120_000
    return None if length % size == 0 else False


def _transport(file: BinaryIO, length: int) -> bool | None:
    """MPEG-TS: whether the last packet is all there; where a recording was to end nothing says."""
    return not ends_torn(file, length)


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

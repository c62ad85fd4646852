"""How long a film on this disk says it is, from a few bytes of its header: for estimates, since headers may be wrong.

ISO/IEC 14496-12 (mvhd) and RFC 9559 (Info).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem
from videomae_cli.video.structure import vint

# Boxes or elements that are looked at: a header comes among the first of them or behind the pictures, which are one.
_MOST = 100
_EBML = bytes.fromhex("1a45dfa3")
_SEGMENT, _CLUSTER, _INFO, _SCALE, _DURATION = 0x18538067, 0x1F43B675, 0x1549A966, 0x2AD7B1, 0x4489
_NANO = 1e-9
_FLOATS = {4: ">f", 8: ">d"}


def stated_seconds(path: str) -> float | None:
    """Return the seconds that an MP4, MOV, Matroska or WebM file says it lasts; None if it says nothing, and for all else."""
    if not filesystem.is_file(Path(path)):  # opening a pipe would wait for its writer
        return None
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a name of any bytes, as it was given
            is_matroska = file.read(len(_EBML)) == _EBML
            file.seek(0)
            seconds = _matroska(file) if is_matroska else _mp4(file)
    except (OSError, ValueError, OverflowError, struct.error):
        return None
    return seconds if seconds is not None and math.isfinite(seconds) and seconds > 0 else None


def _mp4(file: BinaryIO) -> float | None:
    header = next((start for kind, start in _boxes(file, 0) if kind == b"moov"), None)
    header = None if header is None else next((start for kind, start in _boxes(file, header) if kind == b"mvhd"), None)
    if header is None:
        return None
    file.seek(header)
    data = file.read(32)
    # Behind the version, the flags and two times, which are longer in version 1 as the duration is.
    scale, duration = struct.unpack_from(">IQ", data, 20) if data[:1] == b"\1" else struct.unpack_from(">II", data, 12)
    return duration / scale if scale and duration not in (2**32 - 1, 2**64 - 1) else None


def _boxes(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield the kind and the start of what is in each of the boxes that follow one another from a place on."""
    for _ in range(_MOST):
        file.seek(end)
        head = file.read(16)
        size, inside = int.from_bytes(head[:4], "big"), end + 8
        if size == 1:
            size, inside = int.from_bytes(head[8:16], "big"), end + 16
        if size < inside - end:
            return
        yield head[4:8], inside
        end += size


def _matroska(file: BinaryIO) -> float | None:
    scale, duration = 1_000_000, None
    for name, size in _elements(file):
        if name == _SCALE and size <= 8:
            scale = int.from_bytes(file.read(size), "big")
        elif name == _DURATION and size in _FLOATS:
            (duration,) = struct.unpack(_FLOATS[size], file.read(size))
    return None if duration is None else duration * scale * _NANO


def _elements(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield the name and the size of each element before the pictures, where its content starts; of a segment and its Info, those inside."""
    for _ in range(_MOST):
        name, size = vint(file, marked=True), vint(file, marked=False)
        if name is None or size is None or name == _CLUSTER:
            return
        start = file.tell()
        if name not in (_SEGMENT, _INFO):
            if size < 0:
                return
            yield name, size
            file.seek(start + size)

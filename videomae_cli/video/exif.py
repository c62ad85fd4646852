"""Reads from a JPEG's Exif data whether a camera took the picture: frames of a film have no maker.

Only a few bytes are looked at, and no decoder is involved, since this runs where files are searched.
"""

from __future__ import annotations

import struct
from typing import Literal

# Tags of the first directory (CIPA DC-008, 4.6.4): the camera's maker and its model.
_MAKE, _MODEL = 0x010F, 0x0110
_APP1, _START_OF_SCAN = 0xE1, 0xDA
_MOST_ENTRIES = 512


def is_from_camera(head: bytes) -> bool:
    """Return whether the Exif data in the first bytes of a JPEG name a camera's maker or model."""
    content = _exif_of(head)
    orders: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
    order = orders.get(content[:2])
    if order is None or len(content) < 8:
        return False
    (start,) = struct.unpack_from(order + "I", content, 4)
    if start + 2 > len(content):
        return False
    (count,) = struct.unpack_from(order + "H", content, start)
    for entry in range(min(count, _MOST_ENTRIES)):
        at = start + 2 + 12 * entry
        if at + 8 > len(content):
            return False
        tag, _, length = struct.unpack_from(order + "HHI", content, at)
        if tag in (_MAKE, _MODEL) and length > 1:
            return True
    return False


def _exif_of(head: bytes) -> bytes:
    """Return the Exif data of a JPEG, or nothing."""
    at = 2
    while head[:2] == b"\xff\xd8" and at + 4 <= len(head) and head[at] == 0xFF and head[at + 1] != _START_OF_SCAN:
        size = int.from_bytes(head[at + 2 : at + 4], "big")
        if head[at + 1] == _APP1 and head[at + 4 : at + 10] == b"Exif\0\0":
            return head[at + 10 : at + 2 + size]
        at += 2 + max(size, 2)
    return b""

"""What the outermost structure of a RIFF file (AVI) tells. Reads a few bytes.

The numbers in an AVI's header may be anything; the sizes of its outermost chunks tell whether the file is all there.
"""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER = struct.Struct("<4sI")
# What programs write that can't go back to fill in the size.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)


def is_whole(path: str) -> bool:
    """Whether every RIFF chunk (an AVI of more than 1 GB has several) ends inside the file."""
    try:
        with Path(path).open("rb") as file:
            length = file.seek(0, 2)
            end = 0
            while end < length:
                file.seek(end)
                head = file.read(_HEADER.size)
                if head[:4] != b"RIFF":
                    # Something else behind the last chunk does no harm.
                    return end > 0
                if len(head) < _HEADER.size:
                    return False
                size = _HEADER.unpack(head)[1]
                end += _HEADER.size + size
                if size in _UNKNOWN_SIZES or end > length:
                    return False
                end += size % 2
    except OSError:
        return False
    return end > 0

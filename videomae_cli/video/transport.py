"""Whether an MPEG transport stream has lost anything: its packets are numbered, and nothing else tells.

A seek that jumps over a hole lands on the right time, but the pictures behind the hole have other numbers than the
intact file's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_SYNC = 0x47
# Plain, with a time stamp before (Blu-ray), with error correction behind: (size of a packet, place of the sync byte).
_LAYOUTS = ((188, 0), (192, 4), (204, 0))
_CHUNK_PACKETS = 1 << 15


def is_intact(path: str, pid: int) -> bool:
    """Whether the packets with this id are all there, by their sync bytes and continuity counters."""
    last = -1
    try:
        for packets in _packets(path):
            if not (packets[:, 0] == _SYNC).all():
                return False
            numbers = (packets[:, 1].astype(np.uint16) & 0x1F) << 8 | packets[:, 2]
            # Only packets with a payload count.
            wanted = packets[(numbers == pid) & (packets[:, 3] & 0x10 > 0), :4]
            if (wanted[:, 1] & 0x80).any():
                return False
            counters = np.concatenate([[last] if last >= 0 else [], wanted[:, 3] & 0x0F]).astype(np.int64)
            steps = np.diff(counters) % 16
            # A packet may be sent twice.
            if not ((steps == 1) | (steps == 0)).all():
                return False
            last = int(counters[-1]) if len(counters) else last
    except (OSError, ValueError):
        return False
    return True


def ends_torn(file: BinaryIO, length: int) -> bool:
    """Whether the file ends inside a packet; False too where no packets are found at its beginning."""
    layout = _layout(file.read(204 * 8))
    return layout is not None and (length - layout[1]) % layout[0] not in (0, layout[0] - layout[1])


def _layout(head: bytes) -> tuple[int, int] | None:
    for size, offset in _LAYOUTS:
        if all(byte == _SYNC for byte in head[offset::size][:7]):
            return size, offset
    return None


def _packets(path: str) -> Iterator[npt.NDArray[np.uint8]]:
    """Chunks of (n, size) bytes, each row from its sync byte on; the torn last packet is left out."""
    with Path(path).open("rb") as file:
        layout = _layout(file.read(204 * 8))
        if layout is None:
            raise ValueError("no packet structure")
        size, offset = layout
        file.seek(offset)
        while data := file.read(size * _CHUNK_PACKETS):
            rows = (len(data) + offset) // size
            # The last row may lack the time stamp of the packet that doesn't follow.
            whole = np.frombuffer(data + b"\0" * offset, np.uint8)[: rows * size]
            yield whole.reshape(rows, size)

"""Tells whether an MPEG transport stream has lost packets, by their continuity counters: nothing else shows it.

A seek across a gap lands at the right time, but after the gap pictures have other numbers than in the intact file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from videomae_cli.video.tar_members import opened

_SYNC = 0x47
# (size of a packet, offset of its sync byte): plain, with a time stamp before it (Blu-ray), with error correction after
# it.
_LAYOUTS = ((188, 0), (192, 4), (204, 0))
_CHUNK_PACKETS = 1 << 15
_PLAIN_SIZE, _TAIL_PACKETS, _NULL = 188, 4096, 0x1FFF


def is_intact(path: str, pid: int) -> bool:
    """Return whether no packet with this id is missing, judging by sync bytes and continuity counters."""
    last = -1
    try:
        for packets in _packets(path):
            if not (packets[:, 0] == _SYNC).all():
                return False
            numbers = (packets[:, 1].astype(np.uint16) & 0x1F) << 8 | packets[:, 2]
            # Only packets with a payload advance the counter.
            wanted = packets[(numbers == pid) & (packets[:, 3] & 0x10 > 0), :4]
            if (wanted[:, 1] & 0x80).any():
                return False
            counters = np.concatenate([[last] if last >= 0 else [], wanted[:, 3] & 0x0F]).astype(np.int64)
            steps = np.diff(counters) % 16
            # The same packet may be sent twice.
            if not ((steps == 1) | (steps == 0)).all():
                return False
            last = int(counters[-1]) if len(counters) else last
    except (OSError, ValueError):
        return False
    return True


def ends_torn(file: BinaryIO, length: int) -> bool:
    """Return whether the file ends inside a packet; also False if no packets are found at its beginning."""
    layout = _layout(file.read(204 * 8))
    return layout is not None and (length - layout[1]) % layout[0] not in (0, layout[0] - layout[1])


def ends_in_pes(file: BinaryIO, length: int) -> bool:
    """Return whether the file ends inside the picture or sound (PES) that its last packet belongs to.

    No header states the length of a picture. But each begins in a packet of its own, so the last packet of a picture is
    padded, except for one in 184 that happens to need no padding.
    """
    packets = _last_packets(file, length)
    numbers = [(packet[1] & 0x1F) << 8 | packet[2] for packet in packets]
    sections = set()  # ids of tables, which are no pictures
    for place in range(len(packets) - 1, -1, -1):
        number = numbers[place]
        if number == _NULL or number in sections or not packets[place][3] & 0x10:
            continue
        mine = [packet for packet, other in zip(packets, numbers, strict=True) if other == number and packet[3] & 0x10]
        begun = next((back for back in range(len(mine) - 1, -1, -1) if mine[back][1] & 0x40), None)
        head = _payload(mine[begun]) if begun is not None else b"\0\0\1"
        if head[:3] != b"\0\0\1":
            sections.add(number)
            continue
        stated = int.from_bytes(head[4:6], "big")
        return stated > sum(len(_payload(packet)) for packet in mine[begun:]) - 6 if stated else not _filled(mine[-1])
    return False


def _last_packets(file: BinaryIO, length: int) -> list[bytes]:
    """Return the last packets of a file, each from its sync byte on; a torn last one is left out."""
    file.seek(0)
    layout = _layout(file.read(204 * 8))
    if layout is None:
        return []
    size, offset = layout
    count = (length - offset + size - _PLAIN_SIZE) // size
    first = max(0, count - _TAIL_PACKETS)
    file.seek(offset + first * size)
    data = file.read()
    return [data[at : at + _PLAIN_SIZE] for at in range(0, (count - first) * size, size)]


def _filled(packet: bytes) -> bool:
    """Return whether a packet is padded: its adaptation field is longer than its content."""
    if not packet[3] & 0x20:
        return False
    flags = packet[5] if packet[4] else 0
    # Two clocks and a countdown; further fields state their own length.
    needed = 1 + 6 * (flags >> 4 & 1) + 6 * (flags >> 3 & 1) + (flags >> 2 & 1)
    return bool(flags & 3) or packet[4] != needed


def _payload(packet: bytes) -> bytes:
    """Return what a packet carries after its header and its adaptation field."""
    return packet[5 + packet[4] :] if packet[3] & 0x20 else packet[4:]


def _layout(head: bytes) -> tuple[int, int] | None:
    for size, offset in _LAYOUTS:
        if all(byte == _SYNC for byte in head[offset::size][:7]):
            return size, offset
    return None


def _packets(path: str) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield chunks of (n, size) bytes, each row from its sync byte on; a torn last packet is left out."""
    with opened(path) as file:
        layout = _layout(file.read(204 * 8))
        if layout is None:
            raise ValueError("no packet structure")
        size, offset = layout
        file.seek(offset)
        while data := file.read(size * _CHUNK_PACKETS):
            rows = (len(data) + offset) // size
            # The last row may be short of the time stamp that would belong to the next packet.
            whole = np.frombuffer(data + b"\0" * offset, np.uint8)[: rows * size]
            yield whole.reshape(rows, size)

"""Looks at the first bytes of a compressed picture where the container's word is not enough. Decodes nothing.

- A key picture of H.264 may be a recovery point in the middle of a gradual refresh: decoding that starts there shows
  rubbish for a while, so it is no place to seek to.
- VP8 stores pictures that are never shown.
- A packet overwritten on disk still has its place in the index, but its first unit has an impossible length or kind, or
  bytes that can't occur in a unit, or there is no picture in it. One wrong bit in a picture only a decoder can notice.
"""

from __future__ import annotations

from typing import Any

# Where avcC and hvcC keep the size of the length before each unit.
_LENGTH_SIZE_AT = {"h264": 4, "hevc": 21}
# What a unit's first bytes are looked at for: three zeros stand for something else (ITU-T H.264, 7.4.1).
_HEAD, _IMPOSSIBLE = 48, b"\0\0\0"
# What a picture starts with, and how far into a packet other headers reach.
_PICTURE = {"mpeg1video": b"\0\0\1\0", "mpeg2video": b"\0\0\1\0", "mpeg4": b"\0\0\1\xb6"}
_HEADERS = 4096


class BitstreamCheck:
    """Calls every packet "plain", "refresh" (key, but not all intra), "hidden" or "damaged"."""

    def __init__(self, context: Any) -> None:
        self._codec: str = context.codec.canonical_name
        extradata = context.extradata or b""
        # avcC and hvcC start with version 1; without them the stream has start codes.
        position = _LENGTH_SIZE_AT.get(self._codec, len(extradata))
        prefixed = position < len(extradata) and extradata[0] == 1
        self._prefix = (extradata[position] & 3) + 1 if prefixed else 0
        self._picture = _PICTURE.get(self._codec)

    def __call__(self, packet: Any) -> str:
        if self._codec == "vp8":
            return "plain" if memoryview(packet)[0] >> 4 & 1 else "hidden"
        if self._prefix:
            prefix = self._prefix
            head = bytes(memoryview(packet)[: prefix + _HEAD])
            length = int.from_bytes(head[:prefix], "big")
            if not 0 < length <= packet.size - prefix or head.find(_IMPOSSIBLE, prefix, prefix + length) >= 0:
                return "damaged"
            # The first bit is never set, and 0 is no kind of H.264 unit.
            if head[prefix] > 127 or (self._codec == "h264" and not head[prefix] & 31):
                return "damaged"
        elif self._picture is not None and self._picture not in bytes(memoryview(packet)[:_HEADERS]):
            return "damaged"
        if self._codec == "h264" and packet.is_keyframe and not self._starts_intra(bytes(packet)):
            return "refresh"
        return "plain"

    def _starts_intra(self, data: bytes) -> bool:
        """Whether the first slice is an I slice (or the picture an IDR, which only has those)."""
        for start in self._units(data):
            kind = data[start] & 31
            if kind == 5:
                return True
            if kind == 1:
                return _slice_type(data[start + 1 : start + 17]) in (2, 4, 7, 9)
        return True

    def _units(self, data: bytes) -> list[int]:
        """Where the units of a packet start."""
        starts = []
        if self._prefix:
            position = 0
            while position + self._prefix < len(data):
                starts.append(position + self._prefix)
                position += self._prefix + int.from_bytes(data[position : position + self._prefix], "big")
        else:
            position = data.find(b"\0\0\1")
            while 0 <= position < len(data) - 3:
                starts.append(position + 3)
                position = data.find(b"\0\0\1", position + 3)
        return starts


def _slice_type(header: bytes) -> int:
    """The second Exp-Golomb number of a slice header (after first_mb_in_slice)."""
    bits = "".join(f"{byte:08b}" for byte in header)
    position, value = 0, 0
    for _ in range(2):
        zeros = 0
        while position + zeros < len(bits) and bits[position + zeros] == "0":
            zeros += 1
        end = position + 2 * zeros + 1
        value = int(bits[position + zeros : end] or "1", 2) - 1
        position = end
    return value

"""Inspects the first bytes of compressed pictures for facts that containers get wrong or leave out. Decodes nothing.

- A key picture of H.264 may be a recovery point in the middle of a gradual refresh: decoding that starts there shows
garbage for a while, so it is no place to seek to. - VP8, VP9 and AV1 store pictures that are never shown, in packets of
their own or together with one that is. - Camcorders store H.264 pictures as two fields, each in a packet of its own:
two packets, one picture. - A packet overwritten on disk still has its place in the index, but its first unit has an
impossible length or kind, or bytes that can't occur in a unit, or there is no picture in it. Only a decoder can notice
a single wrong bit within a picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from videomae_cli.video.h264 import Field, parse_field, parse_sps, slice_type

# Offset, in the avcC and hvcC headers, of the byte that gives the size of the length field before each unit.
_LENGTH_SIZE_AT = {"h264": 4, "hevc": 21}
# How many of a unit's first bytes are searched for three zeros, which can't occur inside a unit (ITU-T H.264, 7.4.1).
_HEAD, _IMPOSSIBLE = 48, b"\0\0\0"
# The bytes a picture starts with, and how far into a packet other headers may push them.
_PICTURE = {"mpeg1video": b"\0\0\1\0", "mpeg2video": b"\0\0\1\0", "mpeg4": b"\0\0\1\xb6"}
_HEADERS = 4096


class BitstreamCheck:
    """Classifies every packet as "plain", "refresh", "hidden", "second" or "damaged".

    refresh: a key picture that is not entirely intra-coded; hidden: never shown; second: the second field of a picture
    whose first field was in the packet before.
    """

    def __init__(self, context: Any) -> None:
        self._codec: str = context.codec.canonical_name
        extradata = context.extradata or b""
        self._prefix = prefix_size(self._codec, extradata)
        self._picture = _PICTURE.get(self._codec)
        self._frame_number_bits: int | None = None
        self._field: Field | None = None
        if self._codec == "h264":
            # In avcC the parameter sets come after six other bytes, each with a length of two bytes.
            sets = prefixed_units(extradata[6:], 2) if self._prefix else started_units(extradata)
            self._learn(extradata[6:] if self._prefix else extradata, sets)

    def __call__(self, packet: Any) -> str:
        if self._codec in _SHOWN:
            return "plain" if _SHOWN[self._codec](bytes(packet)) else "hidden"
        if self._prefix:
            prefix = self._prefix
            head = bytes(memoryview(packet)[: prefix + _HEAD])
            length = int.from_bytes(head[:prefix], "big")
            if not 0 < length <= packet.size - prefix or head.find(_IMPOSSIBLE, prefix, prefix + length) >= 0:
                return "damaged"
            # The first bit of a unit is never set, and type 0 doesn't exist in H.264.
            if head[prefix] > 127 or (self._codec == "h264" and not head[prefix] & 31):
                return "damaged"
        elif self._picture is not None and self._picture not in bytes(memoryview(packet)[:_HEADERS]):
            return "damaged"
        return self._h264_kind(packet) if self._codec == "h264" else "plain"

    @property
    def unpaired(self) -> bool:
        """Return whether the last packet is a first field without a second: decoders leave such a picture out."""
        return self._field is not None

    def _h264_kind(self, packet: Any) -> str:
        data = bytes(packet) if packet.is_keyframe or self._frame_number_bits is not None else b""
        units = list(prefixed_units(data, self._prefix) if self._prefix else started_units(data))
        if packet.is_keyframe:
            self._learn(data, units)
        if self._frame_number_bits is not None and self._is_second_field(data, units):
            return "second"
        return "refresh" if packet.is_keyframe and not _starts_intra(data, units) else "plain"

    def _learn(self, data: bytes, units: Iterable[int]) -> None:
        """Note whether pictures may be stored as fields, according to the last parameter set."""
        for start in units:
            if data[start] & 31 == 7:
                self._frame_number_bits = parse_sps(data[start + 1 : start + 257])

    def _is_second_field(self, data: bytes, units: list[int]) -> bool:
        slices = [start for start in units if data[start] & 31 in (1, 5)]
        assert self._frame_number_bits is not None
        fields = [parse_field(data[start + 1 : start + 33], self._frame_number_bits) for start in slices]
        first, last = self._field, fields[-1] if fields else None
        second = first is not None and last is not None and first.is_completed_by(last) and len(set(fields)) == 1
        # Two fields in one packet make a whole picture.
        self._field = None if second or len(set(fields)) != 1 else last
        return second


def _starts_intra(data: bytes, units: list[int]) -> bool:
    """Return whether the first slice is an I slice (or the picture an IDR, which has no others)."""
    for start in units:
        kind = data[start] & 31
        if kind == 5:
            return True
        if kind == 1:
            return slice_type(data[start + 1 : start + 17]) in (2, 4, 7, 9)
    return True


def prefix_size(codec: str, extradata: bytes) -> int:
    """Return how many bytes the length before each unit takes; 0 if units follow start codes."""
    # avcC and hvcC start with version 1; without them the stream has start codes.
    position = _LENGTH_SIZE_AT.get(codec, len(extradata))
    return (extradata[position] & 3) + 1 if position < len(extradata) and extradata[0] == 1 else 0


def prefixed_units(data: bytes | memoryview, prefix: int) -> Iterator[int]:
    """Yield the offset of each unit of a packet whose units are prefixed by their length."""
    position = 0
    while position + prefix < len(data):
        yield position + prefix
        position += prefix + int.from_bytes(data[position : position + prefix], "big")


def started_units(data: bytes) -> Iterator[int]:
    """Yield the offset of each unit of a packet whose units follow start codes."""
    position = data.find(b"\0\0\1")
    while 0 <= position < len(data) - 3:
        yield position + 3
        position = data.find(b"\0\0\1", position + 3)


def _shown_vp8(data: bytes) -> bool:
    return bool(data[0] >> 4 & 1)


def _shown_vp9(data: bytes) -> bool:
    """Return whether a packet shows a frame.

    A packet with several frames (a superframe) has an index at its end (VP9, annex B).
    """
    marker = data[-1]
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index = 2 + count * width
    if marker >> 5 != 0b110 or len(data) < index or data[-index] != marker:
        return _shown_vp9_frame(data[0])
    position = 0
    for number in range(count):
        at = len(data) - index + 1 + number * width
        if position < len(data) and _shown_vp9_frame(data[position]):
            return True
        position += int.from_bytes(data[at : at + width], "little")
    return False


def _shown_vp9_frame(first: int) -> bool:
    """Return whether a frame is shown, from the first byte of its header.

    The byte holds: marker (2 bits), profile (2 bits, one more if it is 3), show_existing_frame, frame_type, show_frame.
    """
    shift = 0 if first >> 4 & 3 == 3 else 1
    return bool(first >> (2 + shift) & 1 or first >> shift & 1)


def _shown_av1(data: bytes) -> bool:
    """Return whether a packet shows a frame, by the first bits of its frame headers (AV1, 5.9.2)."""
    position = 0
    while position < len(data):
        header = data[position]
        position += 2 if header & 4 else 1
        size, shift = (0, 0) if header & 2 else (len(data) - position, 0)
        while header & 2 and position < len(data):
            byte = data[position]
            size |= (byte & 127) << shift
            position, shift = position + 1, shift + 7
            if byte < 128:
                break
        if position >= len(data):
            break
        kind, first = header >> 3 & 15, data[position]
        # A sequence of one still picture has shorter headers; in all others the bits are show_existing_frame,
        # frame_type (two bits), show_frame.
        if (kind == 1 and first >> 3 & 1) or (kind in (3, 6) and first & 0b10010000):
            return True
        position += size
    return False


def _shown_theora(data: bytes) -> bool:
    """Return whether a packet is a picture, not a header: headers are repeated in recordings that were joined."""
    return data[0] < 128


_SHOWN = {"vp8": _shown_vp8, "vp9": _shown_vp9, "av1": _shown_av1, "theora": _shown_theora}

"""Tells from the coded bytes of a picture whether no other picture refers to it, so that leaving it out changes no other.

Many encoders refer to only about half of their pictures. Decoding one of the others is in vain if nobody wants to see it.
Only what the stream proves counts: anything unusual about a packet makes its picture one that others may need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from videomae_cli.video.bitstream import prefix_size, prefixed_units, started_units

# ITU-T H.264, table 7-1: a slice of a picture that is no key picture, and what may be left out with one: supplemental
# information, delimiters and filler. ITU-T H.265, table 7-1: likewise; kinds below 32 are pictures, and to these five
# no picture of their temporal layer refers.
_H264_SLICE, _H264_BESIDE = 1, frozenset({6, 9, 12})
_HEVC_PICTURES, _HEVC_UNREFERENCED = 32, frozenset({0, 2, 4, 6, 8})
_HEVC_PARAMETERS, _HEVC_BESIDE = 33, frozenset({35, 38, 39, 40})
# Where in hvcC the parameter sets begin.
_HEVC_ARRAYS = 22
_MPEG12_PICTURE, _MPEG4_PICTURE = b"\0\0\1\0", b"\0\0\1\xb6"


class ReferenceCheck:
    """Says of each packet of a stream, in the order of decoding, whether no other picture refers to its picture."""

    def __init__(self, context: Any) -> None:
        codec, extradata = context.codec.canonical_name, context.extradata or b""
        self._prefix = prefix_size(codec, extradata)
        self._check = {
            "h264": self._h264,
            "hevc": self._hevc,
            "mpeg1video": _mpeg12,
            "mpeg2video": _mpeg12,
            "mpeg4": _mpeg4,
        }.get(codec)
        # HEVC's highest temporal layer, to whose pictures no other layer refers either; None if no parameter set says.
        self._highest: int | None = None
        if codec == "hevc":
            self._learn(_hevc_sets(extradata) if self._prefix else _heads(extradata, started_units(extradata)))

    def __call__(self, packet: Any) -> bool:
        if self._check is None:
            return False
        return self._check(memoryview(packet) if self._prefix else bytes(packet))

    def _units(self, data: Any) -> list[int]:
        return list(prefixed_units(data, self._prefix) if self._prefix else started_units(data))

    def _h264(self, data: Any) -> bool:
        """H.264 says of every slice whether its picture is referred to (nal_ref_idc)."""
        units = self._units(data)
        heads = {data[start] & 127 for start in units if units[-1] + 1 < len(data)}
        slices = {head for head in heads if head & 31 == _H264_SLICE}
        return slices == {_H264_SLICE} and {head & 31 for head in heads - slices} <= _H264_BESIDE

    def _hevc(self, data: Any) -> bool:
        """HEVC says of a picture that none of its temporal layer refers to it; those of higher layers may."""
        heads = _heads(data, self._units(data))
        kinds = {head[0] >> 1 & 63 for head in heads}
        if _HEVC_PARAMETERS in kinds:
            self._learn(heads)
        pictures = {kind for kind in kinds if kind < _HEVC_PICTURES}
        if not pictures or not pictures <= _HEVC_UNREFERENCED or not kinds - pictures <= _HEVC_BESIDE:
            return False
        # Two bytes: a zero, the kind, nuh_layer_id (6 bits), nuh_temporal_id_plus1 (3 bits).
        layers = {(head[0] & 1, head[1:2]) for head in heads if head[0] >> 1 & 63 < _HEVC_PICTURES}
        return self._highest is not None and layers == {(0, bytes([self._highest + 1]))}

    def _learn(self, units: Iterable[bytes]) -> None:
        """Note the number of temporal layers that the last parameter set states (sps_max_sub_layers_minus1)."""
        for unit in units:
            if len(unit) > 2 and unit[0] >> 1 & 63 == _HEVC_PARAMETERS:
                self._highest = unit[2] >> 1 & 7


def _heads(data: Any, units: Iterable[int]) -> list[bytes]:
    return [bytes(data[start : start + 3]) for start in units]


def _hevc_sets(extradata: bytes) -> list[bytes]:
    """Return the parameter sets in hvcC: arrays of a kind, a count, and units with a length of two bytes each."""
    found, position = [], _HEVC_ARRAYS + 1
    for _ in range(extradata[_HEVC_ARRAYS] if len(extradata) > _HEVC_ARRAYS else 0):
        count = int.from_bytes(extradata[position + 1 : position + 3], "big")
        position += 3
        for _ in range(min(count, len(extradata))):
            size = int.from_bytes(extradata[position : position + 2], "big")
            found.append(extradata[position + 2 : position + 2 + size])
            position += 2 + size
    return found


def _mpeg12(data: bytes) -> bool:
    """MPEG-1 and MPEG-2: no picture refers to one of type 3, which stands after ten other bits (ISO/IEC 13818-2, 6.2.3)."""
    alone = data.startswith(_MPEG12_PICTURE) and data.find(_MPEG12_PICTURE, 4) < 0 and len(data) > 5
    return alone and data[5] >> 3 & 7 == 3


def _mpeg4(data: bytes) -> bool:
    """MPEG-4 part 2: no picture refers to one of type 2, which it says first (ISO/IEC 14496-2, 6.2.5)."""
    alone = data.startswith(_MPEG4_PICTURE) and data.find(_MPEG4_PICTURE, 4) < 0 and len(data) > 4
    return alone and data[4] >> 6 == 2

"""Parses the few numbers in H.264 headers that tell what a packet contains (ITU-T H.264, 7.3.2.1.1 and 7.3.3).

Each function takes the bytes after a unit's first one; missing or invalid data is read as zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

# Profiles whose parameter sets contain the chroma format and bit depths.
_WITH_CHROMA = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})


@dataclass(frozen=True)
class Field:
    """Identifies one field of a picture: the picture's number, and which of its two fields this is."""

    frame_number: int
    bottom: bool

    def is_completed_by(self, other: Field) -> bool:
        """Return whether the next field belongs to the same picture."""
        return self.frame_number == other.frame_number and self.bottom != other.bottom


class _Bits:
    """Reads numbers from the bits of a unit, without its emulation prevention bytes (0, 0, 3 stands for 0, 0)."""

    def __init__(self, data: bytes) -> None:
        plain = data.replace(b"\0\0\3", b"\0\0")
        self._bits = "".join(f"{byte:08b}" for byte in plain)
        self._position = 0

    def fixed(self, count: int) -> int:
        """Read an unsigned number of `count` bits."""
        part = self._bits[self._position : self._position + count]
        self._position += count
        return int(part or "0", 2)

    def golomb(self) -> int:
        """Read an unsigned Exp-Golomb number."""
        zeros = 0
        while self._bits[self._position : self._position + 1] == "0":
            self._position += 1
            zeros += 1
        return self.fixed(zeros + 1) - 1 if zeros < 32 else 0

    def signed(self) -> int:
        """Read a signed Exp-Golomb number."""
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def parse_sps(data: bytes) -> int | None:
    """Return how many bits a picture's number has if pictures may be stored as fields; None if they never are."""
    bits = _Bits(data)
    profile = bits.fixed(8)
    bits.fixed(16)
    bits.golomb()  # seq_parameter_set_id
    if profile in _WITH_CHROMA:
        if bits.golomb() == 3 and bits.fixed(1):
            return None  # separate colour planes, which no camcorder writes
        bits.golomb(), bits.golomb(), bits.fixed(1)  # depths, lossless
        if bits.fixed(1):
            _skip_scaling_lists(bits)
    frame_number_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.fixed(1), bits.signed(), bits.signed()
        for _ in range(min(bits.golomb(), 255)):
            bits.signed()
    bits.golomb(), bits.fixed(1), bits.golomb(), bits.golomb()  # references, gaps, width, height
    return None if bits.fixed(1) else frame_number_bits


def _skip_scaling_lists(bits: _Bits) -> None:
    for number in range(8):
        if not bits.fixed(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + bits.signed()) % 256
            last = following or last


def parse_field(data: bytes, frame_number_bits: int) -> Field | None:
    """Return which field a slice belongs to; None for a slice of a whole picture."""
    bits = _Bits(data)
    bits.golomb(), bits.golomb(), bits.golomb()  # first_mb_in_slice, slice_type, pic_parameter_set_id
    number = bits.fixed(frame_number_bits)
    return Field(number, bool(bits.fixed(1))) if bits.fixed(1) else None


def slice_type(data: bytes) -> int:
    """Return the type of a slice: 2, 4, 7 and 9 are coded without other pictures."""
    bits = _Bits(data)
    bits.golomb()
    return bits.golomb()

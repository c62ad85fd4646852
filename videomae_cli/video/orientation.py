"""Derives from the display matrix how pictures are rotated and mirrored for display: one of eight orientations.

Phones store pictures as the sensor saw them, together with the directions that its axes have on the screen. The matrix
is ITU-T H.264's and QuickTime's (`tkhd`), nine numbers in rows (a b u, c d v, x y w): one step to the right in the
stored picture goes (a, b) on the screen, one step down (c, d), with y downwards. Both decoders deliver pictures as
stored; only this module turns them upright.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_MATRIX = struct.Struct("=9i")


@dataclass(frozen=True)
class Orientation:
    """Whether rows become columns, and whether columns and rows are reversed after that."""

    transposed: bool = False
    reversed_x: bool = False
    reversed_y: bool = False

    @classmethod
    def from_matrix(cls, matrix: Sequence[int]) -> Orientation:
        """Read the orientation from a display matrix.

        Each stored axis is mapped to the nearest direction of the screen: a few degrees, some shear and any scale make
        no difference. If that is undecided, because an axis has no length or lies exactly between two directions, or
        both axes would lie on the same line, pictures are shown as stored. (Where the axes differ in scale, ffmpeg's
        demuxer makes an aspect ratio of that, which the reader applies like any other.)
        """
        (a, b), (c, d) = matrix[0:2], matrix[3:5]
        right_is_level, down_is_level = abs(a) - abs(b), abs(c) - abs(d)
        if right_is_level > 0 > down_is_level:
            return cls(False, a < 0, d < 0)
        if right_is_level < 0 < down_is_level:
            return cls(True, c < 0, b < 0)
        return cls()

    @classmethod
    def of_frame(cls, frame: Any) -> Orientation:
        """Read the orientation of a PyAV frame from the container or the stream; upright if neither states one."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        raw = bytes(matrix) if matrix is not None else b""
        return cls.from_matrix(_MATRIX.unpack(raw)) if len(raw) == _MATRIX.size else cls()

    @property
    def mirrored(self) -> bool:
        """Return whether left and right are exchanged, besides any rotation."""
        return self.transposed ^ self.reversed_x ^ self.reversed_y

    @property
    def rotation(self) -> int:
        """Return the degrees counter-clockwise to turn the picture, after any mirroring: 0, 90, 180 or 270."""
        if self.transposed:
            return 270 if self.reversed_x else 90
        return 180 if self.reversed_y else 0

    def apply(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn a picture (H, W, 3) upright: (W, H, 3) if rows become columns; contiguous."""
        shown = picture.swapaxes(0, 1) if self.transposed else picture
        return np.ascontiguousarray(shown[:: -1 if self.reversed_y else 1, :: -1 if self.reversed_x else 1])

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) on the screen of a picture that is stored with this orientation."""
        return (height, width) if self.transposed else (width, height)

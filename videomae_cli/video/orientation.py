"""Says how stored pictures are turned and mirrored before they are shown: the display matrix, as one of eight
orientations.

Phones store what the sensor saw and write beside it where its axes point on the screen. The matrix is ITU-T H.264's and
QuickTime's (`tkhd`), nine numbers in rows (a b u, c d v, x y w): one step to the right in the stored picture goes (a,
b) on the screen, one step down (c, d), with y downwards. Both decoders deliver pictures as stored, and this is the one
place where they are brought upright.
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
    """Says whether rows become columns, and whether columns and rows are reversed after that."""

    transposed: bool = False
    reversed_x: bool = False
    reversed_y: bool = False

    @classmethod
    def from_matrix(cls, matrix: Sequence[int]) -> Orientation:
        """Read the orientation from a display matrix.

        Each stored axis goes to the nearest direction of the screen, whatever its length: a few degrees, some shear and
        any scale change nothing. Where that decides nothing, because an axis has no length, lies just between two
        directions, or both would lie on the same line, pictures are shown as they are stored. (Where the axes differ in
        scale, ffmpeg's demuxer makes an aspect ratio of that, which the reader applies like any other.)
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
        """Read what the container or the stream says of a frame that PyAV decoded; upright where neither says anything."""
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
        """Bring a picture (H, W, 3) upright, (W, H, 3) where rows become columns; contiguous."""
        shown = picture.swapaxes(0, 1) if self.transposed else picture
        return np.ascontiguousarray(shown[:: -1 if self.reversed_y else 1, :: -1 if self.reversed_x else 1])

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) on the screen of a picture that is stored with this orientation."""
        return (height, width) if self.transposed else (width, height)

"""Resizes frames with antialiasing, bit for bit as PyTorch does, without its import of a second.

PyTorch's arithmetic on bytes is that of Pillow with 16-bit weights: they are rounded to whole multiples of a power of two,
rows are resized first, and every sum is rounded to a byte. The sums are whole numbers far below 2 ** 53, so matrix
products in float64 are exact, in whatever order they are taken.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
# How many results are computed by one matrix, most of which is zero, and how many bytes of float64 at once.
_TOGETHER = 32
_CHUNK_BYTES = 2**22


def resize_antialiased(frame: Frame, size: tuple[int, int], *, cubic: bool) -> Frame:
    """Resize a frame (H, W, 3) uint8 to (h, w, 3) uint8, as `interpolate(..., antialias=True)` of PyTorch does."""
    (old_height, old_width), (height, width) = frame.shape[:2], size
    if width != old_width:
        step = max(1, _CHUNK_BYTES // (old_width * 24))
        narrowed = np.empty((old_height, width, 3), dtype=np.uint8)
        for first in range(0, old_height, step):
            # (r, W, 3) -> (W, r * 3) -> (w, r * 3) -> (r, w, 3)
            rows = frame[first : first + step].transpose(1, 0, 2)
            made = _resized(rows.reshape(old_width, -1), width, cubic=cubic)
            narrowed[first : first + step] = made.reshape(width, -1, 3).transpose(1, 0, 2)
        frame = narrowed
    if height != old_height:
        frame = _resized(frame.reshape(old_height, -1), height, cubic=cubic).reshape(height, -1, 3)
    return np.ascontiguousarray(frame)


def _resized(lines: Frame, count: int, *, cubic: bool) -> Frame:
    """Resize (old, n) bytes along their first side to (count, n)."""
    bits, blocks = _weights(len(lines), count, cubic)
    made = np.empty((count, lines.shape[1]), dtype=np.uint8)
    step = max(1, _CHUNK_BYTES // (8 * len(lines)))
    for left in range(0, lines.shape[1], step):
        numbers = lines[:, left : left + step].astype(np.float64)
        for first, start, matrix in blocks:
            sums = matrix @ numbers[start : start + matrix.shape[1]]
            sums += 2.0 ** (bits - 1)
            sums *= 2.0**-bits
            np.floor(sums, out=sums)
            np.clip(sums, 0, 255, out=sums)
            made[first : first + len(matrix), left : left + step] = sums
    return made


@lru_cache(maxsize=8)
def _weights(old: int, new: int, cubic: bool) -> tuple[int, tuple[tuple[int, int, npt.NDArray[np.float64]], ...]]:
    """Return the fractional bits of the weights, and blocks of them: (first result, first source, whole numbers (r, s))."""
    scale = old / new
    support = (2.0 if cubic else 1.0) * max(scale, 1.0)
    inverse = 1 / scale if scale >= 1 else 1.0
    rows: list[tuple[int, npt.NDArray[np.float64]]] = []
    for place in range(new):
        centre = scale * (place + 0.5)
        start = max(int(centre - support + 0.5), 0)
        end = min(int(centre + support + 0.5), old)
        weights = _kernel((np.arange(start, end, dtype=np.float64) - centre + 0.5) * inverse, cubic=cubic)
        total = 0.0
        for weight in weights.tolist():  # one after the other: another order would round in another way
            total += weight
        rows.append((start, weights / total if total else weights))
    largest = max(float(weights.max()) for _, weights in rows)
    bits = 0
    while bits < 22 and int(0.5 + largest * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    return bits, tuple(_block(rows, first, bits) for first in range(0, new, _TOGETHER))


def _block(
    rows: list[tuple[int, npt.NDArray[np.float64]]], first: int, bits: int
) -> tuple[int, int, npt.NDArray[np.float64]]:
    part = rows[first : first + _TOGETHER]
    start = min(begin for begin, _ in part)
    matrix = np.zeros((len(part), max(begin + len(weights) for begin, weights in part) - start))
    for row, (begin, weights) in zip(matrix, part, strict=True):
        scaled = weights * (1 << bits)
        row[begin - start : begin - start + len(weights)] = np.trunc(scaled + np.copysign(0.5, scaled))
    return first, start, matrix


def _kernel(distance: npt.NDArray[np.float64], *, cubic: bool) -> npt.NDArray[np.float64]:
    """Return the triangle, or Keys' cubic with slope -0.5, at these distances."""
    x = np.abs(distance)
    if not cubic:
        return np.where(x < 1.0, 1.0 - x, 0.0)
    near = ((-0.5 + 2) * x - (-0.5 + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))

"""Resizes extremely long and narrow pictures by computing only the part that a crop shows.

A picture of 32000 x 1 pixels whose short side becomes 224 would take 5 GB, of which a crop shows 150 kB. The arithmetic
is that of the usual resize (`preprocess`), written as one matrix per side so that any part can be computed; results
agree within one level (bilinear) or two (bicubic).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.float32]


def resize_window(
    frame: Frame, size: tuple[int, int], window: tuple[slice, slice], *, antialias: bool, cubic: bool
) -> Frame:
    """Compute the part `window` (rows, columns) of a frame (H, W, 3) uint8 resized to `size` (h, w), without the rest."""
    rows, columns = (
        _matrix(frame.shape[axis], size[axis], window[axis], antialias=antialias, cubic=cubic) for axis in (0, 1)
    )
    part = frame[rows[0], columns[0]].astype(np.float32)
    # Columns first, because most pixels lie along them. (H', W', 3) -> (H', w', 3) -> (h', w', 3)
    narrowed = np.einsum("xw,hwc->hxc", columns[1], part, optimize=True)
    if antialias:
        narrowed = np.clip(np.rint(narrowed), 0, 255)  # round between the two passes, as PyTorch and PIL do
    resized = np.einsum("yh,hxc->yxc", rows[1], narrowed, optimize=True)
    return np.asarray(np.clip(np.rint(resized), 0, 255), dtype=np.uint8)


def _matrix(old: int, new: int, wanted: slice, *, antialias: bool, cubic: bool) -> tuple[slice, Weights]:
    """Return which of the `old` pixels contribute to the `wanted` ones of `new`, and their weights (wanted, used)."""
    scale = old / new
    # Without antialiasing the filter stays as narrow as for enlarging, and skips pixels.
    width = max(scale, 1.0) if antialias else 1.0
    reach = (2.0 if cubic else 1.0) * width if antialias else 2.0
    kernel = _cubic(-0.5 if antialias else -0.75) if cubic else _triangle
    centres = (np.arange(wanted.start, wanted.stop) + 0.5) * scale - 0.5
    first = max(0, int(np.floor(centres[0] - reach)))
    last = min(old, int(np.ceil(centres[-1] + reach)) + 1)
    if antialias:
        weights = kernel((np.arange(first, last)[None] - centres[:, None]) / width)
    else:
        # Beyond the border OpenCV repeats the last pixel.
        weights = np.zeros((len(centres), last - first))
        steps = np.floor(centres)[:, None] + np.arange(-1, 3)
        places = np.clip(steps, 0, old - 1).astype(int) - first
        np.add.at(weights, (np.arange(len(centres))[:, None], places), kernel(steps - centres[:, None]))
    weights /= weights.sum(axis=1, keepdims=True)
    return slice(first, last), weights.astype(np.float32)


def _triangle(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.maximum(0.0, 1.0 - np.abs(distance))


def _cubic(a: float) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """Return the kernel of cubic convolution (Keys 1981) with slope `a`."""

    def kernel(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x = np.abs(distance)
        near = ((a + 2) * x - (a + 3)) * x**2 + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return kernel

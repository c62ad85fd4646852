"""Reduces a film to the 256 colours of a GIF, with one palette for all frames and ordered dithering.

A single palette keeps colours from flickering. Ordered dithering, unlike error diffusion, gives a pixel the same
pattern in every frame, so still areas stay still and compress well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Film = npt.NDArray[np.uint8]

COLOURS = 256
_SAMPLED = 400_000  # pixels that the palette is chosen from
_SPREAD = 10.0  # amplitude of the dither, in levels from darkest to lightest
_FLAT_SHARE = 0.02  # a colour that covers more than this fraction of all pixels is a flat area and gets no dither


def in_palette(film: Film) -> list[Image.Image]:
    """Convert a film (T, H, W, 3) to palette images that share one palette."""
    pixels = film.reshape(-1, 3)
    sample = pixels[:: max(1, len(pixels) // _SAMPLED)]
    flat = _flat_colours(sample)
    found = _spread(sample).quantize(COLOURS - len(flat), method=Image.Quantize.MEDIANCUT, kmeans=2).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*found[: 3 * (COLOURS - len(flat))], *flat.ravel().tolist()])
    pattern = _pattern(*film.shape[1:3])
    return [_dithered(frame, pattern, flat).quantize(palette=palette, dither=Image.Dither.NONE) for frame in film]


def _spread(sample: npt.NDArray[np.uint8]) -> Image.Image:
    """Make the image from which the palette is chosen, with each colour repeated by the square root of its count.

    With the plain counts, shades of large areas would take all entries, and a small bright object or a legend would
    turn grey.
    """
    binned = sample.astype(np.int32) >> 3
    _, where, counts = np.unique(
        (binned[:, 0] << 10) | (binned[:, 1] << 5) | binned[:, 2], return_index=True, return_counts=True
    )
    line = np.repeat(sample[where], np.ceil(np.sqrt(counts)).astype(int), axis=0)
    return Image.fromarray(np.ascontiguousarray(line[None]))


def _flat_colours(sample: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Find exact colours (n, 3) that cover much of the sample (pixels, 3): paper, masked patches, black borders."""
    numbers, counts = np.unique(_numbers(sample), return_counts=True)
    flat = numbers[counts > _FLAT_SHARE * len(sample)]
    return np.stack([flat >> 16, (flat >> 8) & 255, flat & 255], axis=-1).astype(np.uint8)


def _numbers(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Pack the channels of pixels (..., 3) into one number each, which is much faster to sort and compare."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return np.asarray((red << 16) | (green << 8) | blue)


def _dithered(
    frame: npt.NDArray[np.uint8], pattern: npt.NDArray[np.float32], flat: npt.NDArray[np.uint8]
) -> Image.Image:
    shifted = np.clip(frame + pattern[..., None], 0, 255).astype(np.uint8)
    numbers = _numbers(frame)
    for colour, number in zip(flat, _numbers(flat), strict=True):
        # dithering would be visible on a flat area, and its colour is in the palette
        shifted[numbers == number] = colour
    return Image.fromarray(shifted)


def _pattern(height: int, width: int) -> npt.NDArray[np.float32]:
    """Tile Bayer's 4x4 dither matrix over the picture, in levels, with a mean of zero."""
    two = np.array([[0, 2], [3, 1]])
    four = np.block([[4 * two + shift for shift in row] for row in two])
    tile = (four + 0.5) / 16 - 0.5
    rows, columns = -(-height // 4), -(-width // 4)
    return np.asarray(np.tile(tile, (rows, columns))[:height, :width] * _SPREAD, np.float32)

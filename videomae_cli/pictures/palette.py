"""A film in the 256 colours of a GIF: one palette for the whole film, and a dither that stays where it is.

One palette, so that colours don't flicker from frame to frame. Ordered dither instead of error diffusion: the same pixel
gets the same pattern in every frame, so what stands still stays still, and compresses.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Film = npt.NDArray[np.uint8]

COLOURS = 256
_SAMPLED = 400_000  # pixels that the palette is chosen from
_SPREAD = 10.0  # levels between the lightest and the darkest shift of the dither
_FLAT_SHARE = 0.02  # of all pixels: a colour that covers more is an area, not a shade


def in_palette(film: Film) -> list[Image.Image]:
    """Film (T, H, W, 3) to images of one shared palette."""
    pixels = film.reshape(-1, 3)
    sample = pixels[:: max(1, len(pixels) // _SAMPLED)]
    flat = _flat_colours(sample)
    found = _spread(sample).quantize(COLOURS - len(flat), method=Image.Quantize.MEDIANCUT, kmeans=2).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*found[: 3 * (COLOURS - len(flat))], *flat.ravel().tolist()])
    pattern = _pattern(*film.shape[1:3])
    return [_dithered(frame, pattern, flat).quantize(palette=palette, dither=Image.Dither.NONE) for frame in film]


def _spread(sample: npt.NDArray[np.uint8]) -> Image.Image:
    """The sample's colours as an image to choose a palette from, each as often as the root of its count: else the shades of
    what is large take all places, and a small bright thing, or a legend, comes out grey."""
    binned = sample.astype(np.int32) >> 3
    _, where, counts = np.unique(
        (binned[:, 0] << 10) | (binned[:, 1] << 5) | binned[:, 2], return_index=True, return_counts=True
    )
    line = np.repeat(sample[where], np.ceil(np.sqrt(counts)).astype(int), axis=0)
    return Image.fromarray(np.ascontiguousarray(line[None]))


def _flat_colours(sample: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Colours (n, 3) that cover much of the sample (pixels, 3) exactly: paper, what is hidden, black borders."""
    colours, counts = np.unique(sample, axis=0, return_counts=True)
    return np.asarray(colours[counts > _FLAT_SHARE * len(sample)])


def _dithered(
    frame: npt.NDArray[np.uint8], pattern: npt.NDArray[np.float32], flat: npt.NDArray[np.uint8]
) -> Image.Image:
    shifted = np.clip(frame + pattern[..., None], 0, 255).astype(np.uint8)
    for colour in flat:  # a pattern on a plain area would be seen, and it needs none
        plain = (frame == colour).all(axis=-1)
        shifted[plain] = colour
    return Image.fromarray(shifted)


def _pattern(height: int, width: int) -> npt.NDArray[np.float32]:
    """Bayer's 4x4 matrix over the picture, in levels, with a mean of zero."""
    two = np.array([[0, 2], [3, 1]])
    four = np.block([[4 * two + shift for shift in row] for row in two])
    tile = (four + 0.5) / 16 - 0.5
    rows, columns = -(-height // 4), -(-width // 4)
    return np.asarray(np.tile(tile, (rows, columns))[:height, :width] * _SPREAD, np.float32)

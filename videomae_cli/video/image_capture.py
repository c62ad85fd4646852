"""Reads clips that are numbered pictures, with Pillow, behind the interface of the other decoders.

Each picture is turned upright by its own Exif orientation. Only the pictures that are wanted are opened, and the first
one, whose size the others must have.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import warnings
from array import array
from bisect import bisect_left
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DecodeError, OptionError, say
from videomae_cli.video.clip_names import valid_rate
from videomae_cli.video.image_sequences import DEFAULT_FPS, ImageSequence
from videomae_cli.video.orientation import Orientation
from videomae_cli.video.probe import PacketIndex, Probe

# More than any film has, 8K twice over; a decoded picture of this size takes 200 MB.
MOST_PIXELS = 1 << 26
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_ORIENTATION_TAG = 0x0112
# The eight values of the Exif orientation (CIPA DC-008, 4.6.4 A).
_ORIENTATIONS = {
    2: Orientation(reversed_x=True),
    3: Orientation(reversed_x=True, reversed_y=True),
    4: Orientation(reversed_y=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, reversed_x=True),
    7: Orientation(transposed=True, reversed_x=True, reversed_y=True),
    8: Orientation(transposed=True, reversed_y=True),
}


def probe_images(pictures: ImageSequence, fps: float | None) -> Probe:
    """Describe a sequence of pictures as `probe_video` does a file, by its first picture. Raises DecodeError.

    fps: pictures per second if the sequence doesn't say; None for 30, with a note.
    """
    rate = next(rate for rate in (pictures.fps, fps, DEFAULT_FPS) if rate is not None)
    if not valid_rate(rate):
        raise OptionError.about("fps", "{subject} must be more than 0 and at most 1000, not {rate:g}", rate=rate)
    notes = [pictures.missing] if pictures.missing else []
    if pictures.fps is None and fps is None:
        notes.append(say("{rate:g} frames per second assumed: {@fps} says how many the pictures have", rate=rate))
    image = _Picture(pictures, 0)
    width, height = image.shown_size
    image.close()
    times = pictures.times(rate)
    return Probe(
        path=pictures.path,
        codec=image.format,
        width=width,
        height=height,
        fps=rate,
        declared=len(pictures),
        duration=times[-1] + 1 / rate,
        ends_stated=True,
        index=PacketIndex(
            times=times,
            keys=array("q", range(len(pictures))),
            packets=len(pictures),
            decodable=len(pictures),
            reliable=all(a < b for a, b in itertools.pairwise(times)),
            whole=True,
            complete=True,
            seekable=True,
        ),
        notes=tuple(notes),
    )


class ImageCapture:
    """A `captures.Capture` of numbered pictures: going forward costs nothing, a picture is decoded when it is retrieved."""

    name = "pillow"
    can_seek = True

    def __init__(self, pictures: ImageSequence, probe: Probe) -> None:
        self._pictures, self._probe, self._times = pictures, probe, probe.index.times
        self._position = -1

    def restart(self, *, careful: bool = False) -> None:
        self._position = -1

    def grab(self) -> float | None:
        if self._position + 1 >= len(self._times):
            return None
        self._position += 1
        return self._times[self._position]

    def retrieve(self) -> npt.NDArray[np.uint8]:
        """Decode the picture. Raises DecodeError, with the picture's name, if it is damaged or of another size."""
        picture = _Picture(self._pictures, self._position)
        try:
            size, probe = picture.shown_size, self._probe
            if size != (probe.width, probe.height):
                picture.fail(
                    f"is {size[0]}x{size[1]} pixels, and the first one, {self._pictures.names[0]!r}, "
                    f"{probe.width}x{probe.height}: the pictures of a clip have one size"
                )
            return picture.pixels()
        finally:
            picture.close()

    def seek(self, seconds: float) -> float | None:
        self._position = bisect_left(self._times, seconds) - 1
        return self._times[self._position] if self._position >= 0 else None

    def close(self) -> None:
        pass


class _Picture:
    """An open picture of a sequence, whose header has been read and found harmless. Raises DecodeError."""

    def __init__(self, pictures: ImageSequence, place: int) -> None:
        from PIL import Image, UnidentifiedImageError

        self._pictures, self._place = pictures, place
        # What Pillow raises on damaged files. It also warns of large pictures, which are refused here.
        self._errors: tuple[type[Exception], ...] = (
            *(OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, struct.error),
            Image.DecompressionBombError,
        )
        self._stack = contextlib.ExitStack()
        try:
            file = self._stack.enter_context(pictures.opened(place))
            if not file.read(1):
                self.fail("is empty")
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                self._image: Any = self._stack.enter_context(Image.open(file, formats=_FORMATS))
        except UnidentifiedImageError:
            self.fail("is no picture, or its beginning is damaged")
        except Image.DecompressionBombError:
            self._refuse_size()
        except self._errors as error:
            self.fail(f"can't be read ({_words(error)})")
        self.format = str(self._image.format or "").lower()
        if self._image.width * self._image.height > MOST_PIXELS:
            self._refuse_size(f"{self._image.width}x{self._image.height} pixels")
        value = 1
        with contextlib.suppress(*self._errors):  # without Exif data that can be read it is shown as stored
            # A PNG's own method decodes the picture, and would make damage found here pass later.
            value = Image.Image.getexif(self._image).get(_ORIENTATION_TAG, 1)
        self._orientation = _ORIENTATIONS.get(value if isinstance(value, int) else 1, Orientation())

    @property
    def shown_size(self) -> tuple[int, int]:
        """Return (width, height) of the upright picture."""
        return self._orientation.shown_size(self._image.width, self._image.height)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Decode the picture, upright: (H, W, 3) uint8 RGB."""
        try:
            self._image.load()
            if self._image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
                grey = (np.asarray(self._image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
                rgb = np.repeat(grey[:, :, None], 3, axis=2)
            else:
                rgb = np.asarray(self._image.convert("RGB"), np.uint8)
        except self._errors as error:
            self.fail(f"is damaged ({_words(error)})")
        return self._orientation.apply(rgb)

    def close(self) -> None:
        """Close the file of the picture."""
        self._stack.close()

    def fail(self, why: str) -> NoReturn:
        """Raise the error of this picture."""
        self._stack.close()
        path, name = self._pictures.path, self._pictures.names[self._place]
        raise DecodeError.about(path, "picture {name!r} of {subject!q} {why}", name=name, why=why) from None

    def _refuse_size(self, size: str = "larger") -> NoReturn:
        self.fail(f"is {size}, and only pictures of at most {MOST_PIXELS / 1e6:.0f} million pixels are read")


def _words(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__

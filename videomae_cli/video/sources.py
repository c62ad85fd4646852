"""Recognises what is read without ffmpeg, and describes it to the reader as if it were a video file.

To add a kind of source, return its probe and what opens its decoder (`captures.Capture`); the reader does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from videomae_cli.content import is_animated_head
from videomae_cli.errors import DecodeError
from videomae_cli.video.captures import Capture
from videomae_cli.video.image_capture import ImageCapture, probe_images
from videomae_cli.video.image_sequences import find_sequence
from videomae_cli.video.probe import Probe
from videomae_cli.video.tar_members import opened
from videomae_cli.video.webp import WebPCapture, probe_webp

OpenCapture = Callable[[Probe], Capture]


def special_source(path: str, *, decoder: str | None, fps: float | None) -> tuple[Probe, OpenCapture] | None:
    """Return the probe and the decoder of numbered pictures or an animated WebP; None for any other path.

    decoder: what the caller insists on; fps: pictures per second, for pictures whose name doesn't say. Raises a
    VideoError.
    """
    pictures = find_sequence(path)
    if pictures is None and not _is_animation(path):
        return None
    if decoder is not None:
        what = "animated WebP" if pictures is None else "numbered pictures"
        name = {"pyav": "PyAV", "opencv": "OpenCV"}.get(decoder, decoder)
        raise DecodeError.about(path, "{subject!r}: {name} does not decode {what}", name=name, what=what)
    if pictures is None:
        return probe_webp(path), WebPCapture
    return probe_images(pictures, fps), partial(ImageCapture, pictures)


def _is_animation(path: str) -> bool:
    try:
        with opened(path) as file:
            return is_animated_head(file.read(21))
    except (OSError, ValueError):
        return False

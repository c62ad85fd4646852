"""Lists the suffixes of pictures that may be the frames of a clip (those of videos: `content`)."""

from __future__ import annotations

import os

IMAGE_SUFFIXES = frozenset({".bmp", ".jpe", ".jpeg", ".jpg", ".png", ".webp"})


def suffix_of(path: str) -> str:
    """Return what follows the last dot of a file's name, with the dot, in small letters; empty without one."""
    stem, dot, suffix = path[max(path.rfind("/"), path.rfind(os.sep)) + 1 :].rpartition(".")
    return (dot + suffix).lower() if stem and suffix else ""

"""Lists the suffixes of pictures that may be the frames of a clip (those of videos: `content`)."""

from __future__ import annotations

IMAGE_SUFFIXES = frozenset({".bmp", ".jpe", ".jpeg", ".jpg", ".png", ".webp"})


def suffix_of(name: str) -> str:
    """Return what follows the last dot of a file's name, with the dot, in small letters; empty without one."""
    stem, dot, suffix = name.rpartition(".")
    return (dot + suffix).lower() if stem else ""

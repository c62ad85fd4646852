"""Loads OpenCV and PyAV silently, with errors that say what to install, and hides differences between releases."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from videomae_cli import files, filesystem
from videomae_cli.errors import DependencyError
from videomae_cli.video.tar_members import find_video

_state = {"debug": False}


def set_debug(debug: bool) -> None:
    """Let ffmpeg and OpenCV write to stderr. Must be called before the first file is opened."""
    _state["debug"] = debug


def load_cv2() -> ModuleType:
    """Load OpenCV, with its log and ffmpeg's switched off unless debugging. Raises DependencyError."""
    if not _state["debug"]:
        # OpenCV reads these when the first capture is made; later changes have no effect.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    # A slide show has thousands of audio packets between two pictures; the default gives up after 4096.
    os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", "1000000")
    try:
        import cv2
    except Exception as error:  # a build that doesn't fit this numpy, or this system, may raise nearly anything
        raise DependencyError(_explain_opencv(error), subject="opencv-python-headless") from None
    if not _state["debug"]:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def load_av() -> ModuleType:
    """Load PyAV, with its ffmpeg's log switched off unless debugging. Raises DependencyError."""
    try:
        import av
    except Exception as error:  # as for OpenCV: a build that doesn't fit may raise nearly anything
        raise DependencyError.about(
            "av", "PyAV can't be loaded ({one_line}): pip install --force-reinstall av", one_line=_one_line(error)
        ) from None
    if _state["debug"]:
        # ffmpeg's own words, not PyAV's: those need Python's lock, and a decoder that is freed holds it while it waits for the
        # thread that wants to say something.
        av.logging.restore_default_callback()
        av.logging.set_libav_level(av.logging.WARNING)
    else:
        av.logging.set_level(None)
    return av


def open_media(source: str | IO[bytes], *, options: dict[str, str], timeout: tuple[float, float] | None = None) -> Any:
    """Open a file, by name or as an open stream, or an address for reading with PyAV.

    Metadata in another encoding than UTF-8 is no error. timeout: seconds for opening and for each read. Raises
    av.FFmpegError, ValueError or UnicodeError.
    """
    av = load_av()
    # PyAV 18 needs this argument; 19 replaces such bytes by itself and doesn't know it.
    lenient = {"metadata_errors": "replace"} if hasattr(av.container.InputContainer, "metadata_errors") else {}
    return av.open(source, options=options, timeout=timeout, **lenient)


def native_path(path: str) -> str:
    """Return an absolute path for OpenCV and PyAV, so that no name looks like an address or an option.

    A video in an archive becomes a part of that file.
    """
    member = None if filesystem.is_file(path) else find_video(path)
    if member is not None:
        # ffmpeg's protocol for a part of a file, which OpenCV and PyAV share
        return f"subfile,,start,{member.offset},end,{member.offset + member.size},,:{native_path(member.archive)}"
    absolute = Path(path).absolute()
    try:
        str(absolute).encode("utf-8")
    except UnicodeEncodeError:
        # Names that are not UTF-8 crash PyAV and mean nothing to OpenCV: such a file gets a link with a plain name.
        link = Path(_link_folder().name) / (hashlib.sha256(os.fsencode(absolute)).hexdigest() + ".video")
        files.stand_in(absolute, link)
        return str(link)
    return str(absolute)


@lru_cache(maxsize=1)
def _link_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="videomae-")


def _explain_opencv(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "OpenCV is not installed: pip install --force-reinstall --no-deps opencv-python-headless"
    return (
        f"OpenCV can't be loaded ({_one_line(error)}); the variant without windows needs no system libraries: "
        "pip uninstall -y opencv-python && pip install --force-reinstall --no-deps opencv-python-headless"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

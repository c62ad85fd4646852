"""Turns what a user types for videos into paths: names, patterns, `@LIST`, and `-` for standard input, which holds
names or one video.

A list is a text that `lists` reads, or a Parquet table with a column of names (`storage.manifest_names`), told apart by
its first bytes. A name inside a list is always taken literally: it is never a pattern, an option or another list.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem
from videomae_cli.content import HEAD_BYTES, content_of
from videomae_cli.errors import OptionError, StorageError, VideoNotFoundError, say
from videomae_cli.storage import PARQUET_MAGIC, is_address, local_copy, manifest_names
from videomae_cli.video import standard_input
from videomae_cli.video.discovery import Filter, FoundVideo, each_video
from videomae_cli.video.lists import each_name
from videomae_cli.video.seen_names import SeenNames


def find_videos(
    arguments: Iterable[str], *, recursive: bool = True, only: Filter | None = None, addresses: bool = False
) -> list[FoundVideo]:
    """Return what `named_videos` yields as a list."""
    return list(named_videos(arguments, recursive=recursive, only=only, addresses=addresses))


def named_videos(
    arguments: Iterable[str], *, recursive: bool = True, only: Filter | None = None, addresses: bool = False
) -> Iterator[FoundVideo]:
    """Yield all files behind the arguments of a command, each once, in a stable order (`discovery.each_video`).

    addresses: also accept objects and lists in object storage. Raises OptionError if a list can't be read.
    """
    seen = SeenNames()
    for names, typed in _groups(arguments, addresses):
        if isinstance(names, FoundVideo):
            yield names
            continue
        for video in each_video(names, recursive=recursive, only=only, globs=typed, seen=seen, addresses=addresses):
            yield _with_hint(video, typed=typed)


def _groups(arguments: Iterable[str], addresses: bool) -> Iterator[tuple[Iterable[str] | FoundVideo, bool]]:
    """Yield runs of names, each with whether the user typed them.

    Names typed in a row stay one group, so that `each_video` sees their order and their duplicates in one call.
    """
    typed: list[str] = []
    for argument in arguments:
        listed = _listed(argument, addresses)
        if listed is None:
            typed.append(argument)
            continue
        if typed:
            yield typed, True
            typed = []
        yield listed, False
    if typed:
        yield typed, True


def _listed(argument: str, addresses: bool) -> Iterator[str] | FoundVideo | None:
    """Return the names, or the one video, that an argument stands for; None if the argument is a name itself."""
    if argument == "-":
        return _from_standard_input()
    if argument == "@-" and not filesystem.is_named(argument):
        return _read("on standard input", _standard_input())
    if not argument.startswith("@") or filesystem.is_named(argument):
        return None
    if argument == "@":
        raise OptionError.about("@", "@ stands before the name of a list: @names.txt")
    return _in_list(argument[1:], addresses)


def _in_list(name: str, addresses: bool) -> Iterator[str]:
    """Yield the names in the list that is called so. Raises OptionError if it can't be read."""
    try:
        if not (addresses and is_address(name)):
            with (
                filesystem.opened(name) if filesystem.is_file(name) else io.BytesIO(filesystem.contents(name)) as stream
            ):
                yield from _read(repr(name), stream)
            return
        with local_copy(name) as copy, copy.open("rb") as stream:
            yield from _read(repr(name), stream)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OptionError.about(name, "can't read the list {subject!r}: {reason}", reason=reason) from None
    except StorageError as error:
        raise OptionError.about(name, "can't read the list: {error}", error=error) from None


def _from_standard_input() -> Iterator[str] | FoundVideo:
    """Return the names on standard input, or the one video that comes in their place."""
    stream = _standard_input()
    head = stream.read(HEAD_BYTES)
    content = content_of(head)
    if content is not None and content.family in ("video", "sound", "picture"):
        # Whether it really holds a video is the reader's decision, reported in the record of this one file.
        return standard_input.keep(head, stream, content)
    return _read("on standard input", stream, head)


def _standard_input() -> BinaryIO:
    if sys.stdin is None or sys.stdin.closed:
        raise OptionError.about("-", "standard input is closed: there are no names to read for -")
    return sys.stdin.buffer


def _read(name: str, stream: BinaryIO, head: bytes = b"") -> Iterator[str]:
    """Yield the names in an open list, be it text or a Parquet table.

    name: the list's name in messages; head: its first bytes, which have been read already.
    """
    try:
        head = head or stream.read(HEAD_BYTES)
        table = head.startswith(PARQUET_MAGIC)
        if not stream.seekable():
            stream = io.BytesIO(head if content_of(head) is not None and not table else head + stream.read())
        stream.seek(0)
        yield from manifest_names(stream) if table else each_name(stream)
    except OptionError as error:
        raise OptionError.about(name, "can't read the list {subject}: {error}", error=error) from None
    except (OSError, MemoryError) as error:
        reason = (getattr(error, "strerror", None) or str(error)) or "it is too large for the memory of this machine"
        raise OptionError.about(name, "can't read the list {subject}: {reason}", reason=reason) from None


# --- names that look like something else ------------------------------------------------------

_WATCH_PAGES = (
    r"(?:https?://)?(?:[\w-]+\.)*(?:youtube\.com|youtu\.be|vimeo\.com|dailymotion\.com|tiktok\.com|twitch\.tv|bilibili\.com"
    r"|facebook\.com|instagram\.com|x\.com|twitter\.com|reddit\.com)/\S+"
)
_HUB_PAGES = r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/\S+|hf://\S+"


def hint_for(name: str, *, typed: bool = True) -> str | None:
    """Guess what was meant by a name that is not a file, and say what to do; None if there is no guess.

    typed: the name was given on the command line, so it may be a mistyped option.
    """
    if re.fullmatch(_HUB_PAGES, name, re.IGNORECASE):
        return say(
            "it is an address of the hub: a model goes {@model_place}, as OWNER/NAME; a video is downloaded first"
        )
    if re.fullmatch(_WATCH_PAGES, name, re.IGNORECASE):
        return "it is the page of a video, not a file: download it first, with yt-dlp for example"
    if typed and name.startswith("-"):
        return f"options stand before or after names; of a file that is called so write ./{name}"
    if re.fullmatch(r"models--[\w.-]+--[\w.-]+", Path(name).name):
        return say("it is a model's folder of the hub's cache: give OWNER/NAME {@model_place}, and a video here")
    if filesystem.is_file(Path(name) / "config.json"):
        return say("it holds a model: give it {@model_place}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+@[\w./-]+", name):
        return say("if it is a model: {@model:OWNER/NAME} {@revision:REV}")
    return None


def _with_hint(video: FoundVideo, *, typed: bool) -> FoundVideo:
    """Return the video, adding a hint to its error if its name looks like something else (see `hint_for`)."""
    if not isinstance(video.error, VideoNotFoundError) or filesystem.is_file(video.path):
        return video
    hint = hint_for(video.path, typed=typed)
    if hint is None or video.error.remedy == hint:
        return video
    error = VideoNotFoundError(*video.error.args, subject=video.error.subject, remedy=hint, joined="; ")
    return replace(video, error=error)

"""Videos as arguments (names, folders, patterns, arrays, tensors), and the options that choose their frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from videomae_cli.arguments import checked
from videomae_cli.errors import ModelInputError, OptionError, VideoMAEError
from videomae_cli.video import (
    ClipRequest,
    DecodedVideo,
    Decoder,
    Filter,
    FoundVideo,
    Length,
    SamplingSpec,
    named_videos,
    one_clip,
    parse_time,
    parse_window,
)
from videomae_cli.video.discovery import each_video as each_found
from videomae_cli.video.seen_names import SeenNames
from videomae_cli.visible import visible

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

# One video: a path, an address in object storage, or decoded frames.
Video: TypeAlias = "str | os.PathLike[str] | npt.NDArray[np.uint8] | torch.Tensor"
FRAMES = "<frames>"
FRAME_RATE = 25.0
# Assumed number of files if it isn't known: larger than any number of cores, so that all cores are used.
MANY = 1 << 20
_FRAMES_WANTED = "a video is a path or RGB frames, (T, H, W, 3) or (T, 3, H, W) of type uint8"


def demo_clip() -> Path:
    """Return the 12 s film that ships with the package: the camera pans right, zooms in and tilts down, 4 s each."""
    return Path(__file__).parent.parent / "footage" / "tour.mp4"


class SamplingOptions(TypedDict, total=False):
    """Which frames of a video the model sees. All are optional, with the meaning of the commands' options.

    clips: number of clips per video, whose scores are averaged; crops: 1 or 3 per clip; sampling: "auto" (as the model
    was trained), "dense", "segments" or "uniform"; stride: step between frames of a dense clip; protocol: "auto" or
    "paper" (the published test); fps: resample to this frame rate before sampling; start, end: the part of the video,
    in seconds or as "1:30"; pixels: "display" (square) or "stored"; frame_rate: frames per second of videos given as
    arrays (25).
    """

    clips: int | None
    crops: int | None
    sampling: str
    stride: int | None
    protocol: str
    fps: float | None
    start: float | str | None
    end: float | str | None
    pixels: str | None
    frame_rate: float


def sampling_spec(**options: Unpack[SamplingOptions]) -> SamplingSpec:
    """Check sampling options and make the specification for any model. Raises OptionError."""
    given: dict[str, Any] = {**options}
    frame_rate = given.pop("frame_rate", FRAME_RATE)
    if not 0 < frame_rate < float("inf"):
        raise OptionError.about(
            "frame_rate", "frame_rate must be a positive number, not {frame_rate}", frame_rate=frame_rate
        )
    start, end = (seconds(given.pop(name, None), name) for name in ("start", "end"))
    return SamplingSpec(family=given.pop("sampling", "auto"), start=start, end=end, **given)


def window_length(given: float | str | None, name: str) -> Length | None:
    """Parse the length of a window or hop, given in seconds or as text, such as "500ms" or "16f". Raises OptionError."""
    return parse_window(given, name) if isinstance(given, str) else given


def seconds(time: float | str | None, setting: str = "") -> float | None:
    """Parse a time given in seconds or as text, such as "1:30". Raises OptionError, which names the setting if it is given."""
    return parse_time(time, setting) if isinstance(time, str) else time


@checked
def find_videos(
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
    *,
    recursive: bool = True,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    frame_folders: str = "auto",
) -> list[FoundVideo]:
    """List the video files that names refer to, each once: `path`, and `error` if it can't be used.

    A string is interpreted as on the command line: a file, a folder, a pattern, an address such as s3://bucket/clips/,
    or @LIST for the names in a file. A `pathlib.Path` is a file or a folder literally, even with special characters.
    include, exclude: shell patterns; frame_folders: whether a folder of numbered pictures is a clip: "auto" if it looks
    like one, "never" or "always". Raises OptionError if a list can't be read.
    """
    return list(each_video(videos, recursive=recursive, include=include, exclude=exclude, frame_folders=frame_folders))


def each_video(
    videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
    *,
    recursive: bool = True,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    frame_folders: str = "auto",
) -> Iterator[FoundVideo]:
    """Yield the video files that names refer to, each once, as `find_videos` returns them."""
    only = Filter(tuple(include), tuple(exclude), frame_folders)
    seen = SeenNames()
    items = [videos] if isinstance(videos, str | os.PathLike) else videos
    for kind, group in groupby(
        map(_name, items), key=lambda item: (isinstance(item, FoundVideo), isinstance(item, str))
    ):
        row: list[Any] = list(group)
        run: Iterable[FoundVideo] = row
        if kind[1]:
            run = named_videos(row, recursive=recursive, only=only, addresses=True)
        elif not kind[0]:
            run = each_found(row, recursive=recursive, only=only)
        yield from (video for video in run if seen.add(video.path))


def _name(item: Any) -> Any:
    """Return an item of a list of videos if it is a name. Raises OptionError."""
    if is_named(item) and isinstance(os.fspath(item), str):
        return item
    raise OptionError.about(
        "videos", "{subject} must be names or paths, and one of them is {kind}", kind=type(item).__name__
    )


def one_video(path: str | os.PathLike[str]) -> str:
    """Check that a name refers to a single file or object in storage, and return it. Raises VideoError."""
    if isinstance(path, FoundVideo):
        if path.error is not None:
            raise path.error
        path = path.path
    video = one_clip(os.fspath(path), addresses=isinstance(path, str))
    if video.error is not None:
        raise video.error
    return video.path


def many_videos(videos: Any) -> tuple[Iterable[Any], int]:
    """Return the videos to read, and their number (`MANY` if unknown), which decides how many are decoded at once.

    A name or a list of names is looked up by `find_videos`, frames become a list of one; any other iterable is returned
    unchanged. Raises OptionError.
    """
    if is_named(videos):
        videos = [videos]
    elif getattr(videos, "ndim", 5) == 0 or _holds_numbers(videos):
        return [videos], 1
    if isinstance(videos, bytes | bytearray) or not isinstance(videos, Iterable):
        reason = "{subject} must be a name, a path, frames or a list of these, not {kind}"
        raise OptionError.about("videos", reason, kind="None" if videos is None else type(videos).__name__)
    if isinstance(videos, list | tuple) and all(map(is_named, videos)):
        found = find_videos(videos)
        return found, len(found)
    return videos, MANY


def _holds_numbers(videos: Any) -> bool:
    """Return whether `videos` is an array or tensor of one video's frames, rather than of names or several videos."""
    return getattr(videos, "ndim", 5) <= 4 and getattr(videos.dtype, "kind", "u") not in "OUT"


def is_named(video: object) -> bool:
    """Return whether a video is given by name, rather than as decoded frames."""
    return isinstance(video, str | os.PathLike | FoundVideo)


def as_frames(video: Any) -> npt.NDArray[np.uint8]:
    """Convert an array or tensor of RGB frames, (T, H, W, 3) or (T, 3, H, W) uint8, to (T, H, W, 3). Raises ModelInputError."""
    import numpy as np

    try:
        frames = np.asarray(video.detach().cpu() if hasattr(video, "detach") else video)
    except (TypeError, ValueError, RuntimeError) as error:  # for a tensor without data, or frames of several sizes
        raise ModelInputError.about(
            "video",
            "{frames_wanted}, not {type} ({error})",
            frames_wanted=_FRAMES_WANTED,
            type=type(video).__name__,
            error=visible(str(error).splitlines()[0]),
        ) from None
    if frames.ndim == 4 and frames.shape[-1] != 3 and frames.shape[1] == 3:
        frames = frames.transpose(0, 2, 3, 1)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise ModelInputError.about(
            "video",
            "{frames_wanted}, not {type} of shape {shape} and type {dtype}",
            frames_wanted=_FRAMES_WANTED,
            type=type(video).__name__,
            shape=frames.shape,
            dtype=frames.dtype,
        )
    return frames


def decode_frames(video: Any, request: ClipRequest, *, name: str, frame_rate: float) -> DecodedVideo:
    """Sample clips from an array or a tensor as `request` specifies. Raises ModelInputError or VideoError."""
    from videomae_cli.video.clips import clips_of_frames

    return clips_of_frames(as_frames(video), replace(request, path=name), frame_rate=frame_rate)


def decode_each(
    videos: Iterable[Any], request: ClipRequest, decoder: Decoder, *, ahead: int, frame_rate: float
) -> Iterator[tuple[str, DecodedVideo | VideoMAEError] | None]:
    """Decode videos of all kinds in order; yields each with its clips or its error, as `pipeline.batches.Outcomes`.

    Consecutive names are decoded ahead in parallel, each listed (`find_videos`) when its turn comes, so that `videos` may be
    endless; arrays are sampled directly.
    """
    from videomae_cli.pipeline.batches import decode_found

    numbered = enumerate(videos)
    for named, group in groupby(numbered, key=lambda item: is_named(item[1])):
        if named:
            found = (file for _, video in group for file in find_videos(video))
            yield from decode_found(found, request, decoder, ahead=ahead)
            continue
        for number, video in group:
            name = f"{FRAMES[:-1]} {number}>"
            try:
                yield name, decode_frames(video, request, name=name, frame_rate=frame_rate)
            except VideoMAEError as error:
                yield name, error

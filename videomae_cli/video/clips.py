"""Decodes the clips of one file in this process: opens it, plans which frames to read, and reads them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from videomae_cli import filesystem
from videomae_cli.errors import DecodeError, FileChangedError, VideoError
from videomae_cli.video.clip_names import ClipName
from videomae_cli.video.image_sequences import find_sequence, is_place
from videomae_cli.video.reader import VideoInfo, VideoReader, open_video
from videomae_cli.video.sampling import SamplingPlan, SamplingSpec, plan_clips
from videomae_cli.video.tar_members import split_path

Frame = npt.NDArray[np.uint8]
# A transform takes one decoded frame (H, W, 3) to its crops (K, h, w, 3): `FrameTransform` or `AugmentTransform`.
Transform = Callable[[Frame], Frame]


@dataclass(frozen=True)
class ClipRequest:
    """Requests clips of one file. Without `transform`, frames come as decoded: (1, H, W, 3)."""

    path: str | os.PathLike[str]
    sampling: SamplingSpec = field(default_factory=SamplingSpec)
    transform: Transform | None = None


@dataclass(frozen=True)
class DecodedVideo:
    """The decoded clips of one file, each frame stored once.

    frames: (U, K, h, w, 3) uint8, the U distinct frames in K crops; rows[c][t]: the index into `frames` of frame t of
    clip c; timestamps[c][t]: its time in seconds after the first frame of the file; seconds: how long decoding took.
    """

    info: VideoInfo
    plan: SamplingPlan
    frames: Frame
    rows: tuple[tuple[int, ...], ...]
    timestamps: tuple[tuple[float, ...], ...]
    warnings: tuple[str, ...]
    seconds: float

    def views(self) -> Frame:
        """Return (V, T, h, w, 3) uint8 with V = clips * crops; view number clip * crops + crop."""
        # (C, T, K, h, w, 3) -> (C, K, T, h, w, 3) -> (V, T, h, w, 3)
        clips = self.frames[np.asarray(self.rows)].transpose(0, 2, 1, 3, 4, 5)
        return np.ascontiguousarray(clips.reshape(-1, *clips.shape[2:]))

    def without_frames(self) -> DecodedVideo:
        """Return everything but the pixels."""
        return replace(self, frames=self.frames[:0])


def decode_clips(request: ClipRequest) -> DecodedVideo:
    """Decode the clips of one file in this process. Raises a VideoError or DependencyError."""
    started = time.monotonic()
    before = file_stamp(request.path)
    spec = request.sampling
    with open_video(request.path, pixels=spec.resolved_pixels, fps=spec.fps) as reader:
        try:
            result = _decode(reader, request)
            counted_again = reader.num_frames != result.plan.num_frames
        except DecodeError:
            counted_again = True
        if counted_again:
            # Reading has shown that fewer frames decode than the file has packets: plan again with the true count.
            result = _decode(reader, request)
    if file_stamp(request.path) != before:
        raise FileChangedError.about(
            os.fspath(request.path), "{subject!r} changed while it was read: try again when it is whole"
        )
    return replace(result, seconds=time.monotonic() - started)


def clips_of_frames(frames: Frame, request: ClipRequest, *, frame_rate: float) -> DecodedVideo:
    """Sample clips from decoded frames (T, H, W, 3) uint8, as if they came from a file.

    frame_rate: frames per second. Raises a VideoError if there is no frame between the requested start and end.
    """
    started = time.monotonic()
    count, height, width = frames.shape[:3]
    plan = plan_clips(request.sampling, num_frames=count, fps=frame_rate)
    transform = request.transform or _as_one_crop
    row = {index: position for position, index in enumerate(plan.indices)}
    info = VideoInfo(
        path=os.fspath(request.path),
        decoder="frames",
        num_frames=count,
        declared_frames=count,
        fps=frame_rate,
        duration=count / frame_rate,
        width=width,
        height=height,
        codec="rawvideo",
        rotation=0,
        start_time=0.0,
        pixels=request.sampling.resolved_pixels,
    )
    return DecodedVideo(
        info=info,
        plan=plan,
        frames=np.stack([transform(np.require(frames[index], requirements=["C", "W"])) for index in plan.indices]),
        rows=tuple(tuple(row[index] for index in clip) for clip in plan.clips),
        timestamps=tuple(tuple(index / frame_rate for index in clip) for clip in plan.clips),
        warnings=plan.warnings,
        seconds=time.monotonic() - started,
    )


def file_stamp(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """Return numbers that change when a file is written to, its size and time; None if it is gone.

    Of pictures they are those of the folder and of some pictures in it, of something in an archive those of the archive.
    """
    path = os.fspath(path)
    inside = None if filesystem.is_there(path) else split_path(path)
    try:
        pictures = find_sequence(path) if inside is None and is_place(ClipName.parse(path).place) else None
        files = [path] if inside is None else [inside[0]]
        if pictures is not None:
            some = (0, len(pictures) // 2, len(pictures) - 1)
            files = [pictures.folder.path, *(os.path.join(pictures.folder.path, pictures.names[at]) for at in some)]  # noqa: PTH118
        status = [os.stat(file) for file in files]  # noqa: PTH116 - as the path is written
    except (OSError, ValueError, VideoError):
        return None
    return tuple(number for one in status for number in (one.st_size, one.st_mtime_ns))


def _decode(reader: VideoReader, request: ClipRequest) -> DecodedVideo:
    plan = plan_clips(request.sampling, num_frames=reader.num_frames, fps=reader.fps, times=reader.times)
    indices = plan.indices
    frames = reader.read(indices, request.transform or _as_one_crop)
    row = {index: position for position, index in enumerate(indices)}
    return DecodedVideo(
        info=reader.info,
        plan=plan,
        frames=frames,
        rows=tuple(tuple(row[index] for index in clip) for clip in plan.clips),
        timestamps=tuple(tuple(reader.timestamps(clip)) for clip in plan.clips),
        warnings=reader.warnings + plan.warnings,
        seconds=0.0,
    )


def _as_one_crop(frame: Frame) -> Frame:
    return frame[None]

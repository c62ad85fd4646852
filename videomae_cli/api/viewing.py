"""Shared by `reconstruct` and `attend`: sampling one video's clips, reading the checkpoint, checking outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videomae_cli import filesystem
from videomae_cli.api.footage import FRAMES, SamplingOptions, Video, decode_frames, is_named, sampling_spec
from videomae_cli.api.footage import one_video as one_name
from videomae_cli.api.loaded import model_name
from videomae_cli.arguments import at_least
from videomae_cli.assembly import find_hints, find_model
from videomae_cli.errors import OptionError, OutputError, VideoError, Wording
from videomae_cli.hub import REGISTRY
from videomae_cli.video import ClipRequest, Decoder, Preprocessor, SamplingHints, SamplingSpec, find_videos, one_clip

if TYPE_CHECKING:
    import torch

    from videomae_cli.hub import ResolvedSource
    from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification
    from videomae_cli.model.checkpoint_loading import Checkpoint
    from videomae_cli.video import DecodedVideo

Decode = Callable[[ClipRequest], "DecodedVideo"]
BUNDLED_MAE = "camera-motion-mae"
BUNDLED_CLASSIFIER = "camera-motion"


@dataclass(frozen=True)
class Sampled:
    """The clips of one file. pixel_values: model input (C, T, 3, H, W) for C clips; shown: the same frames for display,
    (C, T, h, w, 3) uint8; seconds[c][t]: how long frame t of clip c is shown."""

    video: DecodedVideo
    pixel_values: torch.Tensor
    seconds: tuple[tuple[float, ...], ...]
    shown: Any

    def facts_of_clip(self, clip: int) -> dict[str, Any]:
        """Return the fields of `--json` that say which frames a clip consists of."""
        return {"frames": list(self.video.plan.clips[clip]), "timestamps": list(self.video.timestamps[clip])}


@dataclass(frozen=True)
class VideoView:
    """What a model found in one video; `sampled` holds the frames that it saw."""

    path: str
    model: str
    revision: str | None
    sampled: Sampled

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the file."""
        return self.sampled.video.warnings

    def facts(self) -> dict[str, Any]:
        """Return the fields of `--json` that describe the file, how it was read, and the model."""
        video = self.sampled.video
        return {
            "sampling": video.plan.description,
            "decoder": video.info.decoder,
            "pixels": video.info.pixels,
            "warnings": list(self.warnings),
            "path": self.path,
            "model": self.model,
            "revision": self.revision,
        }


@dataclass(frozen=True)
class ViewingModel:
    """A loaded model, ready for videos."""

    net: VideoMAEForPreTraining | VideoMAEForVideoClassification
    preprocessor: Preprocessor
    source: ResolvedSource

    @property
    def hints(self) -> SamplingHints:
        """How the model's training data was sampled."""
        config = self.net.config
        return find_hints(config.num_frames, config.extra, self.source.name)

    @property
    def note(self) -> str | None:
        """A line on what is special about the model, if anything is."""
        return None


def whole_view(options: SamplingOptions, shown: str) -> SamplingSpec:
    """Return the sampling for views without crops, by default of one clip; shown: what needs them. Raises OptionError."""
    given: SamplingOptions = {"clips": 1, "crops": 1, **options}
    asked = sampling_spec(**given)
    if asked.resolved_crops != 1:
        raise OptionError.about("crops", "{shown} the whole view: leave out {subject}", shown=shown)
    return asked


def find(
    model: str | os.PathLike[str], *, revision: str | None, device: str, heads: int | None
) -> tuple[ResolvedSource, torch.device]:
    """Find a model, downloading it if necessary, and the device to run it on. Raises OptionError before any download."""
    from videomae_cli.pipeline import pick_device

    at_least(1, heads=heads)
    where = pick_device(device)
    return find_model(model_name(model), revision), where


@contextmanager
def opened(video: Video, *, timeout: float | None, frame_rate: float) -> Iterator[tuple[str, Decode]]:
    """Open a file, an address or frames; yields its name and the function that decodes it. Raises VideoError, OptionError."""
    if not is_named(video):
        yield FRAMES, partial(decode_frames, video, name=FRAMES, frame_rate=frame_rate)
        return
    path = one_name(video)  # type: ignore[arg-type]  # frames were handled above
    with Decoder(timeout=timeout) as decoder:
        yield path, decoder.decode


def one_video(path: str) -> str:
    """Return the path of the one file that `path` refers to. Raises VideoError."""
    found = [one_clip(path)] if filesystem.is_folder(path) else find_videos([path])
    if len(found) != 1:
        raise VideoError.about(path, "{subject} matches {count} files: give one video file", count=len(found))
    if found[0].error:
        raise found[0].error
    return found[0].path


def read_checkpoint(source: ResolvedSource, heads: int | None) -> Checkpoint:
    """Load a checkpoint of any kind. Raises CheckpointError, ConfigError."""
    from videomae_cli.model.checkpoint_loading import load_checkpoint
    from videomae_cli.model.inferred_config import Overrides

    return load_checkpoint(source.path, overrides=Overrides(num_attention_heads=heads))


def sample(path: str, spec: SamplingSpec, preprocessor: Preprocessor, decode: Decode, *, scale: int = 1) -> Sampled:
    """Decode a file's clips. scale: enlargement of the frames for display, which are decoded again at that size.

    Raises VideoError.
    """
    transform = preprocessor.frame_transform(crops=1)
    video = decode(ClipRequest(path, sampling=spec, transform=transform))
    views = video.views()
    shown = views
    if scale > 1:
        larger = replace(
            transform,
            shortest_edge=transform.shortest_edge and transform.shortest_edge * scale,
            size=transform.size and (transform.size[0] * scale, transform.size[1] * scale),
            crop=transform.crop and (transform.crop[0] * scale, transform.crop[1] * scale),
        )
        shown = decode(ClipRequest(path, sampling=spec, transform=larger)).views()
    seconds = tuple(_on_screen(times, video.info.fps) for times in video.timestamps)
    return Sampled(video, preprocessor.to_pixel_values(views), seconds, shown)


def _on_screen(times: Sequence[float], fps: float) -> tuple[float, ...]:
    """Return how long to show each frame, in seconds, so that the clip plays at its original speed.

    A frame is shown until the next one's time; the last one, and repeated ones at the end of a short clip, for the
    median time.
    """
    steps = np.diff(np.asarray(times, float))
    moving = steps[steps > 1e-6]
    usual = float(np.median(moving)) if len(moving) else 1 / (fps if fps > 0 else 25.0)
    return tuple(float(step) if step > 1e-6 else usual for step in [*steps, usual])


def check_outputs(
    output: str | os.PathLike[str] | None, frames_dir: str | os.PathLike[str] | None, *, overwrite: bool
) -> tuple[Path | None, Path | None]:
    """Check the file and the folder for pictures before anything is loaded, and return them.

    Raises OptionError for an unknown suffix, OutputError for a file that can't be written, DependencyError for mp4 or
    webm without PyAV.
    """
    from videomae_cli.pictures.encoding import ENCODERS, pick_encoder
    from videomae_cli.pictures.picture_files import check_free, pick_format

    file = None if output is None else Path(output)
    folder = None if frames_dir is None else Path(frames_dir)
    if file is not None:
        chosen = pick_format(file)
        check_free([file], overwrite=overwrite)
        if chosen in ENCODERS:
            pick_encoder(chosen)
    if folder is not None:
        if filesystem.is_there(folder) and not filesystem.is_folder(folder):
            raise OutputError.about(folder, "{subject} is a file", remedy=Wording("give a folder for {@frames_dir}"))
        from videomae_cli.pictures.scenes import frames_in

        frames_in(folder, overwrite=overwrite).check_free()
    return file, folder


def checked_scale(scale: int | None) -> int | None:
    """Return the scale if it is valid. Raises OptionError otherwise."""
    if scale is not None and not 1 <= scale <= 16:
        raise OptionError.about("scale", "scale must be 1 to 16, not {scale}", scale=scale)
    return scale


def fitting(task: str, bundled: str) -> str:
    """Format a list of checkpoint names that suit a task, for a message; the bundled one comes first."""
    names = [entry.name for entry in REGISTRY if entry.task == task][:3]
    return f"{bundled} (bundled), {', '.join(names)}"

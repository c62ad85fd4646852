"""Video files in, uint8 clips out: which files, which frames, decoding, resizing. Knows no model.

    naming      what a user types -> paths: names, patterns, @lists, standard input (`find_videos`)
    discovery   paths -> the video files behind them
    sampling    (frame count, times, what is wanted) -> frame indices; pure maths
    reader      one file -> exactly the frames asked for, in this process (`open_video`)
    stream      one file of any length -> blocks of frames, in one pass (`Decoder.stream`); windows  where they lie
    decoder     many files -> decoded clips, in processes that may hang or crash without harm (`Decoder`)
    fetching    objects in a storage -> copies on this disk, ahead of the decoder
    preprocess  resize, crop and normalise as the checkpoint's own processor does
    augment     the same at random, for training

Example:

    spec = SamplingSpec(frames=16, checkpoint_family="dense")
    preprocessor = Preprocessor(PreprocessConfig.from_directory(checkpoint, 224))
    request = ClipRequest("a.mp4", sampling=spec, transform=preprocessor.frame_transform(crops=spec.resolved_crops))
    with Decoder(timeout=60) as decoder:
        video = decoder.decode(request)
        pixel_values = preprocessor.to_pixel_values(video.views())   # (views, frames, channels, height, width)

Names load on first use, so that importing this package imports no cv2, av or torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videomae_cli.video.augment import AugmentTransform
    from videomae_cli.video.blocks import Block, PassRequest
    from videomae_cli.video.clips import ClipRequest, DecodedVideo
    from videomae_cli.video.decoder import Decoder, auto_workers
    from videomae_cli.video.discovery import Filter, FoundVideo, discover
    from videomae_cli.video.naming import find_videos
    from videomae_cli.video.preprocess import FrameTransform, PreprocessConfig, Preprocessor
    from videomae_cli.video.reader import VideoInfo, VideoReader, open_video
    from videomae_cli.video.sampling import SamplingHints, SamplingPlan, SamplingSpec, parse_time, plan_clips
    from videomae_cli.video.stream import BlockStream
    from videomae_cli.video.windows import WindowGrid, WindowSpec, parse_length

__all__ = [
    "AugmentTransform",
    "Block",
    "BlockStream",
    "ClipRequest",
    "DecodedVideo",
    "Decoder",
    "Filter",
    "FoundVideo",
    "FrameTransform",
    "PassRequest",
    "PreprocessConfig",
    "Preprocessor",
    "SamplingHints",
    "SamplingPlan",
    "SamplingSpec",
    "VideoInfo",
    "VideoReader",
    "WindowGrid",
    "WindowSpec",
    "auto_workers",
    "discover",
    "find_videos",
    "open_video",
    "parse_length",
    "parse_time",
    "plan_clips",
]

_HOME = {
    "AugmentTransform": "augment",
    "Block": "blocks",
    "BlockStream": "stream",
    "ClipRequest": "clips",
    "DecodedVideo": "clips",
    "Decoder": "decoder",
    "Filter": "discovery",
    "FoundVideo": "discovery",
    "FrameTransform": "preprocess",
    "PassRequest": "blocks",
    "PreprocessConfig": "preprocess",
    "Preprocessor": "preprocess",
    "SamplingHints": "sampling",
    "SamplingPlan": "sampling",
    "SamplingSpec": "sampling",
    "VideoInfo": "reader",
    "VideoReader": "reader",
    "WindowGrid": "windows",
    "WindowSpec": "windows",
    "auto_workers": "decoder",
    "discover": "discovery",
    "find_videos": "naming",
    "open_video": "reader",
    "parse_length": "windows",
    "parse_time": "sampling",
    "plan_clips": "sampling",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

"""Turns video files into uint8 clips: finds files, chooses frames, decodes and resizes them. Knows no model.

    naming      what a user types -> paths: names, patterns, @lists, standard input (`find_videos`)
    discovery   paths -> the video files behind them
    sampling    (frame count, times, what is wanted) -> frame indices; pure maths
    reader      one file -> exactly the requested frames, in this process (`open_video`)
    stream      one file of any length -> blocks of frames, in one pass (`Decoder.stream`); windows  their places in time
    decoder     many files -> decoded clips, in processes that may hang or crash without harm (`Decoder`)
    fetching    objects in storage -> copies on this disk, ahead of the decoder
    preprocess  resize, crop and normalise as the checkpoint's own processor does
    augment     random crops and colours, for training

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

from videomae_cli.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

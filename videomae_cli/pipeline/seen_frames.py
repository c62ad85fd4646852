"""Some of the frames that a model saw, kept for people to look at. Only what is asked for: frames are most of the memory."""

from __future__ import annotations

import numpy as np

from videomae_cli.results import Thumbnail
from videomae_cli.video import DecodedVideo


def spread_thumbnails(video: DecodedVideo, count: int) -> tuple[Thumbnail, ...]:
    """`count` of all frames in all clips (fewer where there are fewer), evenly, in the order of their times; each once.

    Of several crops the middle one. The images are copies, so that the other frames can go.
    """
    times = {
        row: time
        for rows, clip in zip(video.rows, video.timestamps, strict=True)
        for row, time in zip(rows, clip, strict=True)
    }
    if not times or not count:
        return ()
    rows = sorted(times, key=lambda row: times[row])
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    middle = video.frames.shape[1] // 2  # (U, K, h, w, 3)
    return tuple(Thumbnail(times[rows[place]], video.frames[rows[place], middle].copy()) for place in places)

"""Keeps some of the frames that a model saw, for people to look at. Only the few asked for: frames take most of the
memory.
"""

from __future__ import annotations

import numpy as np

from videomae_cli.results import Thumbnail
from videomae_cli.video import DecodedVideo


def spread_thumbnails(video: DecodedVideo, count: int) -> tuple[Thumbnail, ...]:
    """Choose `count` of all frames in all clips (or all, if fewer), evenly spread over time, each once.

    Of several crops the middle one is taken. The images are copies, so that the other frames can be freed.
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

"""Makes thumbnails for a map: the middle frame of each file, or of its clip; unreadable files get none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from videomae_cli.errors import VideoMAEError
from videomae_cli.search.embedding_table import Row
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, SamplingSpec, auto_workers

SIZE = 192
QUALITY = 60

OnPicture = Callable[[str, VideoMAEError | None], object]
"""Called with the path of each file that was tried, and the error if it has no picture."""


def spread(count: int, wanted: int) -> list[int]:
    """Choose `wanted` of `count` positions, evenly spread, or all of them if there are fewer."""
    return list(range(count)) if wanted >= count else [count * number // wanted for number in range(wanted)]


def make_thumbnails(
    rows: Sequence[Row],
    wanted: int,
    *,
    memory: int | None = None,
    timeout: float | None = 60.0,
    on_progress: OnPicture = lambda path, error: None,
) -> list[bytes | None]:
    """Make a JPEG or None for each row: for at most `wanted` rows, spread evenly, and only where the file can be read.

    memory: bytes that a decoding process may take; timeout: seconds per file. Raises MachineError or DependencyError.
    """
    from videomae_cli.video.pictures import small_jpeg

    chosen = spread(len(rows), wanted)
    pictures: list[bytes | None] = [None] * len(rows)
    if not chosen:
        return pictures
    requests = [ClipRequest(rows[place].path, _middle(rows[place])) for place in chosen]
    with Decoder(timeout=timeout, memory=memory, workers=auto_workers(len(chosen))) as decoder:
        for place, (_, outcome) in zip(chosen, decoder.decode_all(requests), strict=True):
            error = None if isinstance(outcome, DecodedVideo) else outcome
            if isinstance(outcome, DecodedVideo):
                pictures[place] = small_jpeg(outcome.frames[0, 0], size=SIZE, quality=QUALITY)
            on_progress(rows[place].path, error)
    return pictures


def _middle(row: Row) -> SamplingSpec:
    """Sample one frame in the middle: "segments" takes the middle of each segment, here of a single one."""
    start, end = row.start, row.end
    whole = row.clip is None or start is None or end is None or not 0 <= start < end
    return SamplingSpec(
        frames=1, family="segments", clips=1, crops=1, start=None if whole else start, end=None if whole else end
    )

"""Pictures for a map: the middle frame of a file, or of what a vector has seen of it. No picture is no failure."""

from __future__ import annotations

from collections.abc import Sequence

from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.display import consoles
from videomae_cli.cli.terminal.progress import BatchProgress
from videomae_cli.search.embedding_table import Row
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, SamplingSpec, auto_workers

SIZE = 192
QUALITY = 60


def make_thumbnails(
    rows: Sequence[Row], wanted: int, *, memory: int | None = None, timeout: float = 60.0
) -> list[bytes | None]:
    """For each row a JPEG or None: of at most `wanted` rows, spread evenly, and only where the file can be read."""
    from videomae_cli.video.pictures import small_jpeg

    chosen = _spread(len(rows), wanted)
    pictures: list[bytes | None] = [None] * len(rows)
    if not chosen:
        return pictures
    requests = [ClipRequest(rows[place].path, _middle(rows[place])) for place in chosen]
    progress = BatchProgress(len(chosen))
    reasons: list[str] = []
    decoder = Decoder(timeout=timeout, memory=memory, workers=auto_workers(len(chosen)))
    with decoder, progress.shown("auto", consoles()[1]):
        for place, (_, outcome) in zip(chosen, decoder.decode_all(requests), strict=True):
            if isinstance(outcome, DecodedVideo):
                pictures[place] = small_jpeg(outcome.frames[0, 0], size=SIZE, quality=QUALITY)
            else:
                reasons.append(outcome.naming(rows[place].path))
            progress.advance(rows[place].path, views=1, failed=not isinstance(outcome, DecodedVideo))
    if reasons:
        console.note(f"no picture of {len(reasons)} of {len(chosen)} files, such as {reasons[0]}")
    return pictures


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` places at even distances; all where there are no more."""
    if wanted >= count:
        return list(range(count))
    return [count * number // wanted for number in range(wanted)]


def _middle(row: Row) -> SamplingSpec:
    """One frame, half way: "segments" takes the middle of its segments, here of one."""
    start, end = row.start, row.end
    whole = row.clip is None or start is None or end is None or not 0 <= start < end
    return SamplingSpec(
        frames=1, family="segments", clips=1, crops=1, start=None if whole else start, end=None if whole else end
    )

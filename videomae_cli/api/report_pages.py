"""Feeds a report, the HTML page about many files, with the records and thumbnails of a job."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from videomae_cli import __version__, filesystem
from videomae_cli.errors import OptionError, OutputError, Wording
from videomae_cli.jobs.retry import OnExisting
from videomae_cli.results import Record, Result, Thumbnail, as_utf8
from videomae_cli.video import FoundVideo

if TYPE_CHECKING:
    from videomae_cli.report import ReportWriter

FRAMES = 8
# Segments of a file that are shown by frames, the most frames of each, what a frame takes so that it can be made out, and what
# WebP allows as the width of them all.
MOST_SHOTS = 48
FRAMES_A_SEGMENT = 6
BYTES_A_FRAME = 800
MOST_PIXELS = 16_383
_ANOTHER = Wording("give another name with {@report}")


def open_report(
    report: Path | None,
    output: Path | None,
    command: str,
    paths: Sequence[str],
    found: Sequence[FoundVideo],
    asked: OnExisting,
) -> AbstractContextManager[ReportWriter | None]:
    """Return a context manager that yields the requested report, or None if there is none.

    A resumed job may replace a report, but no other file.

    Raises OptionError if the report is the output too, OutputError if it would replace a video.
    """
    if report is None:
        return nullcontext()
    if output is not None and (report.absolute() == output.absolute() or filesystem.same(report, output)):
        raise OptionError.about(report, "{subject} can't be the report and the output", remedy=_ANOTHER)
    if filesystem.is_file(report) and any(
        video.error is None and filesystem.same(report, video.path) for video in found
    ):
        raise OutputError.about(report, "{subject} is what is read", remedy=_ANOTHER)
    from videomae_cli.report import ReportWriter, is_report

    title = as_utf8(paths[0]) + (f" and {len(paths) - 1:,} more" if len(paths) > 1 else "")
    about = f"videomae {command} {__version__}"
    overwrite = asked.overwrite or (asked.resume and is_report(report))
    return ReportWriter(report, title=title, about=about, files=len(found), overwrite=overwrite)


def tell_report(report: ReportWriter, result: Result, record: Record) -> None:
    """Add a file to the report, with some of the frames that the model saw."""
    from videomae_cli.pictures.strip import make_strip

    thumbnails = getattr(result, "thumbnails", ())
    chosen = _shots(result, report.shot_bytes)
    count = len(chosen)
    frames = [frame.image for _, frame in chosen]
    sheet = make_strip(frames, most_frames=count, most_bytes=report.shot_bytes)
    report.add(
        record,
        make_strip([thumbnail.image for thumbnail in thumbnails]),
        shots=None if sheet is None else ([number for number, _ in chosen], sheet),
        moments=[frame.time for _, frame in chosen],
    )


def _shots(result: Result, most_bytes: int) -> list[tuple[int, Thumbnail]]:
    """Choose frames to show, each with its segment's number: as many per segment as there is room for.

    If there are too many segments, only the longest have frames. A segment's first frame is that of its surest window.
    """
    from videomae_cli.pictures.strip import HEIGHT

    segments, frames = getattr(result, "segments", ()), getattr(result, "segment_frames", ())
    pictured = [number for number, kept in enumerate(frames) if kept]
    if not pictured:
        return []
    height, width = frames[pictured[0]][0].image.shape[:2]
    wide = min(round(width * HEIGHT / height), 2 * HEIGHT) + 2
    most = max(1, min(most_bytes // BYTES_A_FRAME, MOST_PIXELS // wide))
    longest = sorted(pictured, key=lambda number: segments[number].start - segments[number].end)
    chosen = sorted(longest[: min(MOST_SHOTS, most)])
    each = min(FRAMES_A_SEGMENT, most // len(chosen))
    return [(number, frame) for number in chosen for frame in spread(frames[number], each)]


def spread(frames: Sequence[Thumbnail], count: int) -> list[Thumbnail]:
    """Return the first of the frames, and `count` - 1 of the others, evenly spread over them."""
    others = frames[1:]
    rows = {round(place * (len(others) - 1) / max(1, count - 2)) for place in range(count - 1)} if others else set()
    return [frames[0], *(others[row] for row in sorted(rows))]

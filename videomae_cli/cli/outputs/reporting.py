"""Feeds the report (`--report`) with the records and thumbnails of commands over many files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from videomae_cli import __version__, filesystem
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.results import Record, Result, as_utf8
from videomae_cli.video import FoundVideo

if TYPE_CHECKING:
    from videomae_cli.report import ReportWriter

FRAMES = 8
# Segments of a file that get a picture, and the bytes for all of them.
MOST_SHOTS = 48
SHOT_BYTES = 40_000
SIDECAR = "report.jsonl"


def open_report(
    report: Path | None,
    output: Path | None,
    command: str,
    paths: Sequence[str],
    found: Sequence[FoundVideo],
    *,
    overwrite: bool,
    resume: bool,
) -> AbstractContextManager[ReportWriter | None]:
    """Return a context manager that yields the requested report, or None if there is none.

    A resumed job may replace a report, but no other file.

    Raises OptionError if the report is the output too, OutputError if it would replace a video.
    """
    if report is None:
        return nullcontext()
    if output is not None and (report.absolute() == output.absolute() or filesystem.same(report, output)):
        raise OptionError.about(report, "{subject} can't be the report and the output: give another name with --report")
    if filesystem.is_file(report) and any(
        video.error is None and filesystem.same(report, video.path) for video in found
    ):
        raise OutputError.about(report, "{subject} is what is read: give another name with --report")
    from videomae_cli.report import ReportWriter, is_report

    names = [as_utf8(path) for path in paths[:3]] + (["..."] if len(paths) > 3 else [])
    about = f"videomae {command} {__version__}"
    return ReportWriter(
        report, title=" ".join(names), about=about, overwrite=overwrite or (resume and is_report(report))
    )


def tell_report(report: ReportWriter, result: Result, record: Record) -> None:
    """Add a file to the report, with some of the frames that the model saw."""
    from videomae_cli.pictures.strip import make_strip

    thumbnails = getattr(result, "thumbnails", ())
    report.add(record, make_strip([thumbnail.image for thumbnail in thumbnails]), shots=_shots(result))


def _shots(result: Result) -> tuple[list[int], bytes] | None:
    """Return the numbers of the segments that get a picture, and the picture with a frame of each: of many, the longest."""
    from videomae_cli.pictures.strip import make_strip

    pictures = getattr(result, "segment_thumbnails", ())
    segments = getattr(result, "segments", ())
    pictured = [number for number, picture in enumerate(pictures) if picture is not None]
    longest = sorted(pictured, key=lambda number: segments[number].start - segments[number].end)
    chosen = sorted(longest[:MOST_SHOTS])
    made = make_strip([pictures[number].image for number in chosen], most_frames=MOST_SHOTS, most_bytes=SHOT_BYTES)
    return None if made is None else (chosen, made)

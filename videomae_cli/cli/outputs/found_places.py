"""Outputs the places that `videomae timeline --find` finds in many files, best first, and cuts them out as clips."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem, system
from videomae_cli.api.places import LabelPlace, PlaceFinder, cut_places
from videomae_cli.cli.outputs.single_output import single_output
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, VideoMAEError
from videomae_cli.files import check_new, make_folder
from videomae_cli.jobs.targets import Target
from videomae_cli.results import Record, as_utf8, path_of
from videomae_cli.video import Decoder, FoundVideo
from videomae_cli.visible import FALLBACK, columns, exact_json, visible
from videomae_cli.writers.cells import csv_row
from videomae_cli.writers.clock import short_clock
from videomae_cli.writers.formats import SUFFIXES, pick_among

FORMATS = ("table", "json", "jsonl", "csv")
_SUFFIXES = {".txt": "table"} | {suffix: format for suffix, format in SUFFIXES.items() if format in FORMATS}
# A name on a terminal is shortened to this many columns, or has a line of its own.
_LEAST_NAME = 20
_NARROW = ("path", "start", "end", "label", "score", "unsure")
_COLUMNS = ("rank", "path", "path_bytes", "start", "end", "label", "label_id", "score", "unsure", "clip")


@dataclass(frozen=True)
class Search:
    """A search for a label, and the output of the places found. top_k: maximum number of places; cut: the folder for clips.

    Raises OptionError for a file in the place of the folder, DependencyError if clips are wanted and PyAV is missing.
    """

    label: str
    top_k: int | None
    cut: Path | None
    format: str
    output: Path | None
    overwrite: bool

    def __post_init__(self) -> None:
        if self.cut is None:
            return
        if filesystem.is_there(self.cut) and not filesystem.is_folder(self.cut):
            raise OptionError.about(
                self.cut, "{subject} is no folder: --cut takes one, and makes it where it is not there"
            )
        from videomae_cli.pictures.encoding import pick_encoder

        pick_encoder("mp4")


def pick_format(asked: str | None, output: Path | None) -> str:
    """Choose the format: the requested one, else by the output's suffix, else a table. Raises OptionError."""
    if asked is None and output is None:
        return "table"
    if asked not in (None, *FORMATS):
        raise OptionError.about(
            "format", "--find gives {formats}, not {format}", formats=", ".join(FORMATS), format=asked
        )
    return pick_among(asked, output, FORMATS, _SUFFIXES)


@dataclass
class PlacesTarget(Target):
    """Collects the segments of one label, and outputs the best of them after the last file."""

    search: Search
    finder: PlaceFinder
    decoder: Decoder
    found: Sequence[FoundVideo]

    @contextmanager
    def opened(self) -> Iterator[None]:
        if self.search.output is not None:
            sources = (video.path for video in self.found if video.error is None)
            check_new(self.search.output, overwrite=self.search.overwrite, sources=sources)
        if self.search.cut is not None:
            make_folder(self.search.cut)
        yield

    def append(self, record: Record, seconds: float | None = None) -> None:
        self.finder.add(record)

    def finish(self) -> None:
        """Cut out the best places as clips if requested, then output them."""
        search = self.search
        best = self.finder.best(search.top_k)
        rows = [place.as_dict() for place in best]
        if search.cut is not None:
            clips = cut_places(
                best, search.cut, self.decoder, label=search.label, overwrite=search.overwrite, on_failure=_say_uncut
            )
            for row, clip in zip(rows, clips, strict=True):
                row["clip"] = as_utf8(str(clip)) if clip is not None else None
        with single_output(search.format, search.output, overwrite=search.overwrite, source=Path()) as sink:
            sink.write(_formatted(rows, search.format, sink))
        where = f"in {console.counted(len(self.found), 'file')}"
        listed = (
            f": the best {len(rows)} listed" if len(rows) < len(self.finder) else "" if rows else ": nothing to list"
        )
        console.note(f"{console.counted(len(self.finder), 'place')} {where}{listed}")
        if search.output is not None:
            console.wrote(search.output, console.counted(len(rows), "place"))
        if search.cut is not None:
            console.wrote(search.cut, console.counted(sum(row["clip"] is not None for row in rows), "clip"))


def _say_uncut(place: LabelPlace, error: VideoMAEError) -> None:
    console.error(f"{place.path}: can't be cut: {error}")


def line_of(row: Record, width: int | None) -> str:
    """Format a place as a line: rank, score, from, to and the name, which loses its middle where a terminal is too narrow.

    Where there is no room for a name at all, it gets a line of its own.
    """
    mark, start, end = "?" if row["unsure"] else " ", short_clock(row["start"]), short_clock(row["end"])
    facts, name = f"{row['rank']:>4}  {row['score']:6.1%} {mark} {start} - {end}  ", visible(path_of(row))
    if width is None or len(facts) + columns(name) <= width:
        return f"{facts}{name}\n"
    from videomae_cli.cli.terminal.display import shortened

    if (room := width - len(facts)) >= _LEAST_NAME:
        return f"{facts}{shortened(name, room)}\n"
    return f"{facts.rstrip()}\n      {shortened(name, width - 6)}\n"


def _formatted(rows: Sequence[Record], format: str, sink: BinaryIO) -> bytes:
    """Return the places in a format, as bytes for `sink`."""
    if format == "table":
        width = system.terminal_width(sys.stdout) if streams.is_shown(sink) else None
        return "".join(line_of(row, width) for row in rows).encode(streams.text_encoding(sink), FALLBACK)
    if format.startswith("csv"):
        cut = ("clip",) if any("clip" in row for row in rows) else ()
        names = (*_NARROW, *cut) if format == "csv" else _COLUMNS
        cells = [names, *([row.get(name) for name in names] for row in rows)]
        return "".join(csv_row(row, for_people=streams.is_shown(sink)) for row in cells).encode("utf-8", FALLBACK)
    if format == "json":
        return (exact_json(list(rows), indent=2) + "\n").encode()
    return "".join(exact_json(row) + "\n" for row in rows).encode()

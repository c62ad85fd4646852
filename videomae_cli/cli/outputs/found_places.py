"""Outputs the places that `videomae timeline --find` finds in many files, best first, and cuts them out as clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem
from videomae_cli.api.places import LabelPlace, PlaceFinder, cut_places, make_folder
from videomae_cli.cli.outputs.single_output import single_output
from videomae_cli.cli.outputs.targets import Target
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, VideoMAEError
from videomae_cli.files import check_new
from videomae_cli.results import Record, as_utf8, path_of
from videomae_cli.video import Decoder, FoundVideo
from videomae_cli.visible import FALLBACK, exact_json, visible
from videomae_cli.writers import widened
from videomae_cli.writers.cells import csv_row
from videomae_cli.writers.clock import short_clock

FORMATS = ("table", "json", "jsonl", "csv")
_SUFFIXES = {".txt": "table", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_NARROW = ("path", "start", "end", "label", "score", "unsure")
_COLUMNS = ("rank", "path", "path_bytes", "start", "end", "label", "label_id", "score", "unsure", "clip")


@dataclass(frozen=True)
class Search:
    """A search for a label, and the output of the places found. top_k: maximum number of places; cut: the folder for clips."""

    label: str
    top_k: int | None
    cut: Path | None
    format: str
    output: Path | None
    overwrite: bool


def check_search(
    label: str | None,
    cut: Path | None,
    *,
    top_k: int | None,
    format: str | None,
    output: str | None,
    wide: bool,
    overwrite: bool,
) -> Search | None:
    """Return the search that the options ask for, or None. Raises OptionError if they exclude each other, DependencyError
    if clips are wanted and PyAV is missing."""
    if label is None:
        if cut is not None:
            raise OptionError.about("cut", "--cut writes what --find finds: say what with --find LABEL")
        return None
    path = Path(output) if output is not None else None
    if format is None and path is not None:
        suffix = path.suffix.lower()
        if suffix not in _SUFFIXES:
            raise OptionError.about(
                path,
                "can't tell the format of {name!r}: end it in one of {suffixes}",
                name=path.name,
                suffixes=", ".join(_SUFFIXES),
            )
        format = _SUFFIXES[suffix]
    format = format or "table"
    if format not in FORMATS:
        raise OptionError.about(
            "format", "--find gives {formats}, not {format}", formats=", ".join(FORMATS), format=format
        )
    if cut is not None and filesystem.is_there(cut) and not filesystem.is_folder(cut):
        raise OptionError.about(cut, "{subject} is no folder: --cut takes one, and makes it where it is not there")
    if cut is not None:
        from videomae_cli.pictures.encoding import pick_encoder

        pick_encoder("mp4")
    return Search(label, top_k, cut, widened(format, wide), path, overwrite)


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
        console.note(f"{console.counted(len(self.finder), 'place')} {where}: {search_words(search, len(rows))}")


def _say_uncut(place: LabelPlace, error: VideoMAEError) -> None:
    console.error(f"{place.path}: can't be cut: {error}")


def search_words(search: Search, shown: int) -> str:
    """Return the words that say what was done with the places."""
    words = f"the best {shown} listed" if shown else "nothing to list"
    return words + (f", cut into {search.cut}" if search.cut is not None else "")


def _formatted(rows: Sequence[Record], format: str, sink: BinaryIO) -> bytes:
    """Return the places in a format, as bytes for `sink`."""
    if format == "table":
        lines = (
            f"{row['rank']:>4}  {row['score']:6.1%} {'?' if row['unsure'] else ' '} {short_clock(row['start'])} - {short_clock(row['end'])}  "
            f"{visible(path_of(row))}\n"
            for row in rows
        )
        return "".join(lines).encode(streams.text_encoding(sink), FALLBACK)
    if format.startswith("csv"):
        cut = ("clip",) if any("clip" in row for row in rows) else ()
        names = (*_NARROW, *cut) if format == "csv" else _COLUMNS
        cells = [names, *([row.get(name) for name in names] for row in rows)]
        return "".join(csv_row(row, for_people=streams.is_shown(sink)) for row in cells).encode("utf-8", FALLBACK)
    if format == "json":
        return (exact_json(list(rows), indent=2) + "\n").encode()
    return "".join(exact_json(row) + "\n" for row in rows).encode()

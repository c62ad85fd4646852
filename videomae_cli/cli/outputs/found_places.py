"""`videomae timeline --find`: where a label occurs in a set of files, best first, and those places as clips."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from videomae_cli import filesystem
from videomae_cli.cli.outputs.single_output import single_output
from videomae_cli.cli.outputs.targets import Target
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, OutputError, VideoMAEError
from videomae_cli.files import check_new
from videomae_cli.made import MadeFiles
from videomae_cli.results import Record, as_utf8, path_fields, path_of
from videomae_cli.video import Decoder, FoundVideo, PassRequest
from videomae_cli.visible import FALLBACK, exact_json, visible
from videomae_cli.writers.cells import csv_row
from videomae_cli.writers.clock import clock, short_clock

if TYPE_CHECKING:
    pass

FORMATS = ("table", "json", "jsonl", "csv")
_SUFFIXES = {".txt": "table", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_COLUMNS = ("rank", "path", "path_bytes", "start", "end", "label", "label_id", "score", "clip")
_NAME_CHARACTERS = 40


@dataclass(frozen=True)
class Search:
    """What is looked for, and what becomes of it. top_k: places at most; cut: the folder for clips."""

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
    overwrite: bool,
) -> Search | None:
    """The search that the options ask for, if they do. Raises OptionError where they don't fit together, DependencyError
    for clips where PyAV is missing."""
    if label is None:
        if cut is not None:
            raise OptionError("--cut writes what --find finds: say what with --find LABEL")
        return None
    path = Path(output) if output is not None else None
    if format is None and path is not None:
        suffix = path.suffix.lower()
        if suffix not in _SUFFIXES:
            raise OptionError(f"can't tell the format of {path.name!r}: end it in one of {', '.join(_SUFFIXES)}")
        format = _SUFFIXES[suffix]
    format = format or "table"
    if format not in FORMATS:
        raise OptionError(f"--find gives {', '.join(FORMATS)}, not {format}")
    if cut is not None and filesystem.is_there(cut) and not filesystem.is_folder(cut):
        raise OptionError(f"{cut} is no folder: --cut takes one, and makes it where it is not there")
    if cut is not None:
        from videomae_cli.pictures.encoding import pick_encoder

        pick_encoder("mp4")
    return Search(label, top_k, cut, format, path, overwrite)


@dataclass
class PlacesTarget(Target):
    """Keeps the segments of one label, and tells the best of them after the last file."""

    search: Search
    label_id: int
    decoder: Decoder
    found: Sequence[FoundVideo]
    _places: list[Record] = field(default_factory=list)
    _rates: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def opened(self) -> Iterator[None]:
        output = self.search.output
        if output is not None:
            sources = (video.path for video in self.found if video.error is None)
            check_new(output, overwrite=self.search.overwrite, sources=sources)
        if self.search.cut is not None:
            try:
                self.search.cut.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"can't make the folder {self.search.cut}: {error.strerror}") from None
        yield

    def append(self, record: Record, seconds: float | None = None) -> None:
        path = path_of(record)
        for segment in record["segments"]:
            if segment["label_id"] == self.label_id:
                self._places.append({**path_fields(path), **segment})
                self._rates[path] = record["fps"] or 25.0

    def finish(self) -> None:
        """Tell the best places, and cut them out before."""
        best = sorted(self._places, key=lambda place: -place["score"])[: self.search.top_k]
        rows = [{"rank": rank, **place} for rank, place in enumerate(best, 1)]
        if self.search.cut is not None:
            self._cut_all(self.search.cut, rows)
        with single_output(
            self.search.format, self.search.output, overwrite=self.search.overwrite, source=Path()
        ) as sink:
            sink.write(_told(rows, self.search.format, sink))
        where = f"in {console.counted(len(self.found), 'file')}"
        console.note(f"{console.counted(len(self._places), 'place')} {where}: {search_words(self.search, len(rows))}")

    def _cut_all(self, folder: Path, rows: Sequence[Record]) -> None:
        """Cut places out and put the names of the clips in; with --overwrite in the place of those of an earlier search for the label."""
        from videomae_cli.pictures.clip import is_clip

        if not self.search.overwrite:
            for row in rows:
                row["clip"] = self._cut(folder, row)
            return
        with MadeFiles(folder, lambda file: is_clip(file, self._about), "", overwrite=True) as made:
            earlier = made.earlier()
            for row in rows:
                row["clip"] = self._cut(folder, row)
            made.remove(earlier - {Path(path_of({"path": row["clip"]})).name for row in rows if row["clip"]})

    @property
    def _about(self) -> str:
        """What a clip's file says of itself."""
        return f"videomae timeline --find {json.dumps(self.search.label.strip().casefold())}"

    def _cut(self, folder: Path, row: Record) -> str | None:
        """The name of the clip; None where it could not be cut."""
        from videomae_cli.pictures.clip import write_clip

        path = path_of(row)
        try:
            frames = self._frames(path, row["start"], row["end"])
            file = write_clip(
                folder / clip_name(row),
                frames,
                end=row["end"],
                rate=self._rates[path],
                about=self._about,
                replaces=self.search.overwrite,
            )
        except OutputError:
            raise
        except VideoMAEError as error:
            console.error(f"{path}: can't be cut: {error}")
            return None
        return as_utf8(str(file)) if file is not None else None

    def _frames(self, path: str, start: float, end: float) -> Iterator[tuple[float, Any]]:
        with self.decoder.stream(PassRequest(path, start=start, end=end)) as stream:
            for block in stream:
                yield from zip(block.times, block.frames, strict=True)


def search_words(search: Search, shown: int) -> str:
    """What was done with the places."""
    words = f"the best {shown} listed" if shown else "nothing to list"
    return words + (f", cut into {search.cut}" if search.cut is not None else "")


def clip_name(row: Record) -> str:
    """A name for a clip that every disk takes: rank, label, file, from, to."""
    label, stem = (_plain(text) for text in (row["label"], Path(row["path"]).stem))
    start, end = (clock(row[edge], digits=2, hours=1).replace(":", ".") for edge in ("start", "end"))
    return f"{row['rank']:03}_{label}_{stem}_{start}-{end}.mp4"


def _plain(text: str) -> str:
    plain = re.sub(r"[^\w.-]+|_+", "-", as_utf8(text)).strip("-.")
    return plain.encode("utf-8")[:_NAME_CHARACTERS].decode("utf-8", "ignore") or "clip"


def _told(rows: Sequence[Record], format: str, sink: BinaryIO) -> bytes:
    """The places in a format, as bytes for `sink`."""
    if format == "table":
        lines = (
            f"{row['rank']:>4}  {row['score']:6.1%}  {short_clock(row['start'])} - {short_clock(row['end'])}  "
            f"{visible(path_of(row))}\n"
            for row in rows
        )
        return "".join(lines).encode(streams.text_encoding(sink), FALLBACK)
    if format == "csv":
        cells = [_COLUMNS, *([row.get(name) for name in _COLUMNS] for row in rows)]
        return "".join(csv_row(row, for_people=streams.is_shown(sink)) for row in cells).encode("utf-8", FALLBACK)
    if format == "json":
        return (exact_json(list(rows), indent=2) + "\n").encode()
    return "".join(exact_json(row) + "\n" for row in rows).encode()

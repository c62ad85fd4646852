"""Finds where a label occurs in a set of videos, best first, and cuts out those places as clips."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli.arguments import checked
from videomae_cli.errors import OutputError, VideoMAEError
from videomae_cli.files import make_folder
from videomae_cli.made import MadeFiles
from videomae_cli.results import Record, Timeline, as_utf8, path_fields, path_of
from videomae_cli.video import Decoder, PassRequest
from videomae_cli.writers.clock import clock

if TYPE_CHECKING:
    from videomae_cli.assembly import DecoderOptions

_NAME_CHARACTERS = 40
# Frames per second assumed for a file that doesn't state its frame rate.
_USUAL_RATE = 25.0

OnFailure = Callable[["LabelPlace", VideoMAEError], object]
"""Called with each place that can't be cut out of its file, and the error."""


@dataclass(frozen=True)
class LabelPlace:
    """A part of a video with the label that was searched for. rank: from 1, the best; start, end: seconds after the first frame;
    score: mean over the part; unsure: as of its segment; rate: the file's frames per second."""

    rank: int
    path: str
    start: float
    end: float
    label: str
    label_id: int
    score: float
    rate: float = _USUAL_RATE
    unsure: bool = False

    def as_dict(self) -> Record:
        """Return the place as `videomae timeline --find` prints it."""
        names = ("start", "end", "label", "label_id", "score", "unsure")
        return {"rank": self.rank, **path_fields(self.path), **{name: getattr(self, name) for name in names}}


@dataclass
class PlaceFinder:
    """Collects the segments of one label from the records of timelines."""

    label_id: int
    _found: list[tuple[str, float, Record]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Take the segments of a file."""
        path, rate = path_of(record), record["fps"] or _USUAL_RATE
        self._found += [(path, rate, one) for one in record["segments"] if one["label_id"] == self.label_id]

    def __len__(self) -> int:
        return len(self._found)

    def best(self, top_k: int | None = None) -> list[LabelPlace]:
        """Return the places with the highest scores, best first; equal ones in order of appearance."""
        order = sorted(self._found, key=lambda one: -one[2]["score"])[:top_k]
        return [LabelPlace(rank, path, rate=rate, **segment) for rank, (path, rate, segment) in enumerate(order, 1)]


@dataclass(frozen=True)
class FoundPlaces(Sequence[LabelPlace]):
    """The places where a label occurs, best first, as returned by `VideoClassifier.find`. failures: the timelines of files that
    failed, each with its `error`; places before a failure half way are included."""

    label: str
    places: tuple[LabelPlace, ...]
    failures: tuple[Timeline, ...]
    decoding: DecoderOptions = field(repr=False)

    def __getitem__(self, number: Any) -> Any:
        return self.places[number]

    def __len__(self) -> int:
        return len(self.places)

    @checked
    def cut(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        on_failure: OnFailure = lambda place, error: None,
    ) -> list[Path | None]:
        """Write the places as clips to a folder (re-encoded as H.264, without sound); what `--cut` does.

        overwrite: replace the clips of an earlier search for this label; on_failure: called for each place that can't
        be cut. Returns the file of each place, or None. Raises OutputError, DependencyError if PyAV is missing.
        """
        with self.decoding.decoder(1) as decoder:
            return cut_places(
                self.places, Path(folder), decoder, label=self.label, overwrite=overwrite, on_failure=on_failure
            )


def cut_places(
    places: Iterable[LabelPlace], folder: Path, decoder: Decoder, *, label: str, overwrite: bool, on_failure: OnFailure
) -> list[Path | None]:
    """Write places as clips to a folder; see `FoundPlaces.cut`. label: as requested; stored in the clips' comments."""
    from videomae_cli.pictures.clip import is_clip, write_clip

    about = f"videomae timeline --find {json.dumps(label.strip().casefold())}"

    def cut(place: LabelPlace) -> Path | None:
        frames, file = _frames(place, decoder), folder / clip_name(place)
        try:
            return write_clip(file, frames, end=place.end, rate=place.rate, about=about, replaces=overwrite)
        except OutputError:
            raise
        except VideoMAEError as error:
            on_failure(place, error)
            return None

    if not overwrite:
        make_folder(folder)
        return list(map(cut, places))
    with MadeFiles(folder, lambda file: is_clip(file, about), "", overwrite=True) as made:
        earlier = made.earlier()
        clips = list(map(cut, places))
        made.remove(earlier - {clip.name for clip in clips if clip is not None})
    return clips


def clip_name(place: LabelPlace) -> str:
    """Make a file name for a clip, valid on every disk, from rank, label, file, start and end."""
    label, stem = _plain(place.label), _plain(Path(as_utf8(place.path)).stem)
    start, end = (clock(edge, digits=2, hours=1).replace(":", ".") for edge in (place.start, place.end))
    return f"{place.rank:03}_{label}_{stem}_{start}-{end}.mp4"


def _frames(place: LabelPlace, decoder: Decoder) -> Iterator[tuple[float, Any]]:
    with decoder.stream(PassRequest(place.path, start=place.start, end=place.end, fps=place.rate)) as stream:
        for block in stream:
            yield from zip(block.times, block.frames, strict=True)


def _plain(text: str) -> str:
    plain = re.sub(r"[^\w.-]+|_+", "-", as_utf8(text)).strip("-.")
    return plain.encode("utf-8")[:_NAME_CHARACTERS].decode("utf-8", "ignore") or "clip"

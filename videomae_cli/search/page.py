"""Writes points as one HTML page that opens offline: data, script, style and pictures are all in it (`pages`)."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from videomae_cli.pages import Document, in_script, picture_script
from videomae_cli.pictures.hues import label_colour, label_colours
from videomae_cli.results import as_utf8, path_fields
from videomae_cli.search.embedding_table import Row, Vectors

# Number of colours that people can tell apart; if there are more groups, the last one combines all the others, in grey.
MAX_GROUPS = 12
# The page numbers points in 16 bits where it names neighbours, which also bounds its size and the time to find them.
MAX_NEIGHBOURED = 30_000
Neighbours = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""For each point the places of the points most like it, most alike first, and their cosines: two arrays (N, k)."""


@dataclass(frozen=True)
class Map:
    """The contents of the page. points: (N, 2) in [-1, 1]; groups: a name for each point, or None for one colour; ids:
    the numbers of those names that are a model's labels, so that they have the colours they have in charts and reports;
    pictures: for each point JPEG bytes or None; neighbours: what "more like this" shows, or None."""

    title: str
    description: str
    rows: Sequence[Row]
    points: Vectors
    groups: Sequence[str] | None = None
    group_name: str = ""
    ids: Mapping[str, object] = field(default_factory=dict)
    pictures: Sequence[bytes | None] = ()
    neighbours: Neighbours | None = None


def write_page(map: Map, sink: BinaryIO) -> None:
    """Write the page as UTF-8. Pictures are encoded one by one, so that memory holds one encoded picture at a time."""
    document = Document("videomae_cli.search", "map", title=map.title)
    sink.write(document.head)
    sink.write(in_script(_data(map)).encode())
    sink.write(document.middle)
    for number, picture in enumerate(map.pictures):
        if picture is not None:
            sink.write(picture_script(number, picture))
    sink.write(document.tail)


def folders(rows: Sequence[Row]) -> list[str]:
    """Return each row's folder, without the leading folders that all rows share."""
    names = [os.path.dirname(row.path) for row in rows]  # noqa: PTH120 - a string, not a place on this disk
    parts = [tuple(name.split("/")) for name in dict.fromkeys(names)]
    shared = 0
    while parts and all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return [as_utf8("/".join(name.split("/")[shared:])) or "." for name in names]


def _data(map: Map) -> dict[str, object]:
    """Return what the page's script reads: columns rather than objects, each folder once, coordinates with four decimals."""
    split = [os.path.split(as_utf8(row.path)) for row in map.rows]
    places = {folder: number for number, folder in enumerate(dict.fromkeys(folder for folder, _ in split))}
    counts = Counter(map.groups or ())
    groups = sorted(counts, key=lambda name: (-counts[name], name))  # the largest first, as in the legend
    number = {name: place for place, name in enumerate(groups)}
    colours = label_colours(groups[:MAX_GROUPS], map.ids)
    times = [[_rounded(row.start), _rounded(row.end)] for row in map.rows]
    return {
        "description": map.description,
        "groupName": map.group_name,
        "x": [round(float(x), 4) for x in map.points[:, 0]],
        "y": [round(float(y), 4) for y in map.points[:, 1]],
        "folders": list(places),
        "folder": [places[folder] for folder, _ in split],
        "names": [name for _, name in split],
        "times": times if any(row.clip is not None for row in map.rows) else None,
        "groups": groups,
        "group": [number[name] for name in map.groups or ()],
        "shown": min(len(groups), MAX_GROUPS),
        "colours": [colours[name] for name in groups[:MAX_GROUPS]],
        "grey": [label_colour(None), label_colour(None, dark=True)],
        "raw": _exact_names(map.rows),
        **_packed(map.neighbours),
    }


def _exact_names(rows: Sequence[Row]) -> dict[int, str]:
    """Return the bytes of the paths that are not UTF-8, as base64 by the point's number: a list to save needs them."""
    fields = ((number, path_fields(row.path).get("path_bytes")) for number, row in enumerate(rows))
    return {number: raw for number, raw in fields if raw is not None}


def _packed(neighbours: Neighbours | None) -> dict[str, object]:
    """Pack places and cosines (in ten-thousandths) as 16-bit little-endian numbers in base64: 64 bytes a point for 12."""
    if neighbours is None:
        return {"near": None}
    places, cosines = neighbours
    numbers = (places.astype("<u2"), (cosines * 10_000).round().astype("<i2"))
    near, alike = (base64.b64encode(column.tobytes()).decode("ascii") for column in numbers)
    return {"near": near, "alike": alike, "each": places.shape[1]}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)

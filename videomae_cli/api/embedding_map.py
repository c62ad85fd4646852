"""Maps embeddings to the plane, similar videos close together, and writes the map as a page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from videomae_cli.api.thumbnails import OnPicture, make_thumbnails
from videomae_cli.arguments import checked
from videomae_cli.content import EMBEDDINGS, TIMELINE, content_in
from videomae_cli.errors import EmbeddingsError, OptionError, check_choice
from videomae_cli.files import output_file
from videomae_cli.results import as_utf8, path_of
from videomae_cli.search.embedding_table import EmbeddingTable, Row, VectorBlock, Vectors
from videomae_cli.search.layout import METHODS, lay_out
from videomae_cli.search.nearest import neighbours
from videomae_cli.search.page import MAX_NEIGHBOURED, Map, Neighbours, folders, write_page
from videomae_cli.visible import counted
from videomae_cli.writers import place_of, read_records

COLOURS = ("auto", "folder", "label", "none")
UNKNOWN = "no label"
# Of more windows of films only every n-th is drawn: those between look alike, and the page stays quick.
MOST_WINDOWS = 20_000
ALIKE = 12  # how many videos "more like this" shows


@dataclass(frozen=True)
class VideoMap:
    """Videos as points in the plane, as returned by `map_embeddings`.

    table: where the vectors come from; page: what the page shows; method: describes the layout method; failed: number
    of files without a vector; unlabelled: number of points without a label; every: of the windows of films, every n-th is
    a point; windows: whether points are windows of films.
    """

    table: Path | str
    page: Map
    method: str
    failed: int = 0
    unlabelled: int = 0
    every: int = 1
    windows: bool = False

    @property
    def points(self) -> Vectors:
        """The coordinates of the points: (N, 2) float32, centred, within [-1, 1]."""
        return self.page.points

    @property
    def rows(self) -> Sequence[Row]:
        """What each point represents: `path`, and for a part of a file `clip`, `start` and `end` (seconds)."""
        return self.page.rows

    @property
    def groups(self) -> Sequence[str] | None:
        """The name of each point's group, which determines its colour; None for a single colour."""
        return self.page.groups

    @property
    def number(self) -> str:
        """The number of points in words: "12 videos"."""
        kind = "window" if self.windows else "clip" if any(row.clip is not None for row in self.rows) else "video"
        return counted(len(self.rows), kind)

    @checked
    def with_pictures(
        self,
        wanted: int,
        *,
        memory: int | None = None,
        timeout: float | None = 60.0,
        on_progress: OnPicture = lambda path, error: None,
    ) -> VideoMap:
        """Return the map with pictures of at most `wanted` files; see `map_embeddings`."""
        pictures = make_thumbnails(self.rows, wanted, memory=memory, timeout=timeout, on_progress=on_progress)
        return replace(self, page=replace(self.page, pictures=pictures))

    @checked
    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the page atomically as one HTML file that works offline. Raises OutputError."""
        with output_file(Path(path), overwrite=overwrite, source=self.table) as sink:
            self.write(sink)

    def write(self, sink: BinaryIO) -> None:
        """Write the page to an open file."""
        write_page(self.page, sink)


@checked
def map_embeddings(
    table: str | os.PathLike[str],
    *,
    method: str = "auto",
    colour: str = "auto",
    labels: str | os.PathLike[str] | None = None,
    thumbnails: int = 1000,
    memory: int | None = None,
    timeout: float | None = 60.0,
    on_progress: OnPicture = lambda path, error: None,
) -> VideoMap:
    """Map embeddings to the plane with similar videos close together; what `videomae map` does.

    table: output of `videomae embed`, or the address of a cluster's; method: "pca", "umap", or "auto" for UMAP if
    umap-learn is installed; colour: what colours mean, "folder", "label", "none", or "auto" for labels if given; labels:
    output of `videomae classify`
    for the same files; thumbnails: maximum number of pictures on the page; memory: bytes that a decoding process may
    take; timeout: seconds per picture; on_progress: called with each file that was tried and its error, or None. The
    result has `points` (N, 2), `rows`, `groups` and `save("map.html")`. Raises EmbeddingsError, OutputError for labels
    that can't be read, OptionError, and DependencyError if UMAP is requested but missing.
    """
    found = lay_out_map(table, method=method, colour=colour, labels=labels)
    return found.with_pictures(thumbnails, memory=memory, timeout=timeout, on_progress=on_progress)


def check_map(method: str, colour: str, labels: str | os.PathLike[str] | None) -> str:
    """Check the options and return what colours mean ("auto" resolved). Raises OptionError."""
    check_choice("method", method, METHODS)
    check_choice("colour", colour, COLOURS)
    if colour == "label" and labels is None:
        reason = "{@colour:label} needs {@labels}"
        raise OptionError.about("labels", reason, remedy="the output of videomae classify for the same files")
    if colour == "auto":
        return "folder" if labels is None else "label"
    return colour


def lay_out_map(
    table: str | os.PathLike[str], *, method: str, colour: str, labels: str | os.PathLike[str] | None
) -> VideoMap:
    """Make the map without pictures; see `map_embeddings`."""
    colour = check_map(method, colour, labels)
    place = place_of(table)
    embeddings = EmbeddingTable(place)
    every, windows = 1, "windows" in embeddings.settings
    if windows:
        every = -(-sum(len(block.rows) for block in embeddings.blocks()) // MOST_WINDOWS)
    blocks = partial(_every, embeddings, every)
    rows = [row for block in blocks() for row in block.rows]
    groups, unlabelled, ids = _groups(colour, None if labels is None else Path(labels), rows, place)
    layout = lay_out(blocks, len(rows), method)
    page = Map(
        title=as_utf8(Path(place).name or str(place)),
        description="",
        rows=rows,
        points=layout.points,
        groups=groups,
        group_name=colour,
        ids=ids,
        neighbours=_neighbours(blocks, len(rows)),
    )
    found = VideoMap(place, page, layout.description, embeddings.failed, unlabelled, every, windows)
    words = [
        found.number,
        *([f"one of {every} windows"] if every > 1 else []),
        layout.description,
        *([embeddings.model] if embeddings.model else []),
    ]
    return replace(found, page=replace(page, description=", ".join(words)))


def _every(embeddings: EmbeddingTable, n: int) -> Iterator[VectorBlock]:
    """Yield every n-th vector of a table, with its row."""
    skip = 0
    for block in embeddings.blocks():
        if rows := block.rows[skip::n]:
            yield VectorBlock(block.vectors[skip::n], rows)
        skip = (skip - len(block.rows)) % n


def _neighbours(blocks: Callable[[], Iterator[VectorBlock]], count: int) -> Neighbours | None:
    """Find what is most like each vector; None for a single vector, and for so many that it would take hours."""
    if not 1 < count <= MAX_NEIGHBOURED:
        return None
    return neighbours(np.concatenate([block.vectors for block in blocks()]).astype(np.float32), ALIKE)


def _groups(
    colour: str, labels: Path | None, rows: list[Row], table: Path | str
) -> tuple[list[str] | None, int, dict[str, object]]:
    """Return the name of each row's group, the number of rows without a label, and the numbers of the labels, if known."""
    if colour == "none":
        return None, 0, {}
    if colour == "folder" or labels is None:
        return folders(rows), 0, {}
    known, ids = _labels(labels, [row.path for row in rows])
    missing = known.count(None)
    if missing == len(known):
        raise EmbeddingsError.about(
            labels, "{subject} has no label for any file of {table}: both must name the same files", table=table
        )
    return [label or UNKNOWN for label in known], missing, ids


def _labels(file: Path, paths: list[str]) -> tuple[list[str | None], dict[str, object]]:
    """Map each path to the best label that `videomae classify` gave it; another path of the same file counts too.

    Also returns the id of each label (None from a narrow CSV, which has no ids).
    """
    if (content := content_in(file)) in (EMBEDDINGS, TIMELINE):
        reason = "{subject} is {content}, and points are coloured by what videomae classify says of the same files"
        raise EmbeddingsError.about(file, reason, content=content.words)
    best: dict[str, str] = {}
    ids: dict[str, object] = {}
    for record in read_records(file, narrow=True):
        path = path_of(record)
        match record.get("predictions"):
            case [{"label": label, **more}, *_]:
                ids.setdefault(as_utf8(str(label)), more.get("label_id"))
                best[path] = best[os.path.abspath(path)] = as_utf8(str(label))  # noqa: PTH100 - links stay links
    return [best.get(path) or best.get(os.path.abspath(path)) for path in paths], ids  # noqa: PTH100

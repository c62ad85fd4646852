"""`videomae map`: a file of embeddings as one HTML page of points."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.outputs.single_output import single_output
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.console import counted
from videomae_cli.errors import EmbeddingsError, OptionError
from videomae_cli.files import is_special
from videomae_cli.results import as_utf8, path_of

if TYPE_CHECKING:
    from videomae_cli.search.embedding_table import Row

METHODS = ("auto", "pca", "umap")
COLOURS = ("auto", "folder", "label", "none")
UNKNOWN = "no label"


@takes_groups
def map_(
    table: Annotated[
        Path, typer.Argument(help="What videomae embed wrote: .parquet, .npz, .jsonl or a folder.", metavar="TABLE")
    ],
    *,
    output: Annotated[Path, options.OUTPUT(help="The page to write.", metavar="FILE.html")],
    method: Annotated[
        str,
        options.METHOD(
            help="How points are laid out. auto: UMAP where umap-learn is installed, else PCA.", metavar="auto|pca|umap"
        ),
    ] = "auto",
    colour: Annotated[
        str,
        typer.Option(
            "--colour",
            "--color",
            help="What colours stand for. auto: labels where they are given, else folders.",
            metavar="auto|folder|label|none",
        ),
    ] = "auto",
    labels: Annotated[
        Path | None, options.LABELS(help="What videomae classify said of the same files: the best label colours.")
    ] = None,
    thumbnails: Annotated[
        int, typer.Option(min=0, help="Pictures on the page, at most; 0 for none.", metavar="N")
    ] = 1000,
    decoder_memory: options.DecoderMemory = None,
    overwrite: options.Overwrite = False,
    loudness: LoudnessOptions,
) -> None:
    """Draw what is alike close together: one page that opens offline in any browser.

    Points can be searched, filtered and zoomed, and show their file and its picture.
    """
    loudness.configure()
    memory = options.memory_bytes(decoder_memory)
    colour = _check(method, colour, labels)
    from videomae_cli.cli.outputs.thumbnails import make_thumbnails
    from videomae_cli.cli.terminal.display import consoles, waiting
    from videomae_cli.search.embedding_table import EmbeddingTable
    from videomae_cli.search.layout import lay_out
    from videomae_cli.search.page import Map, write_page

    with single_output("html", output, overwrite=overwrite, source=table) as sink:
        embeddings = EmbeddingTable(table)
        rows = [row for block in embeddings.blocks() for row in block.rows]
        groups = _groups(colour, labels, rows, table)
        with waiting("laying out the map", consoles()[1]):
            layout = lay_out(embeddings.blocks, len(rows), method)
        pictures = make_thumbnails(rows, thumbnails, memory=memory)
        number = counted(len(rows), "clip" if any(row.clip is not None for row in rows) else "video")
        words = [number, layout.description, *([embeddings.model] if embeddings.model else [])]
        page = Map(
            title=as_utf8(table.name or str(table)),
            description=", ".join(words),
            rows=rows,
            points=layout.points,
            groups=groups,
            group_name=colour,
            pictures=pictures,
        )
        write_page(page, sink)
    words = [layout.description]
    words += [] if is_special(output) else [f"{output.stat().st_size / 1e6:.1f} MB"]
    words += [f"pictures of {thumbnails:,} of them"] if 0 < thumbnails < len(rows) else []
    failed = f"; {counted(embeddings.failed, 'file')} without a vector left out" if embeddings.failed else ""
    console.note(f"{number} in {output}: {', '.join(words)}{failed}")


def _check(method: str, colour: str, labels: Path | None) -> str:
    """What colours stand for, once the options are known to fit together."""
    if method not in METHODS:
        raise OptionError(f"unknown method {method!r}: choose {', '.join(METHODS)}")
    if colour not in COLOURS:
        raise OptionError(f"unknown colour {colour!r}: choose {', '.join(COLOURS)}")
    if colour == "label" and labels is None:
        raise OptionError("--colour label needs --labels: the output of videomae classify for the same files")
    if colour == "auto":
        return "folder" if labels is None else "label"
    return colour


def _groups(colour: str, labels: Path | None, rows: list[Row], table: Path) -> list[str] | None:
    """A name for each row, by which it is coloured."""
    from videomae_cli.search.page import folders

    if colour == "none":
        return None
    if colour == "folder" or labels is None:
        return folders(rows)
    known = _labels(labels, [row.path for row in rows])
    missing = known.count(None)
    if missing == len(known):
        raise EmbeddingsError(f"{labels} has no label for any file of {table}: both must name the same files")
    if missing:
        console.note(f"{labels} has no label for {missing:,} of {counted(len(known), 'point')}")
    return [label or UNKNOWN for label in known]


def _labels(file: Path, paths: list[str]) -> list[str | None]:
    """For each path the best label that `videomae classify` gave it, under this name or another of the same place."""
    from videomae_cli.writers import read_records

    best: dict[str, str] = {}
    for record in read_records(file):
        path = path_of(record)
        match record.get("predictions"):
            case [{"label": label}, *_]:
                best[path] = best[os.path.abspath(path)] = as_utf8(str(label))  # noqa: PTH100 - links stay links
    return [best.get(path) or best.get(os.path.abspath(path)) for path in paths]  # noqa: PTH100

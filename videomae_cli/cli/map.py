"""`videomae map`: a file of embeddings as one HTML page of points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import console, options
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.results import path_of, printable
from videomae_cli.writers import is_special, read_records, whole_file

if TYPE_CHECKING:
    from videomae_cli.search.sources import Row

METHODS = ("auto", "pca", "umap")
COLOURS = ("auto", "folder", "label", "none")
UNKNOWN = "no label"


def map_(
    table: Annotated[Path, typer.Argument(help="A file of embeddings: .parquet, .npz or .jsonl.", metavar="TABLE")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.", metavar="FILE.html")],
    method: Annotated[
        str,
        typer.Option(
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
        Path | None,
        typer.Option(help="What videomae classify said of the same files: the best label colours.", metavar="FILE"),
    ] = None,
    thumbnails: Annotated[
        int, typer.Option(min=0, help="Pictures on the page, at most; 0 for none.", metavar="N")
    ] = 1000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it is there.")] = False,
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw what is alike close together: one page that opens offline in any browser.

    Points can be searched, filtered and zoomed, and show their file and its picture.
    """
    console.configure(debug=debug, quiet=quiet)
    colour = _check(method, colour, labels)
    if output.exists() and not is_special(output) and not overwrite:
        raise OutputError(f"{output} is there already: --overwrite replaces it")
    from videomae_cli.cli.thumbnails import make_thumbnails
    from videomae_cli.search.layout import lay_out
    from videomae_cli.search.page import Map, write_page

    with whole_file(output) as sink:
        embeddings, rows = _read(table)
        groups = _groups(colour, labels, rows)
        layout = lay_out(embeddings.blocks, len(rows), method)
        pictures = make_thumbnails(rows, thumbnails)
        what = "clips" if any(row.clip is not None for row in rows) else "videos"
        words = [f"{len(rows):,} {what}", layout.description]
        words += [embeddings.model] if embeddings.model else []
        page = Map(
            title=printable(table.name),
            description=", ".join(words),
            rows=rows,
            points=layout.points,
            groups=groups,
            group_name=colour,
            pictures=pictures,
        )
        write_page(page, sink)
    failed = f"; {embeddings.failed} files have no embedding" if embeddings.failed else ""
    size = "" if is_special(output) else f", {output.stat().st_size / 1e6:.1f} MB"
    console.note(f"{len(rows)} {what} in {output}: {layout.description}{size}{failed}")


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


def _read(table: Path) -> tuple[EmbeddingTable, list[Row]]:
    from videomae_cli.errors import EmbeddingsError
    from videomae_cli.search.vectors import EmbeddingTable

    embeddings = EmbeddingTable(table)
    rows = [row for block in embeddings.blocks() for row in block.rows]
    if not rows:
        raise EmbeddingsError(f"{table} holds no vectors: all {embeddings.failed} files failed")
    return embeddings, rows


def _groups(colour: str, labels: Path | None, rows: list[Row]) -> list[str] | None:
    """A name for each row, by which it is coloured."""
    from videomae_cli.search.page import folders

    if colour == "none":
        return None
    if colour == "folder" or labels is None:
        return folders(rows)
    best: dict[str, str] = {}
    for record in read_records(labels):
        if record.get("predictions"):
            best[path_of(record)] = printable(str(record["predictions"][0]["label"]))
    known = [best.get(row.path, UNKNOWN) for row in rows]
    missing = known.count(UNKNOWN)
    if missing:
        console.note(f"{labels} has no label for {missing} of {len(rows)} points")
    return known


if TYPE_CHECKING:
    from videomae_cli.search.vectors import EmbeddingTable

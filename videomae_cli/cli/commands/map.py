"""`videomae map`: a file of embeddings as one HTML page of points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.outputs.next_steps import with_page
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.console import counted
from videomae_cli.errors import VideoMAEError
from videomae_cli.files import is_special

if TYPE_CHECKING:
    from videomae_cli.api.embedding_map import VideoMap


@takes_groups
def map_(
    table: Annotated[
        str,
        typer.Argument(
            help="What videomae embed wrote: .parquet, .npz, .jsonl or a folder; a cluster's also as an address.",
            metavar="TABLE",
        ),
    ],
    *,
    output: Annotated[Path, options.OUTPUT(help="The page to write.", metavar="FILE.html")],
    method: Annotated[
        str,
        options.METHOD(
            help="How to lay out the points. auto: UMAP if umap-learn is installed, else PCA.", metavar="auto|pca|umap"
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
        options.LABELS(help="Output of videomae classify for the same files, to colour points by their best label."),
    ] = None,
    thumbnails: Annotated[
        int, typer.Option(min=0, help="Maximum number of thumbnails on the page; 0 for none.", metavar="N")
    ] = 1000,
    decoder_memory: options.DecoderMemory = None,
    overwrite: options.Overwrite = False,
    loudness: LoudnessOptions,
) -> None:
    """Draw similar videos close together, on one page that opens offline in any browser.

    Points can be searched, filtered and zoomed, and show their file and its picture.
    """
    loudness.configure()
    memory = options.memory_bytes(decoder_memory)
    from videomae_cli.api import embedding_map

    embedding_map.check_map(method, colour, labels)
    from videomae_cli.cli.outputs.single_output import single_output
    from videomae_cli.cli.terminal.display import consoles, waiting

    with single_output("html", output, overwrite=overwrite, source=table) as sink:
        with waiting("laying out the map", consoles()[1]):
            found = embedding_map.lay_out_map(table, method=method, colour=colour, labels=labels)
        if found.unlabelled:
            console.note(f"{labels} has no label for {found.unlabelled:,} of {counted(len(found.rows), 'point')}")
        _with_pictures(found, thumbnails, memory).write(sink)
    words = [found.number, *([f"one of {found.every} windows"] if found.every > 1 else []), found.method]
    words += [f"pictures of {thumbnails:,} of them"] if 0 < thumbnails < len(found.rows) else []
    words += [f"{counted(found.failed, 'file')} without a vector left out"] if found.failed else []
    console.wrote(output, *words)
    if not is_special(output):
        console.suggest(*with_page(output))


def _with_pictures(found: VideoMap, wanted: int, memory: int | None) -> VideoMap:
    """Make the thumbnails with a progress bar, and report files without one."""
    from videomae_cli.cli.terminal.display import consoles
    from videomae_cli.cli.terminal.progress import BatchProgress

    progress = BatchProgress(min(wanted, len(found.rows)))
    reasons: list[str] = []

    def tried(path: str, error: VideoMAEError | None) -> None:
        reasons.extend([error.naming(path)] if error is not None else [])
        progress.advance(path, views=1, failed=error is not None)

    if not min(wanted, len(found.rows)):
        return found
    with progress.shown("auto", consoles()[1]):
        found = found.with_pictures(wanted, memory=memory, on_progress=tried)
    if reasons:
        console.note(f"{len(reasons)} of {progress.total} files have no picture ({reasons[0]})")
    return found

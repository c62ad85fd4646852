"""`videomae merge`: the outputs of the shards of one job, joined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videomae_cli import filesystem
from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.outputs.next_steps import with_vectors
from videomae_cli.cli.terminal import console
from videomae_cli.errors import VideoMAEError

SHOWN_GAPS = 5


@takes_groups
def merge(
    outputs: Annotated[
        list[str],
        typer.Argument(
            help="The outputs of all shards, in any order; or a cluster's output folder, also as an address.",
            metavar="OUTPUT...",
        ),
    ],
    *,
    output: Annotated[str, options.OUTPUT(help="The file to write, or a folder for it (DIR/).", metavar="FILE")],
    format: Annotated[
        str | None, options.FORMAT(help="Default: as FILE's name ends.", metavar="table|json|jsonl|csv|parquet|npz")
    ] = None,
    wide: options.Wide = False,
    overwrite: options.Overwrite = False,
    allow_gaps: Annotated[
        bool, typer.Option("--allow-gaps", help="Write what there is even if files or shards are missing.")
    ] = False,
    loudness: LoudnessOptions,
) -> None:
    """Join the outputs of a job that was split with --shard, in the order of its list.

    Says what is missing. Exit code 0 if nothing is, 1 if something is or the outputs don't belong together.
    """
    loudness.configure()
    from videomae_cli.jobs.joining import IncompleteError, gaps_in_words
    from videomae_cli.jobs.joining import merge as join
    from videomae_cli.writers import holds_vectors

    try:
        joined = join(outputs, output, format=format, wide=wide, overwrite=overwrite, allow_gaps=allow_gaps)
    except IncompleteError as error:
        _say_gaps(gaps_in_words(error.found))
        raise
    _say_gaps(gaps_in_words(joined))
    if joined.gone:
        console.note(
            f"{console.counted(joined.gone, 'file')} no longer listed when its shard was done again: kept, at the end"
        )
    failed = f"{joined.failed} of them failed" if joined.failed else ""
    files, parts = console.counted(joined.files, "file"), console.counted(joined.outputs, "output")
    console.wrote(Path(output), f"{files} from {parts}", failed)
    if not joined.complete:
        raise typer.Exit(1)
    written = Path(output)
    if (filesystem.is_folder(written) or holds_vectors(written)) and _comparable(written):
        console.suggest(*with_vectors(written))


def _comparable(output: Path) -> bool:
    """Return whether `similar` and `map` take these vectors, as they do not those of tokens."""
    from videomae_cli.search.embedding_table import EmbeddingTable

    try:
        EmbeddingTable(output)
    except VideoMAEError:
        return False
    return True


def _say_gaps(lines: list[str]) -> None:
    for line in lines:
        console.error(line)

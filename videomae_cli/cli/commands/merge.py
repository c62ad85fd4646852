"""`videomae merge`: the outputs of the shards of one job, joined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.outputs.next_steps import with_vectors
from videomae_cli.cli.terminal import console

SHOWN_GAPS = 5


@takes_groups
def merge(
    outputs: Annotated[
        list[Path],
        typer.Argument(
            help="The outputs of all shards, in any order; or a cluster's output folder.", metavar="OUTPUT..."
        ),
    ],
    *,
    output: Annotated[Path, options.OUTPUT(help="The file to write.", metavar="FILE")],
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
    failed = f", {joined.failed} of them failed" if joined.failed else ""
    console.note(f"{joined.files} files from {joined.outputs} outputs in {output}{failed}")
    if not joined.complete:
        raise typer.Exit(1)
    if holds_vectors(output):
        console.suggest(*with_vectors(output, "VIDEO"))


def _say_gaps(lines: list[str]) -> None:
    for line in lines:
        console.error(line)

"""`videomae merge`: the outputs of the shards of one job, joined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from videomae_cli import filesystem
from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.terminal import console
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.filenames import partial_folder
from videomae_cli.files import whole_file

if TYPE_CHECKING:
    from videomae_cli.jobs import Joined
    from videomae_cli.writers import Writer

SHOWN_GAPS = 5


@takes_groups
def merge(
    outputs: Annotated[
        list[Path],
        typer.Argument(help="The outputs of all shards, in any order; of a cluster, its folder.", metavar="OUTPUT..."),
    ],
    *,
    output: Annotated[Path, options.OUTPUT(help="The file to write.", metavar="FILE")],
    format: Annotated[
        str | None, options.FORMAT(help="Default: as FILE's name ends.", metavar="table|json|jsonl|csv|parquet|npz")
    ] = None,
    overwrite: options.Overwrite = False,
    allow_gaps: Annotated[
        bool, typer.Option("--allow-gaps", help="Write what there is although files or shards are missing.")
    ] = False,
    loudness: LoudnessOptions,
) -> None:
    """Join the outputs of a job that was split with --shard, in the order of its list.

    Says what is missing. Exit code 0 if nothing is, 1 if something is or the outputs don't belong together.
    """
    loudness.configure()
    from videomae_cli import writers
    from videomae_cli.jobs import Joined, merge_records

    outputs = [file for given in outputs for file in _files(given)]
    vectors = any(writers.holds_vectors(file) for file in outputs)
    pick = writers.pick_vector_format if vectors else writers.pick_format
    chosen = pick(format, output)
    if filesystem.is_there(output) and not overwrite:
        raise OutputError(f"{output} is there already: --overwrite replaces it")
    _check(outputs)
    joined = Joined()
    read = writers.read_vector_records if vectors else writers.read_records
    records = merge_records([(file, read(file)) for file in outputs], joined)
    try:
        with whole_file(output) as sink:
            writer = _vector_writer(chosen, sink, outputs) if vectors else writers.make_writer(chosen, sink)
            for record in records:
                writer.write(record)
            writer.finish()
            if not joined.complete and not allow_gaps:
                raise _IncompleteError
    except _IncompleteError:
        _say_gaps(joined)
        console.error(f"{output} was not written: run the missing shards, or give --allow-gaps")
        raise typer.Exit(1) from None
    _say_gaps(joined)
    failed = f", {joined.failed} of them failed" if joined.failed else ""
    console.note(f"{joined.files} files from {len(outputs)} outputs in {output}{failed}")
    if not joined.complete:
        raise typer.Exit(1)


class _IncompleteError(Exception):
    """Something is missing, so nothing is written."""


def _vector_writer(format: str, sink: BinaryIO, outputs: list[Path]) -> Writer:
    from videomae_cli.writers import make_vector_writer, read_layout, read_vector_records

    layouts = []
    for file in outputs:
        try:
            layouts.append(read_layout(file))
        except OutputError:
            continue  # a shard without vectors can't say what they look like; its records are read all the same
    if not layouts:
        raise OutputError("no output holds a vector: there is nothing to join")
    rows = 0
    if format == "npz":
        rows = sum(len(record["rows"]) for file in outputs for record in read_vector_records(file, vectors=False))
    return make_vector_writer(format, sink, replace(layouts[0], shard=None), rows=rows)


def _files(output: Path) -> list[Path]:
    """A file, or those in the folder of a job on a cluster."""
    if not filesystem.is_folder(output):
        return [output]
    from videomae_cli.writers import shards_in

    if filesystem.is_there(output / "_partial"):
        raise OutputError(f"{output} is not complete: run its job again with --resume")
    shards = shards_in(output)
    if not shards:
        raise OutputError(f"{output} is a folder without shards of a cluster: give files")
    return shards


def _check(outputs: list[Path]) -> None:
    for place, file in enumerate(outputs):
        if file in outputs[:place]:
            raise OptionError(f"{file} is given twice")
        kept = partial_folder(file)
        if filesystem.is_there(kept):
            raise OutputError(f"{file} is not complete: run its shard again with --resume ({kept} keeps what is done)")


def _say_gaps(joined: Joined) -> None:
    for shard in joined.missing_shards:
        console.error(f"shard {shard} is missing")
    if joined.missing:
        more = len(joined.gaps) - SHOWN_GAPS
        shown = "; ".join(joined.gaps[:SHOWN_GAPS]) + (f"; and {more} more gaps" if more > 0 else "")
        console.error(f"{joined.missing} files are missing from the shards given: number {shown}")

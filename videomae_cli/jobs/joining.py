"""Joins the outputs of a job that was split over machines into one file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem, writers
from videomae_cli.arguments import checked
from videomae_cli.errors import OptionError, OutputError, Wording
from videomae_cli.filenames import partial_folder
from videomae_cli.files import check_new, whole_file
from videomae_cli.jobs.shards import Joined, merge_records

_SHOWN_GAPS = 5


class IncompleteError(OutputError):
    """Shards or files are missing from the outputs to be joined; `found` says which. Nothing was written."""

    found: Joined


@checked
def merge(
    outputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    format: str | None = None,
    wide: bool = False,
    overwrite: bool = False,
    allow_gaps: bool = False,
) -> Joined:
    """Join the outputs of a job that was split into shards, in the order of its list; what `videomae merge` does.

    outputs: of all shards, in any order, or the folder of a cluster job; output: the file to write, atomically; format:
    "table", "json", "jsonl", "csv", "parquet" or "npz", by default from the output's suffix; wide: all columns in CSV; overwrite: replace it;
    allow_gaps: write the file even if something is missing. The result has the numbers of `files` and `failed` ones,
    `missing_shards` and `gaps`. Raises IncompleteError (an OutputError), OutputError if outputs belong to different
    jobs, OptionError.
    """
    given = [outputs] if isinstance(outputs, str | os.PathLike) else list(outputs)
    if other := next((one for one in given if not isinstance(one, str | os.PathLike)), None):
        raise OptionError.about(
            "outputs", "{subject} must be names or paths, and one of them is {kind}", kind=type(other).__name__
        )
    files = [file for one in given for file in files_of(Path(one))]
    if not files:
        raise OptionError.about("outputs", "no {subject} were given: there is nothing to join")
    target = Path(output)
    vectors = any(writers.holds_vectors(file) for file in files)
    pick = writers.pick_vector_format if vectors else writers.pick_format
    chosen = writers.widened(pick(format, target), wide)
    check_new(target, overwrite=overwrite)
    _check(files)
    joined = Joined(outputs=len(files))
    read = writers.read_vector_records if vectors else writers.read_records
    with whole_file(target) as sink:
        writer = _vector_writer(chosen, sink, files) if vectors else writers.make_writer(chosen, sink)
        for record in merge_records([(file, read(file)) for file in files], joined):
            writer.write(record)
        writer.finish()
        if not joined.complete and not allow_gaps:
            raise _incomplete(target, joined)
    return joined


def files_of(output: Path) -> list[Path]:
    """Return the file itself, or the shards in the folder of a cluster job. Raises OutputError."""
    if not filesystem.is_folder(output):
        return [output]
    if filesystem.is_there(output / "_partial"):
        raise OutputError.about(
            output, "{subject} is not complete", remedy=Wording("run its job again with {@resume:True}")
        )
    shards = writers.shards_in(output)
    if not shards:
        raise OutputError.about(output, "{subject} is a folder without shards of a cluster: give files")
    return shards


def gaps_in_words(joined: Joined) -> list[str]:
    """Describe what is missing: a line per shard, and one for the files."""
    lines = [f"shard {shard} is missing" for shard in joined.missing_shards]
    if joined.missing:
        more = len(joined.gaps) - _SHOWN_GAPS
        shown = "; ".join(joined.gaps[:_SHOWN_GAPS]) + (f"; and {more} more gaps" if more > 0 else "")
        lines.append(f"{joined.missing} files are missing from the shards given: number {shown}")
    return lines


def _incomplete(output: Path, joined: Joined) -> IncompleteError:
    error = IncompleteError.about(
        output,
        "{subject} was not written",
        remedy=Wording("run the missing shards, or give {@allow_gaps:True}"),
    )
    error.found = joined
    return error


def _vector_writer(format: str, sink: BinaryIO, files: Sequence[Path]) -> writers.Writer:
    layouts = []
    for file in files:
        try:
            layouts.append(writers.read_layout(file))
        except OutputError:
            continue  # a shard without vectors has no layout, but its records are still joined
    if not layouts:
        raise OutputError.about(format, "no output holds a vector: there is nothing to join")
    rows = 0
    if format == "npz":
        rows = sum(len(record["rows"]) for file in files for record in writers.read_vector_records(file, vectors=False))
    return writers.make_vector_writer(format, sink, replace(layouts[0], shard=None), rows=rows)


def _check(files: Sequence[Path]) -> None:
    for place, file in enumerate(files):
        if file in files[:place]:
            raise OptionError.about(file, "{subject} is given twice")
        kept = partial_folder(file)
        if filesystem.is_there(kept):
            raise OutputError.about(
                file,
                "{subject} is not complete",
                remedy=Wording("run its shard again with {@resume:True} ({kept} keeps what is done)", kept=kept),
            )

"""Joins the outputs of a job that was split over machines into one file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from videomae_cli import filesystem, writers
from videomae_cli.arguments import checked
from videomae_cli.content import TIMELINE, content_in, holds_videos
from videomae_cli.errors import OptionError, OutputError, Wording, say
from videomae_cli.filenames import partial_folder
from videomae_cli.files import check_new, make_folder, whole_file
from videomae_cli.jobs.documents import pick_table_format
from videomae_cli.jobs.shards import Joined, merge_records
from videomae_cli.writers import nearby, place_of

_JOINS = Wording("the outputs of one job on several machines are joined, and {@sharded} makes such")
# Files with these names get the message of their reader.
_UNRECOGNISED = frozenset({".parquet", ".pq", ".npz", ".csv", ".json", ".jsonl", ".ndjson"})
_SHOWN_GAPS = 5
# Rows in memory at once, of all outputs together and of each.
_MOST_ROWS, _FEWEST_ROWS = 1024, 16


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

    outputs: of all shards, in any order, or the folder of a cluster job, or addresses of them; output: the file to write,
    atomically, or a folder for it, ending in /; format: "table", "json", "jsonl", "csv", "parquet" or "npz", by default
    from the output's suffix, or the inputs'; wide: all columns in CSV;
    overwrite: replace it; allow_gaps: write the file even if something is missing. The result has the numbers of
    `files` and `failed` ones, `missing_shards` and `gaps`. Raises IncompleteError (an OutputError), OutputError if
    outputs belong to different jobs, OptionError.
    """
    given = [outputs] if isinstance(outputs, str | os.PathLike) else list(outputs)
    if other := next((one for one in given if not isinstance(one, str | os.PathLike)), None):
        raise OptionError.about(
            "outputs", "{subject} must be names or paths, and one of them is {kind}", kind=type(other).__name__
        )
    if isinstance(place_of(output), str):
        raise OptionError.about(output, "merge writes to a disk, not to {subject}: copy the file there afterwards")
    with ExitStack() as copies:
        places = [copies.enter_context(nearby(place_of(one), writers.PART, writers.PARTIAL)) for one in given]
        files = [file for place in places for file in files_of(place)]
        if not files:
            raise OptionError.about("outputs", "no {subject} were given: there is nothing to join")
        return _merge(files, os.fspath(output), format, wide=wide, overwrite=overwrite, allow_gaps=allow_gaps)


def _merge(
    files: Sequence[Path], output: str, format: str | None, *, wide: bool, overwrite: bool, allow_gaps: bool
) -> Joined:
    vectors = any(writers.holds_vectors(file) for file in files)
    pick = writers.pick_vector_format if vectors else writers.pick_format
    if any(content_in(file) is TIMELINE for file in files):
        pick = pick_table_format
    _check_kinds(files)
    target = _target(output)
    if not target.suffix and format is None:
        format = pick(None, files[0])
    chosen = writers.widened(pick(format, target), wide)
    check_new(target, overwrite=overwrite)
    _check(files)
    joined = Joined(outputs=len(files))
    read = writers.read_vector_records if vectors else writers.read_records
    with whole_file(target) as sink:
        writer = _vector_writer(chosen, sink, files) if vectors else writers.make_writer(chosen, sink)
        size = max(_FEWEST_ROWS, _MOST_ROWS // len(files))
        for record in merge_records([(file, partial(read, file, size=size)) for file in files], joined):
            writer.write(record)
        writer.finish()
        joined.missing_shards += writers.missing_shards(files)
        if not joined.complete and not allow_gaps:
            again = "run the missing shards, or their job again with {@resume:True}, or give {@allow_gaps:True}"
            error = IncompleteError.about(target, "{subject} was not written", remedy=Wording(again))
            error.found = joined
            raise error
    return joined


def _target(output: str) -> Path:
    """Return the file to write: in a folder, the only shard of one. Raises OutputError for a folder with other shards."""
    folder = Path(output)
    if not (output.endswith(("/", os.sep)) or filesystem.is_folder(folder)):
        return folder
    target = folder / "part-00000-of-00001.parquet"
    make_folder(folder)
    if other := next((shard for shard in writers.shards_in(folder) if shard != target), None):
        raise OutputError.about(folder, "{subject} holds {other}: give a new folder, or a file", other=other.name)
    return target


def files_of(output: Path) -> list[Path]:
    """Return the file itself, or the shards in the folder of a cluster job. Raises OutputError."""
    if not filesystem.is_folder(output):
        return [output]
    if filesystem.is_there(output / writers.PARTIAL):
        raise OutputError.about(
            output, "{subject} is not complete", remedy=Wording("run its job again with {@resume:True}")
        )
    shards = writers.shards_in(output)
    if not shards and holds_videos(output):
        raise OutputError.about(output, "{subject} is a folder of videos", remedy=_JOINS)
    if not shards:
        raise OutputError.about(output, "{subject} is a folder without shards of a cluster: give files")
    return shards


def gaps_in_words(joined: Joined) -> list[str]:
    """Describe what is missing: a line per shard, and one for the files."""
    lines, again = [f"shard {shard} is missing" for shard in joined.missing_shards], say("{@resume:True}")
    for files, shards in joined.stale:
        which = f"shard {shards[0]} is" if len(shards) == 1 else f"shards {', '.join(shards)} are"
        other = f"{joined.listed} files" if files != joined.listed else "the same number of files under other names"
        lines.append(
            f"{which} of another list ({files} files) than the others ({other}): files may be missing that were added "
            f"since then; do them again with {again}"
        )
    if joined.missing:
        more = len(joined.gaps) - _SHOWN_GAPS
        shown = "; ".join(joined.gaps[:_SHOWN_GAPS]) + (f"; and {more} more gaps" if more > 0 else "")
        lines.append(f"{joined.missing} files are missing from the shards given: number {shown}")
    return lines


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
    return writers.make_vector_writer(format, sink, replace(layouts[0], shard=None, listed=None), rows=rows)


def _check_kinds(files: Sequence[Path]) -> None:
    """Raise OutputError for a file that no command writes which `merge` joins, such as a video."""
    for file in files:
        content = content_in(file)
        if content is not None and content.family != "output" and file.suffix.lower() not in _UNRECOGNISED:
            raise OutputError.about(file, "{subject} is {content}", content=content.words, remedy=_JOINS)


def _check(files: Sequence[Path]) -> None:
    for number, file in enumerate(files):
        if file in files[:number]:
            raise OptionError.about(file, "{subject} is given twice")
        if (place := filesystem.look(file)).kind == "unknown":
            raise OutputError.about(file, "can't read {subject}: {reason}", reason=place.reason)
        kept = partial_folder(file)
        if filesystem.is_there(kept):
            raise OutputError.about(
                file,
                "{subject} is not complete",
                remedy=Wording("run its shard again with {@resume:True} ({kept} keeps what is done)", kept=kept),
            )

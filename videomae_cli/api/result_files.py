"""Writes results obtained in Python to the same kinds of files that the commands write."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from videomae_cli import writers
from videomae_cli.arguments import checked
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.files import output_file
from videomae_cli.results import Embedding, Result, Stamp, Timeline


@checked
def write_results(
    results: Iterable[Result],
    output: str | os.PathLike[str],
    *,
    format: str | None = None,
    wide: bool = False,
    overwrite: bool = False,
) -> int:
    """Write results to one file as they arrive, such as those of `classify_all`, `timeline_all` or `embed_all`.

    results: all of the same kind; output: a file that appears whole, once the last result is in, or not at all; format:
    "table", "json", "jsonl", "csv" or "parquet" for labels, all but the last for timelines, "parquet" or "jsonl" for
    vectors; None: by the output's suffix; wide: write every column of a CSV, not only the few for people; overwrite:
    replace an existing file. A video that failed becomes a record with `"status": "error"`. Returns the number of results. This can't be resumed after a kill: for that, use the
    commands and their --resume. Raises OutputError, OptionError, and whatever iterating over `results` raises.
    """
    coming = iter(results)
    ahead = list(islice(coming, 1))
    first = ahead[0] if ahead else None
    target = Path(output)
    chosen = writers.widened(_pick(first, format, target), wide)
    count = 0
    with output_file(target, overwrite=overwrite) as sink:
        if isinstance(first, Embedding):
            ahead += _until_vectors(first, coming)
        writer = _writer(chosen, sink, ahead)
        for count, result in enumerate(chain(ahead, coming), 1):
            _check_kind(result, first)
            writer.write(result.as_dict(Stamp(index=count - 1)), result.seconds)
        writer.finish()
    return count


def _check_kind(result: object, first: object) -> None:
    """Raise OptionError for what is no result, or one of another kind than the first."""
    if not isinstance(result, Result) or type(result) is not type(first):
        raise OptionError.about(
            "results",
            "{subject} must be of one kind, such as those of classify_all: here are {first} and {kind}",
            first=type(first).__name__,
            kind=type(result).__name__,
        )


def _pick(first: Result | None, format: str | None, output: Path) -> str:
    """Return the name of the writer. Raises OptionError."""
    known: tuple[str, ...]
    if isinstance(first, Embedding):
        chosen, known = writers.pick_vector_format(format, output), ("parquet", "jsonl")
    else:
        chosen, known = writers.pick_format(format, output), writers.FORMATS
    if isinstance(first, Timeline):
        known = tuple(name for name in known if name != "parquet")
    if chosen not in known:
        raise OptionError.about(
            "format",
            "{subject} {chosen!r} is not for these results: choose {known}",
            chosen=chosen,
            known=", ".join(known),
        )
    return f"timeline-{chosen}" if isinstance(first, Timeline) and chosen in ("table", "csv") else chosen


def _until_vectors(first: Embedding, coming: Iterable[Result]) -> list[Result]:
    """Take results until one has vectors, which tell how many dimensions all the others have."""
    taken: list[Result] = []
    if first.vectors is None:
        for result in coming:
            taken.append(result)
            if isinstance(result, Embedding) and result.vectors is not None:
                break
    return taken


def _writer(format: str, sink: BinaryIO, ahead: list[Result]) -> writers.Writer:
    if not ahead or not isinstance(ahead[0], Embedding):
        return writers.make_writer(format, sink)
    last = ahead[-1]
    if not isinstance(last, Embedding) or last.vectors is None:
        raise OutputError.about("results", "no result holds a vector: there is nothing to write")
    layout = writers.VectorLayout(last.vectors.shape[1], str(last.vectors.dtype))
    return writers.make_vector_writer(format, sink, layout)

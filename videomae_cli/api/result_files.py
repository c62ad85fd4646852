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
from videomae_cli.files import check_not_read, output_file
from videomae_cli.jobs.documents import (
    DOCUMENTS,
    TABLES,
    check_single,
    has_content,
    pick_timeline_format,
    timeline_document,
)
from videomae_cli.results import Embedding, Record, Result, Stamp, Timeline
from videomae_cli.writers.formats import FORMATS, SUFFIXES, pick_among


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
    "table", "json", "jsonl", "csv" or "parquet" for labels and timelines, or for one of these "srt",
    "vtt", "elan" or "png"; "parquet", "npz" or "jsonl" for vectors; None: by the output's suffix; wide: write every
    column of a CSV, not only the few for people; overwrite: replace an existing file. A video that failed becomes a
    record with `"status": "error"`; the one of a document raises its error. Returns the number of results. This can't be
    resumed after a kill: for that, see `VideoClassifier.classify_files`. Raises OutputError, OptionError, and whatever
    iterating over `results` raises.
    """
    coming = iter(results)
    ahead = list(islice(coming, 1))
    first = ahead[0] if ahead else None
    target = Path(output)
    if os.fspath(output).endswith(("/", os.sep)):
        raise OutputError.about(output, "{subject} is a folder: give a file name to write to")
    chosen = writers.widened(_pick(first, format, target), wide)
    count = 0
    with output_file(target, overwrite=overwrite) as sink:
        if isinstance(first, Embedding):
            # An array's size is at its beginning.
            ahead += coming if chosen == "npz" else _until_vectors(first, coming)
        writer = _OneTimeline(chosen, sink, target) if chosen in DOCUMENTS else _writer(chosen, sink, ahead)
        for count, result in enumerate(chain(ahead, coming), 1):
            _check_kind(result, first)
            check_not_read([target], [result.path])
            record = result.as_dict(Stamp(index=count - 1))
            if chosen in DOCUMENTS:
                check_single(chosen, count, resume=False)
                if not has_content(record):
                    result.raise_for_error()
            writer.write(record, result.seconds)
        writer.finish()
    return count


def _check_kind(result: object, first: object) -> None:
    """Raise OptionError unless `result` is a result, of the same kind as the first."""
    if not isinstance(result, Result) or type(result) is not type(first):
        reason = "{subject} must be of one kind, such as those of classify_all: here are {first} and {kind}"
        raise OptionError.about("results", reason, first=type(first).__name__, kind=type(result).__name__)


def _pick(first: Result | None, format: str | None, output: Path) -> str:
    """Return the name of the writer. Raises OptionError."""
    if isinstance(first, Embedding):
        return writers.pick_vector_format(format, output)
    if isinstance(first, Timeline):
        chosen = pick_timeline_format(format, os.fspath(output))
        return TABLES.get(chosen, chosen)
    if first is None:
        return _pick_for_none(format, output)
    return writers.pick_format(format, output)


def _pick_for_none(format: str | None, output: Path) -> str:
    """Return the format of a file that holds no result. Raises OptionError for a format that can't hold none."""
    suffixes = SUFFIXES | {ending: name for name, ending in DOCUMENTS.items()} | {".npz": "npz"}
    chosen = pick_among(format, output, (*FORMATS, *DOCUMENTS, "npz"), suffixes)
    if chosen not in FORMATS:
        reason = "there are no results: {format} can't hold none, as {others} can"
        raise OptionError.about("results", reason, format=chosen, others=", ".join(FORMATS))
    return chosen


class _OneTimeline(writers.Writer):
    """Writes the document of one timeline, such as subtitles."""

    def __init__(self, format: str, sink: BinaryIO, output: Path) -> None:
        super().__init__(sink)
        self._format, self._folder = format, output.parent

    def write(self, record: Record, seconds: float | None = None) -> None:
        self.sink.write(timeline_document(self._format, record, self._folder))


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
    last = next(
        (result for result in reversed(ahead) if isinstance(result, Embedding) and result.vectors is not None), None
    )
    if last is None or last.vectors is None:
        raise OutputError.about("results", "no result holds a vector: there is nothing to write")
    layout = writers.VectorLayout(last.vectors.shape[1], str(last.vectors.dtype))
    vectors = [result.vectors for result in ahead if isinstance(result, Embedding)]
    return writers.make_vector_writer(format, sink, layout, rows=sum(len(each) for each in vectors if each is not None))

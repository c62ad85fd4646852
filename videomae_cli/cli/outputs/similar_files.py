"""Outputs the results of `videomae similar` as a table, JSON or JSON Lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from videomae_cli.cli.terminal.console import counted, is_terminal, note
from videomae_cli.cli.terminal.streams import text_encoding
from videomae_cli.results import as_utf8, path_fields
from videomae_cli.visible import FALLBACK, exact_json, visible

if TYPE_CHECKING:
    from videomae_cli.search.duplicates import Duplicate, Groups
    from videomae_cli.search.embedding_table import EmbeddingTable, Row
    from videomae_cli.search.nearest import Match

FORMATS = ("table", "json", "jsonl")


def show_matches(
    matches: Sequence[Match], query: str, table: EmbeddingTable, sink: BinaryIO, *, format: str, drawn: bool
) -> None:
    """Write the nearest files. drawn: draw bars, because standard output is a terminal."""
    results = [
        {"rank": rank, **path_fields(match.row.path), "score": match.score, **_place(match.row)}
        for rank, match in enumerate(matches, 1)
    ]
    if format == "jsonl":
        for result in results:
            _json(sink, {"query": as_utf8(query), **result})
    elif format == "json":
        whole = {"query": as_utf8(query), "model": table.model, "fingerprint": table.fingerprint}
        _json(sink, whole | {"results": results}, indent=2)
    else:
        lines = [(str(rank), match.score, _named(match.row)) for rank, match in enumerate(matches, 1)]
        _table(sink, query, lines, drawn=drawn)


def show_groups(
    found: Groups, table: EmbeddingTable, threshold: float, sink: BinaryIO, *, format: str, drawn: bool
) -> None:
    """Write groups of near-duplicates, and a line on what was compared."""
    groups = [
        {"group": number, "files": [_member(duplicate) for duplicate in group]}
        for number, group in enumerate(found.groups, 1)
    ]
    if format == "jsonl":
        for group in groups:
            _json(sink, group)
    elif format == "json":
        whole = {"threshold": threshold, "exact": found.exact, "model": table.model, "fingerprint": table.fingerprint}
        _json(sink, whole | {"groups": groups}, indent=2)
    else:
        for number, members in enumerate(found.groups, 1):
            lines = [("", duplicate.score, _named(duplicate.row)) for duplicate in members]
            _table(sink, f"group {number}: {len(members)} files", lines, drawn=drawn)
    several = sum(len(group) for group in found.groups)
    of = counted(found.files, "file")
    note(f"{counted(len(found.groups), 'group')} with {several:,} of {of}, cosine {threshold:g} or more")


def _member(duplicate: Duplicate) -> dict[str, Any]:
    """Make the record of a group's file. nearest: the file most similar to it, with their cosine."""
    return {
        **path_fields(duplicate.row.path),
        "score": duplicate.score,
        "nearest": as_utf8(duplicate.nearest.path),
        **_place(duplicate.row),
    }


def _place(row: Row) -> dict[str, Any]:
    """Return the fields that say which clip of a file a vector represents, and the file's index in its job."""
    return {"clip": row.clip, "start": row.start, "end": row.end, "index": row.index}


def _named(row: Row) -> str:
    """Format the path, with the seconds if the vector represents a clip."""
    if row.clip is None or row.start is None or row.end is None:
        return row.path
    return f"{row.path}  {row.start:.1f}-{row.end:.1f} s"


def _json(sink: BinaryIO, value: object, indent: int | None = None) -> None:
    sink.write((exact_json(value, indent=indent) + "\n").encode())


def _table(sink: BinaryIO, title: str, lines: Sequence[tuple[str, float, str]], *, drawn: bool) -> None:
    """Print a title, and lines of rank, cosine and name, with a bar on a terminal."""
    if drawn and is_terminal(sys.stdout):
        from videomae_cli.cli.terminal.display import consoles, plain, ranked

        console = consoles()[0]
        console.print(plain(title, "bold"), soft_wrap=True)
        console.print(ranked(lines, console))
        console.print()
        return
    text = [visible(title)]
    text += [f"{rank:>4}  {score:.4f}  {visible(name)}" for rank, score, name in lines]
    sink.write(("\n".join(text) + "\n").encode(text_encoding(sink), FALLBACK))

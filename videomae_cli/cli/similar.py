"""`videomae similar`: the videos most like one, or groups of videos that are nearly the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli import filesystem
from videomae_cli.cli import console, options
from videomae_cli.cli.findings import FORMATS, show_groups, show_matches
from videomae_cli.cli.targets import single_output
from videomae_cli.errors import EmbeddingsError, OptionError
from videomae_cli.writers import pick_format

if TYPE_CHECKING:
    from videomae_cli.search.duplicates import Groups
    from videomae_cli.search.embedding_table import EmbeddingTable, Vectors
    from videomae_cli.search.nearest import Match


def similar(
    arguments: Annotated[
        list[str],
        typer.Argument(
            help="A video, or the name of one in TABLE; then TABLE, what videomae embed wrote: .parquet, .npz, .jsonl "
            "or a folder. With --duplicates TABLE only.",
            metavar="[QUERY] TABLE",
        ),
    ],
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Videos to list, nearest first.")] = 10,
    duplicates: Annotated[
        float | None,
        typer.Option(
            help="List groups of files instead that are this near or nearer: a cosine of at most 1, such as 0.98.",
            metavar="COSINE",
        ),
    ] = None,
    include_self: Annotated[
        bool, typer.Option("--include-self", help="List QUERY too where it is in TABLE itself.")
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="Default: as FILE's name ends, else table.", metavar="table|json|jsonl")
    ] = None,
    output: options.Output = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it is there.")] = False,
    device: options.Device = "auto",
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Find the videos most like one, by the cosine of their embeddings; or the near-duplicates in a whole archive.

    A QUERY that is not in TABLE is embedded first, with the model and the settings that TABLE was made with.
    """
    console.configure(debug=debug, quiet=quiet)
    query, file = _arguments(arguments, duplicates)
    chosen = _format(format, output)
    from videomae_cli.search.embedding_table import EmbeddingTable

    with single_output(chosen, output, overwrite=overwrite, source=file) as sink:
        table = EmbeddingTable(file)
        if query is None:
            assert duplicates is not None
            found = _duplicates(table, duplicates)
            show_groups(found, table, duplicates, sink, format=chosen, drawn=output is None)
        else:
            matches, name = _nearest(table, query, top_k, include_self=include_self, device=device)
            show_matches(matches, name, table, sink, format=chosen, drawn=output is None)


def _format(asked: str | None, output: Path | None) -> str:
    chosen = asked if asked is not None else pick_format(None, output)
    if chosen not in FORMATS:
        raise OptionError(f"similar writes {', '.join(FORMATS)}, not {chosen!r}")
    return chosen


def _arguments(arguments: list[str], duplicates: float | None) -> tuple[str | None, Path]:
    """QUERY, or None with --duplicates, and TABLE."""
    if duplicates is not None:
        if not 0 < duplicates <= 1:
            raise OptionError(f"--duplicates takes a cosine above 0 and at most 1, not {duplicates:g}")
        if len(arguments) != 1:
            raise OptionError(f"--duplicates takes one argument, the file of embeddings, not {len(arguments)}")
        return None, Path(arguments[0])
    if len(arguments) == 1:
        raise OptionError(
            f"similar takes two arguments, QUERY and TABLE; only {arguments[0]} was given "
            "(for the near-duplicates in a table add --duplicates 0.98)"
        )
    if len(arguments) > 2:
        raise OptionError(f"similar takes two arguments, QUERY and TABLE, not {len(arguments)}")
    return arguments[0], Path(arguments[1])


def _duplicates(table: EmbeddingTable, threshold: float) -> Groups:
    from videomae_cli.search.duplicates import find_duplicates

    found = find_duplicates(table, threshold)
    if not found.exact:
        console.note(f"{found.vectors} vectors were compared by an index, which may miss a pair")
    return found


def _nearest(
    table: EmbeddingTable, query: str, top_k: int, *, include_self: bool, device: str
) -> tuple[list[Match], str]:
    """The matches, and the query's name as the table has it."""
    import numpy as np

    from videomae_cli.search.nearest import find_path, nearest

    found = find_path(table.blocks(), query)
    if found.path is not None:
        queries, name = np.stack(found.vectors), found.path
    elif filesystem.is_folder(query):
        raise EmbeddingsError(f"{query} is a folder: give one video, or the name of one in {table.file}")
    elif filesystem.is_there(query):
        queries, name = _embedded(table, query, device), query
    else:
        hint = f": did you mean {found.alike[0]}?" if found.alike else ""
        raise EmbeddingsError(f"{query} is neither a file nor a name in {table.file}{hint}")
    if not queries.any():
        raise EmbeddingsError(f"the vector of {name} is zero: nothing is near it or far from it")
    leave_out = () if include_self or found.path is None else (name,)
    return nearest(table.blocks(), queries, top_k=top_k, leave_out=leave_out), name


def _embedded(table: EmbeddingTable, query: str, device: str) -> Vectors:
    """The vectors of a video that is not in the table, made as the table's were: (Q, D)."""
    from videomae_cli.cli.embedding import embed_like
    from videomae_cli.search.embedding_table import unit

    if not table.settings:
        raise EmbeddingsError(
            f"{query} is not in {table.file}, which does not say how its vectors were made: "
            "add the video to it, or make it with videomae embed as .parquet or .npz"
        )
    vectors = embed_like(table.settings, query, device=device)
    if vectors.shape[1] != table.dimensions:
        raise EmbeddingsError(
            f"{table.file} holds vectors of {table.dimensions} values, its model makes {vectors.shape[1]}"
        )
    return unit(vectors)

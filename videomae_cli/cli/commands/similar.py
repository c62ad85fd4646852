"""`videomae similar`: the videos most like one, or groups of videos that are nearly the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.terminal import console
from videomae_cli.errors import OptionError

if TYPE_CHECKING:
    from videomae_cli.search.duplicates import Groups
    from videomae_cli.search.embedding_table import EmbeddingTable


@takes_groups
def similar(
    arguments: Annotated[
        list[str],
        typer.Argument(
            help="A video, or the name of one in TABLE; then TABLE, what videomae embed wrote: .parquet, .npz, .jsonl "
            "or a folder. With --duplicates TABLE only.",
            metavar="[QUERY] TABLE",
        ),
    ],
    *,
    top_k: Annotated[int, options.TOP_K(help="How many videos to list, nearest first.")] = 10,
    duplicates: Annotated[
        float | None,
        typer.Option(
            help="List groups of near-duplicate files instead: those with at least this cosine, such as 0.98.",
            metavar="COSINE",
        ),
    ] = None,
    include_self: Annotated[
        bool, typer.Option("--include-self", help="List QUERY too if it is in TABLE itself.")
    ] = False,
    format: Annotated[
        str | None, options.FORMAT(help="Default: as FILE's name ends, else table.", metavar="table|json|jsonl")
    ] = None,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    loudness: LoudnessOptions,
) -> None:
    """Find the videos most like one by the cosine of their embeddings, or all near-duplicates in an archive.

    A QUERY that is not in TABLE is embedded first, with the model and the settings that TABLE was made with.
    """
    loudness.configure()
    query, file = _arguments(arguments, duplicates)
    chosen = _format(format, output)
    from videomae_cli.api.similar import nearest_files
    from videomae_cli.cli.outputs.similar_files import show_groups, show_matches
    from videomae_cli.cli.outputs.single_output import single_output
    from videomae_cli.cli.run.loading import load_embedder
    from videomae_cli.search.embedding_table import EmbeddingTable

    with single_output(chosen, output, overwrite=overwrite, source=file) as sink:
        table = EmbeddingTable(file)
        if query is None:
            assert duplicates is not None
            found = _duplicates(table, duplicates)
            show_groups(found, table, duplicates, sink, format=chosen, drawn=output is None)
        else:
            matches, name = nearest_files(
                table, query, top_k, include_self=include_self, device=device, load=load_embedder
            )
            show_matches(matches, name, table, sink, format=chosen, drawn=output is None)


def _format(asked: str | None, output: Path | None) -> str:
    from videomae_cli.cli.outputs.similar_files import FORMATS
    from videomae_cli.writers import pick_format

    chosen = asked if asked is not None else pick_format(None, output)
    if chosen not in FORMATS:
        raise OptionError.about(
            "format", "similar writes {formats}, not {chosen!r}", formats=", ".join(FORMATS), chosen=chosen
        )
    return chosen


def _arguments(arguments: list[str], duplicates: float | None) -> tuple[str | None, Path]:
    """Return QUERY (None with --duplicates) and TABLE from the arguments."""
    if duplicates is not None:
        if not 0 < duplicates <= 1:
            raise OptionError.about(
                "duplicates",
                "--duplicates takes a cosine above 0 and at most 1, not {duplicates:g}",
                duplicates=duplicates,
            )
        if len(arguments) != 1:
            raise OptionError.about(
                "duplicates",
                "--duplicates takes one argument, the file of embeddings, not {count}",
                count=len(arguments),
            )
        return None, Path(arguments[0])
    if len(arguments) == 1:
        raise OptionError.about(
            "arguments",
            "similar takes two arguments, QUERY and TABLE; only {argument} was given (for the near-duplicates "
            "in a table add --duplicates 0.98)",
            argument=arguments[0],
        )
    if len(arguments) > 2:
        raise OptionError.about(
            "arguments", "similar takes two arguments, QUERY and TABLE, not {count}", count=len(arguments)
        )
    return arguments[0], Path(arguments[1])


def _duplicates(table: EmbeddingTable, threshold: float) -> Groups:
    from videomae_cli.search.duplicates import find_duplicates

    found = find_duplicates(table, threshold)
    if not found.exact:
        console.note(f"{found.vectors} vectors were compared by an index, which may miss a pair")
    return found

"""`videomae similar`: the videos most like one, or groups of videos that are nearly the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.terminal import console
from videomae_cli.errors import OptionError


@takes_groups
def similar(
    arguments: Annotated[
        list[str],
        typer.Argument(
            help="A video, or the name of one in TABLE; then TABLE, what videomae embed wrote: .parquet, .npz, .jsonl "
            "or a folder; a cluster's also as an address. With --duplicates TABLE only.",
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
    moments: Annotated[
        bool,
        typer.Option(
            "--moments",
            help="List moments of films, with their times, instead of files; of a TABLE that videomae embed --window wrote.",
        ),
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
    if moments and query is None:
        raise OptionError.about("moments", "--moments does not go with --duplicates, which compares files")
    chosen = _format(format, output)
    from videomae_cli.api.similar import nearest_files, open_table
    from videomae_cli.cli.outputs.similar_files import show_groups, show_matches
    from videomae_cli.cli.outputs.single_output import single_output
    from videomae_cli.cli.run.loading import load_model
    from videomae_cli.search.duplicates import find_duplicates

    with single_output(chosen, output, overwrite=overwrite, source=file) as sink:
        table = open_table(file, query)
        if query is None:
            assert duplicates is not None
            found = find_duplicates(table, duplicates)
            if not found.exact:
                console.note(f"{found.vectors} vectors were compared by an index, which may miss a pair")
            show_groups(found, table, duplicates, sink, format=chosen, drawn=output is None)
            fact = console.counted(len(found.groups), "group")
        else:
            matches, name = nearest_files(
                table, query, top_k, include_self=include_self, moments=moments, device=device, load=load_model
            )
            show_matches(matches, name, table, sink, format=chosen, drawn=output is None)
            fact = console.counted(len(matches), "match", "matches")
    if output is not None:
        console.wrote(output, fact, piped=False)


def _format(asked: str | None, output: Path | None) -> str:
    from videomae_cli.cli.outputs.similar_files import FORMATS
    from videomae_cli.writers import pick_format

    chosen = asked if asked is not None else pick_format(None, output)
    if chosen not in FORMATS:
        raise OptionError.about(
            "format", "similar writes {formats}, not {chosen!r}", formats=", ".join(FORMATS), chosen=chosen
        )
    return chosen


def _arguments(arguments: list[str], duplicates: float | None) -> tuple[str | None, Path | str]:
    """Return QUERY (None with --duplicates) and TABLE from the arguments."""
    from videomae_cli.writers import place_of

    if duplicates is not None:
        if not 0 < duplicates <= 1:
            reason = "--duplicates takes a cosine above 0 and at most 1, not {duplicates:g}"
            raise OptionError.about("duplicates", reason, duplicates=duplicates)
        if len(arguments) != 1:
            reason = "--duplicates takes one argument, the file of embeddings, not {count}"
            raise OptionError.about("duplicates", reason, count=len(arguments))
        return None, place_of(arguments[0])
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
    return arguments[0], place_of(arguments[1])

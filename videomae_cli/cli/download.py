"""`videomae download`: weights into the Hugging Face cache, once."""

from __future__ import annotations

from typing import Annotated

import typer

from videomae_cli.cli import console, options


def download(
    models: Annotated[list[str], typer.Argument(help="Known short names or hub ids.", metavar="MODEL...")],
    revision: options.Revision = None,
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Download models, so that they work without a network from then on.

    Prints the folder of each on standard output.
    """
    console.configure(debug=debug, quiet=quiet)
    from videomae_cli.hub import find_entry, resolve

    for name in models:
        entry = find_entry(name)
        if entry:
            console.note(f"{entry.hub_id}: licence {entry.licence}")
        typer.echo(resolve(name, revision=revision).path)

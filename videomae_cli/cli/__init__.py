"""The command line: the only user of typer and rich. stdout is data, stderr is everything else."""

from __future__ import annotations


def main() -> None:
    """The `videomae` command."""
    from videomae_cli.cli.app import app

    app(prog_name="videomae")

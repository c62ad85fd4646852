"""`videomae convert`: any checkpoint as a Hugging Face directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from videomae_cli.cli import console, options


def convert(
    source: Annotated[str, typer.Argument(help="A .pth, .bin or .safetensors file, a directory, a hub id or a known name.")],
    directory: Annotated[Path, typer.Argument(help="The directory to write: config.json, model.safetensors, ...")],
    revision: options.Revision = None,
    heads: Annotated[
        Optional[int], typer.Option(min=1, help="Attention heads, where the file can't tell or tells wrong.")
    ] = None,
    labels: Annotated[
        Optional[Path], typer.Option(help="Label names: one a line, a JSON array or object, or CSV.", metavar="FILE")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Type of the weights written.", metavar="auto|float32|float16|bfloat16")
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there already.")] = False,
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Write any VideoMAE checkpoint as a Hugging Face directory.

    Reads the official .pth files, VideoMAE V2's, and Hugging Face's own; transformers loads what is written.
    """
    console.configure(debug=debug, quiet=quiet)
    from videomae_cli.labels import read_labels
    from videomae_cli.model.convert import convert as convert_checkpoint

    written = convert_checkpoint(
        source,
        directory,
        revision=revision,
        num_attention_heads=heads,
        labels=read_labels(labels) if labels else None,
        dtype=dtype,
        overwrite=overwrite,
    )
    console.note(f"wrote {written}")

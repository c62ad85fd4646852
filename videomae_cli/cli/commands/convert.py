"""`videomae convert`: any checkpoint as a Hugging Face directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.terminal import console
from videomae_cli.errors import OptionError

_DTYPES = ("auto", "float32", "float16", "bfloat16")


@takes_groups
def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A .pth, .bin or .safetensors file, a directory, a hub id or a known name.", metavar="SOURCE"
        ),
    ],
    directory: Annotated[
        Path, typer.Argument(help="The directory to write: config.json, model.safetensors, ...", metavar="DIR")
    ],
    *,
    revision: options.Revision = None,
    heads: options.Heads = None,
    decoder_heads: Annotated[int | None, typer.Option(min=1, help="The same for a pre-training decoder.")] = None,
    image_size: Annotated[
        int | None,
        options.IMAGE_SIZE(min=1, help="Pixels of the square input, where the file can't tell. Default 224."),
    ] = None,
    frames: Annotated[
        int | None, options.FRAMES(min=1, help="Frames a clip, where the file can't tell. Default 16.")
    ] = None,
    labels: options.Labels = None,
    dtype: Annotated[
        str, options.DTYPE(help="Type of the weights written.", metavar="auto|float32|float16|bfloat16")
    ] = "auto",
    overwrite: options.Overwrite = False,
    loudness: LoudnessOptions,
) -> None:
    """Write any VideoMAE checkpoint as a Hugging Face directory.

    Reads the official .pth files, VideoMAE V2's, and Hugging Face's own; transformers loads what is written.
    """
    loudness.configure()
    if dtype not in _DTYPES:
        raise OptionError(f"unknown dtype {dtype!r}: choose {', '.join(_DTYPES)}")
    import torch

    from videomae_cli.assembly import check_processors
    from videomae_cli.cli.terminal.transfers import bring
    from videomae_cli.labels import read_labels
    from videomae_cli.model.convert import convert as convert_checkpoint

    bring(source, revision)
    written = convert_checkpoint(
        source,
        directory,
        revision=revision,
        num_attention_heads=heads,
        decoder_num_attention_heads=decoder_heads,
        image_size=image_size,
        num_frames=frames,
        labels=read_labels(labels) if labels else None,
        dtype="auto" if dtype == "auto" else getattr(torch, dtype),
        overwrite=overwrite,
        check_processors=check_processors,
    )
    console.note(f"wrote {written.path}: {written.kind}, {written.architecture}")

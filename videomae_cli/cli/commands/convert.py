"""`videomae convert`: any checkpoint as a Hugging Face directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.outputs.next_steps import with_model
from videomae_cli.cli.terminal import console
from videomae_cli.errors import check_choice


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
    decoder_heads: Annotated[
        int | None,
        typer.Option(min=1, help="Attention heads of a pre-training decoder, if the checkpoint doesn't say."),
    ] = None,
    image_size: Annotated[
        int | None,
        options.IMAGE_SIZE(min=1, help="Side of the square input in pixels, if the file doesn't say. Default 224."),
    ] = None,
    frames: Annotated[
        int | None, options.FRAMES(min=1, help="Frames per clip, if the file doesn't say. Default 16.")
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
    from videomae_cli.api import known_models
    from videomae_cli.cli.terminal.transfers import bring

    check_choice("dtype", dtype, known_models.DTYPES)
    bring(source, revision)
    written = known_models.convert(
        source,
        directory,
        revision=revision,
        num_attention_heads=heads,
        decoder_num_attention_heads=decoder_heads,
        image_size=image_size,
        num_frames=frames,
        labels=labels,
        dtype=dtype,
        overwrite=overwrite,
    )
    console.wrote(written.path, written.kind, written.architecture)
    console.suggest(*with_model(written.kind, written.path))

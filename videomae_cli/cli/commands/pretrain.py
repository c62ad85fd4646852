"""`videomae pretrain`: an encoder from videos without labels, by filling in what is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import takes_groups
from videomae_cli.cli.options.training_groups import DeviceOptions, DrawOptions, OptimizerOptions, RunFolderOptions
from videomae_cli.cli.outputs.next_steps import with_model
from videomae_cli.cli.terminal import console, streams


@dataclass(frozen=True, kw_only=True)
class NewModelOptions:
    """Options for the initial weights or a new model's shape, and for masking."""

    init: Annotated[
        str | None, options.INIT(help="Continue from a pre-training checkpoint instead of from random weights.")
    ] = None
    revision: options.Revision = None
    size: Annotated[str, typer.Option(help="Size of a new model.", metavar="tiny|small|base|large|huge")] = "small"
    image_size: Annotated[int, options.IMAGE_SIZE(min=8, help="Side of a frame in pixels, for a new model.")] = 224
    patch_size: Annotated[int, typer.Option(min=2, help="Side of a patch in pixels, for a new model.")] = 16
    frames: Annotated[int, options.FRAMES(min=2, help="Frames per clip, for a new model.")] = 16
    norm_pix: Annotated[
        bool, typer.Option(help="Predict patches normalised by their own mean and deviation, as published.")
    ] = True
    mask: options.Mask = "tube"
    mask_ratio: Annotated[
        float | None, options.MASK_RATIO(help="The fraction of patches to hide, below 1. Default 0.9.")
    ] = None


# Without labels, fewer held-out clips are enough.
OPTIMIZER = OptimizerOptions(val=0.05)


@takes_groups
def pretrain(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of videos, a pattern, @LIST, a table with a column path, or a Python file with a task of your own.",
            metavar="DATA",
        ),
    ],
    output: options.RunFolder,
    *,
    start: NewModelOptions,
    optimizer: OptimizerOptions = OPTIMIZER,
    crop_scale: Annotated[
        float | None,
        options.CROP_SCALE(
            help="Smallest fraction of a frame's area that a random crop may keep. Default: the published crops, 66 to 100% of the short side."
        ),
    ] = None,
    flip: Annotated[bool, options.FLIP(help="Mirror half of the clips.")] = False,
    repeats: options.Repeats = None,
    frame_folders: Annotated[str, options.FRAME_FOLDERS("--frame-folders")] = "auto",
    draw: DrawOptions,
    device: DeviceOptions,
    run: RunFolderOptions,
) -> None:
    """Train an encoder on videos without labels: most of each clip is hidden, and the model learns to fill it in.

    OUT is a checkpoint for finetune, embed and reconstruct, and for transformers.

    Exit code 0 when trained, 1 if not, 2 for wrong options, 130 when interrupted (--resume continues).
    """
    run.terminal.configure()
    from videomae_cli.cli.run.training_arguments import training_arguments
    from videomae_cli.cli.run.training_progress import say_written, stopped
    from videomae_cli.training import pretrain as train

    given = training_arguments(start, optimizer, draw, device, run)
    trained = train(
        data, output=output, crop_scale=crop_scale, flip=flip, repeats=repeats, frame_folders=frame_folders, **given
    )
    if stopped(trained):
        return
    if trained.loss is not None:
        say_written(Path(output))
        streams.remark(f"loss {trained.loss:.4f}")
        console.suggest(*with_model("pretraining", Path(output)))
    else:
        streams.remark(f"{output}: {console.counted(trained.steps, 'step')} done")

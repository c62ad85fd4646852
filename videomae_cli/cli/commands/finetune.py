"""`videomae finetune`: your own classes from a folder or a table."""

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

DataPath = Annotated[
    str,
    typer.Argument(
        help="A folder of class folders (or of train/ and val/ with class folders), a CSV, TSV, Parquet or JSON Lines table "
        "of path and label, or a Python file with a task of your own.",
        metavar="DATA",
    ),
]


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """Options for the initial weights, the part to train, and label names."""

    init: Annotated[
        str, options.INIT(help="Where to start: a bundled name (camera-motion-mae), a hub id, or a directory.")
    ] = options.DEFAULT_MODEL
    revision: options.Revision = None
    mode: Annotated[
        str,
        typer.Option(
            help="head: keep the encoder and fit a linear classifier in seconds; full: train all weights; lora: train small "
            "matrices beside the attention's. auto: full, but head for fewer than 10 clips per class (50 for numbers), and on a CPU where full would take more than ten minutes.",
            metavar="auto|head|full|lora",
        ),
    ] = "auto"
    labels: Annotated[Path | None, options.LABELS(help="Names for numeric labels: one per line, JSON, or CSV.")] = None


@dataclass(frozen=True, kw_only=True)
class ChangeOptions:
    """Options for regularisation and augmentation, and for what is trained and saved."""

    layer_decay: Annotated[
        float | None, typer.Option(help="Each layer's learning rate as a fraction of the next layer's. Default 0.75.")
    ] = None
    drop_path: Annotated[float | None, typer.Option(help="Stochastic depth of the last block. Default 0.1.")] = None
    head_dropout: Annotated[float | None, typer.Option(help="Dropout before the classifier. Default 0.")] = None
    head_init_scale: Annotated[
        float | None, typer.Option(help="Scale of a new classifier's initial weights. Default 0.001.")
    ] = None
    label_smoothing: Annotated[
        float | None, typer.Option(help="How much of each label is spread over all classes. Default 0.1.")
    ] = None
    mixup: Annotated[float | None, typer.Option(help="Alpha of mixup. Default 0.8; 0 below 1,000 clips.")] = None
    cutmix: Annotated[float | None, typer.Option(help="Alpha of cutmix. Default 1; 0 below 1,000 clips.")] = None
    augment_ops: Annotated[
        int | None, typer.Option(min=0, help="RandAugment: operations. Default 4; 2 below 1,000 clips.")
    ] = None
    augment_magnitude: Annotated[
        float | None,
        typer.Option(min=0, max=10, help="RandAugment: strength, 0 to 10. Default 7; 5 below 1,000 clips."),
    ] = None
    erase: Annotated[
        float | None, typer.Option(help="Probability of filling a random box with noise. Default 0.25.")
    ] = None
    crop_scale: Annotated[
        float | None,
        options.CROP_SCALE(help="Smallest fraction of a frame's area that a random crop may keep. Default 0.08."),
    ] = None
    views: Annotated[
        int | None,
        typer.Option(min=1, help="How many differently augmented views of each clip to train on. Default 2."),
    ] = None
    flip: Annotated[
        bool | None,
        options.FLIP(help="Mirror half of the clips. Default: on, unless a label mentions left, right or clockwise."),
    ] = None
    repeats: options.Repeats = None
    ema: Annotated[
        float | None,
        typer.Option(help="Save a moving average of the weights with this decay per step, such as 0.999."),
    ] = None
    lora_rank: Annotated[int, typer.Option(min=1, help="Rank of the matrices of --mode lora.")] = 16
    penalty: Annotated[
        float | None, typer.Option(min=0, help="L2 penalty of --mode head. Default: the best of six on held-out clips.")
    ] = None


@takes_groups
def finetune(
    data: DataPath,
    output: options.RunFolder,
    *,
    start: StartOptions,
    target: Annotated[
        list[str] | None,
        options.TARGET(help="Learn the numbers in this column of a table instead of classes. May be repeated."),
    ] = None,
    optimizer: OptimizerOptions,
    change: ChangeOptions,
    draw: DrawOptions,
    clips: Annotated[
        int | None,
        options.CLIPS(
            min=1,
            help="Clips to take from each file; outside --mode head, only from held-out files. Default: as in classify.",
        ),
    ] = None,
    frame_folders: options.FrameFolders = "auto",
    device: DeviceOptions,
    heads: options.Heads = None,
    run: RunFolderOptions,
) -> None:
    """Train a classifier on your own classes, or a model that predicts your own numbers.

    OUT is a checkpoint directory for every command here and for transformers, with metrics, curves and a confusion matrix
    (for numbers, a plot of predicted against true ones) beside the weights. With several GPUs: torchrun --nproc-per-node N -m videomae_cli finetune ...

    Exit code 0 when trained, 1 if not, 2 for wrong options, 130 when interrupted (--resume continues).
    """
    run.terminal.configure()
    from videomae_cli.cli.run.training_arguments import training_arguments
    from videomae_cli.cli.run.training_progress import say_written, stopped
    from videomae_cli.training import finetune as train

    given = training_arguments(start, optimizer, change, draw, device, run)
    trained = train(
        data, output=output, target=target or (), clips=clips, heads=heads, frame_folders=frame_folders, **given
    )
    if stopped(trained):
        return
    if data.endswith(".py"):
        streams.remark(f"{output}: {console.counted(trained.steps, 'step')} done")
        return
    say_written(Path(output))
    about = trained.figures.line if trained.figures is not None else "nothing held out, so nothing measured"
    streams.remark(about)
    console.suggest(
        *with_model("classification", Path(output)),
        ("videomae", "evaluate", "OTHER_CLIPS", "--model", Path(output)),
    )

"""Options that `finetune` and `pretrain` share, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import ConsoleOptions, DecodingOptions


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Options for the length of training, the split of the data, and learning rates."""

    val: Annotated[
        float, typer.Option(help="Fraction of the files to hold out, if the data has no split; 0 for none.")
    ] = 0.2
    check: Annotated[bool, typer.Option(help="Try every file before training begins.")] = True
    recipe: Annotated[
        str,
        typer.Option(
            help="Defaults for the options not given. paper: as published for data sampled like yours; "
            "paper-NAME: as published for kinetics, ssv2 or ucf101. docs/training.md lists them.",
            metavar="default|paper|paper-NAME",
        ),
    ] = "default"
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes through the data. Default: as published for a model of this size; pretrain 800 (large, huge: 1600).",
        ),
    ] = None
    batch_size: Annotated[
        int | None, options.BATCH_SIZE(help="Clips per batch in each process. Default: at most 16.")
    ] = None
    accumulate: Annotated[
        int | None,
        typer.Option(min=1, help="Batches per optimizer step, for larger steps in little memory. Default 1."),
    ] = None
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate. Default: the published one, scaled to the batch.")
    ] = None
    min_lr: Annotated[
        float | None,
        typer.Option(
            help="Final learning rate. Default: as published, 1e-6 (pretrain 1e-5) for every 256 clips in a step."
        ),
    ] = None
    warmup: Annotated[
        float | None,
        typer.Option(
            min=0, help="Epochs during which the rate rises. Default 5 (pretrain 40), or a fifth of a shorter run."
        ),
    ] = None
    weight_decay: Annotated[float | None, typer.Option(min=0, help="Weight decay of AdamW. Default 0.05.")] = None
    betas: Annotated[
        tuple[float, float] | None,
        typer.Option(help="AdamW's two betas. Default 0.9 0.999; pretrain 0.9 0.95.", metavar="BETA1 BETA2"),
    ] = None
    clip_grad: Annotated[
        float | None, typer.Option(min=0, help="Upper bound of the gradient's norm. Default 0: no bound.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class DrawOptions:
    """Options for drawing clips, and for stopping early."""

    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many epochs without a better score on held-out clips.")
    ] = None
    seed: options.Seed = 0
    sampling: options.Sampling = "auto"
    stride: options.Stride = None


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Options for preprocessing, device and number format."""

    fps: options.Fps = None
    pixels: options.Pixels = None
    device: options.Device = "auto"
    dtype: Annotated[
        str,
        options.DTYPE(
            help="Number format of matrix products; the weights stay float32. auto: bfloat16 on CUDA devices that have it, else float32.",
            metavar="auto|float32|bfloat16",
        ),
    ] = "auto"
    compiled: options.Compile = False
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Use much less memory, for about a third more time.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class TrainingConsoleOptions(ConsoleOptions):
    """Options for what training prints on standard error: unlike a batch, also where there is no terminal."""

    progress: Annotated[
        str,
        options.PROGRESS(
            help="auto: a bar on a terminal, else a line per epoch; plain: a line now and then, for a log."
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class RunFolderOptions:
    """Options for reading the data, and for an existing run in the folder."""

    decoding: DecodingOptions
    workers: options.Workers = None
    set_values: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set a parameter of your own task. May be repeated.", metavar="NAME=VALUE"),
    ] = None
    resume: options.Resume = False
    overwrite: options.Overwrite = False
    dry_run: options.DryRun = False
    terminal: TrainingConsoleOptions

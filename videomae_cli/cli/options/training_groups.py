"""Options that `finetune` and `pretrain` share, in groups, and how `videomae_cli.training` is called with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import ConsoleOptions, DecodingOptions


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """How long is trained, on what part of the data, and at which rates."""

    val: options.ValFraction = 0.2
    check: options.CheckData = True
    recipe: options.Recipe = "default"
    epochs: options.Epochs = None
    batch_size: options.TrainBatch = None
    accumulate: options.Accumulate = None
    lr: options.LearningRate = None
    min_lr: options.FloorRate = None
    warmup: Annotated[
        float | None, typer.Option(min=0, help="Epochs of rising rate. Default 5, or a fifth of all.")
    ] = None
    weight_decay: options.WeightDecay = None
    betas: options.Betas = None
    clip_grad: options.ClipGrad = None


@dataclass(frozen=True, kw_only=True)
class DrawOptions:
    """How clips are drawn, and when it has been enough."""

    patience: options.Patience = None
    seed: options.Seed = 0
    sampling: options.Sampling = "auto"
    stride: options.Stride = None


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """What the clips are made of and what computes on them."""

    fps: options.Fps = None
    pixels: options.Pixels = None
    device: options.Device = "auto"
    dtype: options.TrainDtype = "auto"
    compiled: options.Compile = False
    gradient_checkpointing: options.GradientCheckpointing = False


@dataclass(frozen=True, kw_only=True)
class RunFolderOptions:
    """How the data is read, and what becomes of a run that is in the folder."""

    decoding: DecodingOptions
    workers: options.Workers = None
    set_values: options.SetValues = None
    resume: options.ResumeRun = False
    overwrite: options.OverwriteRun = False
    dry_run: options.DryRun = False
    terminal: ConsoleOptions

"""Options that `finetune` and `pretrain` share, in groups, and how `videomae_cli.training` is called with them."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any

import typer

from videomae_cli.cli import options
from videomae_cli.cli.option_groups import ConsoleOptions, DecodingOptions


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


def training_arguments(*groups: Any) -> dict[str, Any]:
    """The options of all groups under the names that `training.finetune` and `training.pretrain` have for them.

    Raises OptionError for a size of memory or a value of one's own task that is none.
    """
    from videomae_cli.cli.training import TerminalListener, parse_settings

    given: dict[str, Any] = {}
    for group in groups:
        for name in (member.name for member in fields(group)):
            value = getattr(group, name)
            if isinstance(value, DecodingOptions):
                given |= {"timeout": value.seconds, "memory": value.memory}
            elif isinstance(value, ConsoleOptions):
                given |= {"debug": value.debug, "listener": TerminalListener(value.progress)}
            elif name == "set_values":
                given["values"] = parse_settings(value)
            else:
                assert not is_dataclass(value), "a group whose names nobody has told"
                given["compile" if name == "compiled" else name] = value
    return given

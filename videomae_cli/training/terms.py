"""Holds the options that `finetune` and `pretrain` have in common, those of any training loop, and the result of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import torch

from videomae_cli import __version__
from videomae_cli.arguments import at_least, check_seed
from videomae_cli.assembly import pixels_note
from videomae_cli.engines import pick_engine
from videomae_cli.errors import OptionError, check_choice
from videomae_cli.jobs import Settings
from videomae_cli.training.distributed import Share
from videomae_cli.training.figures import Figures
from videomae_cli.training.listener import TrainingListener
from videomae_cli.training.recipe import IN_RECIPE
from videomae_cli.training.run_folder import Run
from videomae_cli.video import Decoder, SamplingHints, SamplingSpec, auto_workers

# More than any machine has cores: one decoder per core.
MANY = 1 << 20
# Hyperparameters of every recipe, by the names of their options.
RECIPE_NUMBERS: tuple[str, ...] = (
    *("epochs", "batch_size", "accumulate", "lr", "min_lr", "warmup", "weight_decay", "betas", "clip_grad"),
    *("crop_scale", "flip", "repeats"),
)


class TrainingOptions(TypedDict, total=False):
    """Settings of a training run. All are optional, with the meaning of the commands' options.

    Data: val: fraction of the files that is held out; check: first check that every file can be decoded; seed;
    sampling, stride, fps, pixels: which frames (see `SamplingOptions`); frame_folders: as in `find_videos`; timeout: seconds that decoding a clip may take,
    None for no limit; memory: bytes that a decoding process may take; workers: files decoded at once; debug: let
    decoders write to stderr.

    Run: patience: evaluations without a better score after which to stop; device: "auto", "cpu", "cuda" or "mps";
    dtype: "auto", "float32" or "bfloat16"; compile: use torch.compile; gradient_checkpointing: save memory at the cost
    of time; values: settings for a task of your own; resume: continue an earlier run; overwrite: replace one; dry_run:
    only report what would be done.

    Hyperparameters, None for those of recipe ("default", "paper" or "paper-ssv2"): epochs; batch_size: clips per batch;
    accumulate: batches whose gradients are added up for a step; lr, min_lr, warmup, weight_decay, betas, clip_grad;
    crop_scale: smallest fraction of a frame that a crop shows; flip: mirror half of the clips; repeats: how often each
    file is drawn per epoch.
    """

    val: float
    check: bool
    recipe: str
    patience: int | None
    seed: int
    sampling: str
    stride: int | None
    fps: float | None
    pixels: str | None
    frame_folders: str
    device: str
    dtype: str
    compile: bool
    gradient_checkpointing: bool
    timeout: float | None
    memory: int | None
    workers: int | None
    values: Mapping[str, str]
    resume: bool
    overwrite: bool
    dry_run: bool
    debug: bool
    epochs: int | None
    batch_size: int | None
    accumulate: int | None
    lr: float | None
    min_lr: float | None
    warmup: float | None
    weight_decay: float | None
    betas: Any
    clip_grad: float | None
    crop_scale: float | None
    flip: bool | None
    repeats: int | None


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Settings of the training loop.

    dtype: "float32" or "bfloat16", of matrix products; patience: epochs without a better score after which to stop;
    log_steps: steps between two lines of metrics; save_seconds: at most this much work is lost if the run is killed.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: str = "float32"
    seed: int = 0
    patience: int | None = None
    log_steps: int = 10
    save_seconds: float = 120.0
    compiled: bool = False


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The checked options of `finetune` and `pretrain`.

    asked: the hyperparameters that override the recipe's, None if not given.
    """

    data: str
    output: Path
    asked: Mapping[str, Any]
    labels: Path | None = None
    targets: tuple[str, ...] = ()
    val: float = 0.2
    check: bool = True
    recipe: str = "default"
    patience: int | None = None
    seed: int = 0
    sampling: SamplingSpec = field(default_factory=SamplingSpec)
    frame_folders: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    gradient_checkpointing: bool = False
    heads: int | None = None
    timeout: float | None = 120.0
    memory: int | None = None
    workers: int | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    debug: bool = False

    def __post_init__(self) -> None:
        check_seed(self.seed)
        at_least(1, patience=self.patience, heads=self.heads, workers=self.workers, memory=self.memory)
        if not 0 <= self.val < 1:
            raise OptionError.about(
                "val", "{@val} is the part of the files that is held out: from 0 to below 1, not {val:g}", val=self.val
            )
        if self.resume and self.overwrite:
            raise OptionError.about(
                "resume", "{@resume:True} continues a run, {@overwrite:True} replaces it: give one of them"
            )

    @property
    def decoders(self) -> int:
        """Return the number of decoding processes for this training process."""
        return self.workers or auto_workers(MANY)

    def decoder(self) -> Decoder:
        """Open the decoder of this training process. Raises OptionError."""
        return Decoder(timeout=self.timeout, memory=self.memory, workers=self.decoders, debug=self.debug)

    def run(self, share: Share) -> Run:
        """Return the folder of this run, which only the leading process writes to."""
        return Run(self.output, resume=self.resume, overwrite=self.overwrite, writes=share.leads)

    def sampling_for(self, hints: SamplingHints, name: str, listener: TrainingListener) -> SamplingSpec:
        """Adapt the requested sampling to the initial checkpoint, and note if it was trained on other pixels."""
        usual = None if hints.pixels else "stored"  # Every published model was trained on stored pixels.
        spec = replace(self.sampling, pixels=self.sampling.pixels or usual).for_model(hints)
        if note := pixels_note(name, hints.pixels, spec.resolved_pixels):
            listener.note(note)
        return spec

    def loop(self, device: torch.device, dtype: str) -> Loop:
        """Return the settings of the training loop. dtype: as `pick_dtype` returns it."""
        return Loop(device=device, dtype=dtype, seed=self.seed, patience=self.patience, compiled=self.compile)


@dataclass(frozen=True)
class Trained:
    """The result of a training run: a checkpoint in `folder`, for `load_classifier`, `load_embedder` and the commands.

    ended: "finished", "stopped early" (the score no longer improved), "interrupted" (it can be resumed), or "dry run".
    step, steps: steps done, and steps of the whole run; figures: metrics of the held-out clips, None if there are none;
    loss: of pre-training, on held-out clips if there are any.
    """

    folder: Path
    ended: str
    step: int = 0
    steps: int = 0
    figures: Figures | None = None
    loss: float | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the metrics of the held-out clips by name, such as `top1`; empty if nothing was held out."""
        return self.figures.metrics.as_dict() if self.figures is not None else {}


def split_options(
    options: Mapping[str, Any], numbers: Iterable[str], *, clips: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a caller's options into hyperparameters of a recipe and fields of `Terms`.

    numbers: the options that are hyperparameters. Raises OptionError.
    """
    rest = dict(options)
    asked = {IN_RECIPE.get(option, option): rest.pop(option, None) for option in numbers}
    # A published recipe implies stored pixels, because the official loader doesn't stretch frames.
    stored = "stored" if rest.get("recipe", "default") != "default" else None
    rest["sampling"] = SamplingSpec(
        family=rest.pop("sampling", "auto"),
        stride=rest.pop("stride", None),
        clips=clips,
        fps=rest.pop("fps", None),
        pixels=rest.pop("pixels", None) or stored,
    )
    return asked, rest


def settings_of(command: str, values: Mapping[str, Any], loop: Loop | None = None) -> Settings:
    """Collect all settings that affect the result."""
    how = {"dtype": loop.dtype, "device": loop.device.type, "patience": loop.patience} if loop is not None else {}
    return Settings(command, __version__, {**values, **how})


def pick_dtype(dtype: str, device: torch.device, listener: TrainingListener) -> str:
    """Choose float32, or bfloat16 if CUDA supports it, and report if this machine is slow at it. Raises OptionError."""
    check_choice("dtype", dtype, ("auto", "float32", "bfloat16"), what="dtype for training", last=" or ")
    engine = pick_engine("torch", dtype, device)
    if engine.slow:
        listener.note(engine.slow)
    return engine.dtype if engine.dtype == "bfloat16" else "float32"

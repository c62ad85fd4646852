"""Pre-trains an encoder on videos without labels by masked autoencoding, from data to checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import torch

from videomae_cli.arguments import at_least, checked
from videomae_cli.assembly import find_hints, preprocessor_for
from videomae_cli.errors import check_choice
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_cli.training.card import finish_masked
from videomae_cli.training.checkpoint import own_section
from videomae_cli.training.classification import Data
from videomae_cli.training.clip_task import Start
from videomae_cli.training.expected_time import all_epochs, expected_seconds, seconds_of_a_masked_view
from videomae_cli.training.listener import TrainingListener
from videomae_cli.training.masked import PreTrain, check_masks
from videomae_cli.training.process import Process, read_learning_data, run_training
from videomae_cli.training.recipe import MANY_CLIPS, SSV2_STRIDE, masked_recipe_for
from videomae_cli.training.terms import (
    RECIPE_NUMBERS,
    Terms,
    Trained,
    TrainingOptions,
    settings_of,
    split_options,
)
from videomae_cli.training.trainer import train
from videomae_cli.video import PreprocessConfig, Preprocessor
from videomae_cli.visible import duration

# Encoder width, layers, heads, and the decoder's, as published; "tiny" is our own, for small data.
SIZES = {
    "tiny": (192, 12, 3, 96, 2, 3),
    "small": (384, 12, 6, 192, 4, 3),
    "base": (768, 12, 12, 384, 4, 6),
    "large": (1024, 24, 16, 512, 12, 8),
    "huge": (1280, 32, 16, 640, 12, 8),
}
NUMBERS = (*RECIPE_NUMBERS, "mask", "mask_ratio")


@dataclass(frozen=True, kw_only=True)
class PreTrainRequest(Terms):
    """The checked options of `pretrain`, besides those in `Terms`. Those from `size` on are for a new model."""

    init: str | None = None
    revision: str | None = None
    size: str = "small"
    image_size: int = 224
    patch_size: int = 16
    frames: int = 16
    norm_pix: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("size", self.size, SIZES)
        at_least(8, image_size=self.image_size)
        at_least(2, patch_size=self.patch_size, frames=self.frames)


@checked
def pretrain(
    data: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str],
    init: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    size: str = "small",
    image_size: int = 224,
    patch_size: int = 16,
    frames: int = 16,
    norm_pix: bool = True,
    mask: str = "tube",
    mask_ratio: float | None = None,
    listener: TrainingListener | None = None,
    **options: Unpack[TrainingOptions],
) -> Trained:
    """Train an encoder on videos without labels; what `videomae pretrain` does.

    data: a folder of videos, a pattern, @LIST, a table with a column path, or a Python file with a task of your own;
    output: the folder to write; init: a pre-training checkpoint to continue from, else a new model is made: size
    ("tiny" to "huge"), image_size and patch_size (pixels per side), frames (per clip), norm_pix: predict patches
    normalised by their own statistics; mask: "tube", "random", "frame" or "causal"; mask_ratio: fraction that is hidden
    (0.9); listener: receives the progress; options: `TrainingOptions`. Raises DatasetError, TrainingError, OutputError,
    OptionError, and what loading `init` raises.
    """
    given: dict[str, Any] = {"val": 0.05, "flip": False, **options, "mask": mask, "mask_ratio": mask_ratio}
    asked, terms = split_options(given, NUMBERS, clips=1)
    request = PreTrainRequest(
        data=os.fspath(data),
        output=Path(output),
        asked=asked,
        init=None if init is None else os.fspath(init),
        revision=revision,
        size=size,
        image_size=image_size,
        patch_size=patch_size,
        frames=frames,
        norm_pix=norm_pix,
        **terms,
    )
    # Reports wrong options before the data is read.
    masked_recipe_for(clips=MANY_CLIPS, asked=asked, name=request.recipe)
    return run_training(request, "pretrain", listener or TrainingListener(), _train)


def _train(request: PreTrainRequest, process: Process) -> Trained:
    start = _start(request, process)
    config, share, loop, listener = start.model.config, process.share, process.loop, process.listener
    numbers: dict[str, Any] = {"asked": request.asked, "name": request.recipe, "width": config.hidden_size}
    check_masks(config.grid, masked_recipe_for(clips=MANY_CLIPS, **numbers))
    data = read_learning_data(request, process, labels=False)
    recipe = masked_recipe_for(clips=len(data.train), world=share.world, **numbers)
    if request.gradient_checkpointing:
        start.model.gradient_checkpointing_enable()
    task = PreTrain(start, train=data.train, val=data.val, recipe=recipe)
    time_note = _expected_time(task, data) if loop.device.type == "cpu" else ""
    listener.note(
        f"{start.model.num_parameters() / 1e6:.1f} M parameters, from {start.init or 'random weights'}{time_note}; "
        f"{task.plan}, {recipe.mask} masks that hide {recipe.mask_ratio:.0%}"
    )
    for line in recipe.lines():
        listener.note(line)
    if request.dry_run:
        return Trained(request.output, "dry run", steps=task.steps)
    with request.run(share) as run:
        trained = train(task, run, loop, share=share, command="pretrain", listener=listener)
        if not share.leads or trained.ended == "interrupted":
            return trained
        finish_masked(run, settings_of("pretrain", task.settings, loop))
        last = [event for event in run.events() if event["event"] == "epoch"][-1]
        return replace(trained, loss=last["train_loss"] if last.get("val_loss") is None else last["val_loss"])


def _expected_time(task: PreTrain, data: Data) -> str:
    """Say how long all epochs take on this CPU, as measured with a few views."""
    recipe = task.recipe
    seconds = expected_seconds(
        seconds_of_a_masked_view(task.model, recipe.mask, recipe.mask_ratio),
        epochs=recipe.epochs,
        train_views=task.epoch * task.clips,
        val_views=len(data.val),
        reading=data.reading,
        processes=task.start.share.world,
    )
    return f", about {duration(seconds)} for {all_epochs(recipe.epochs)} here"


def _start(request: PreTrainRequest, process: Process) -> Start[VideoMAEForPreTraining]:
    """Load the checkpoint to continue from, or make a new model."""
    torch.manual_seed(request.seed)
    listener, name, made_by = process.listener, None, {"made_by": "videomae pretrain"}
    if request.init is not None:
        source = listener.find_model(request.init, request.revision)
        name = source.name
        model = VideoMAEForPreTraining.from_pretrained(source.path)
        # Loaded weights are a read-only memory-mapped file: training needs its own copy.
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
        hints = find_hints(model.config.num_frames, model.config.extra, name)
        sampling = request.sampling_for(hints, name, listener)
        model.config = model.config.replace(extra=own_section(sampling, {"init": name, **made_by}))
        preprocessor = preprocessor_for(source.path, model.config, "antialias")
    else:
        config = _config(request)
        # Unless the checkpoint says otherwise, sample as for the published checkpoints: densely, every 4th frame.
        sampling = request.sampling_for(find_hints(config.num_frames, {}, ""), "", listener)
        if request.recipe == "paper-ssv2" and request.sampling.stride is None:
            sampling = replace(sampling, checkpoint_stride=SSV2_STRIDE)
        model = VideoMAEForPreTraining(config.replace(extra=own_section(sampling, made_by)))
        side = request.image_size
        preprocessor = Preprocessor(PreprocessConfig(shortest_edge=side, crop=(side, side)))
    return Start(
        model=model,
        preprocessor=preprocessor,
        sampling=sampling,
        decoder=process.decoder,
        init=name,
        seed=request.seed,
        share=process.share,
        warn=lambda path, error: listener.clip_failed(path, error, replaced=True),
    )


def _config(request: PreTrainRequest) -> VideoMAEConfig:
    width, layers, heads, decoder_width, decoder_layers, decoder_heads = SIZES[request.size]
    return VideoMAEConfig(
        image_size=request.image_size,
        patch_size=request.patch_size,
        num_frames=request.frames,
        norm_pix_loss=request.norm_pix,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        decoder_hidden_size=decoder_width,
        decoder_num_hidden_layers=decoder_layers,
        decoder_num_attention_heads=decoder_heads,
        decoder_intermediate_size=4 * decoder_width,
        use_mean_pooling=False,
        id2label={},
    )

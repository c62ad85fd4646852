"""Pre-trains an encoder on videos without labels by masked autoencoding, from data to checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from videomae_cli.arguments import checked
from videomae_cli.assembly import find_hints, preprocessor_for
from videomae_cli.errors import unknown_choice
from videomae_cli.training.listener import TrainingListener
from videomae_cli.training.terms import (
    RECIPE_NUMBERS,
    Terms,
    Trained,
    TrainingOptions,
    pick_dtype,
    settings_of,
    split_options,
    text_path,
)
from videomae_cli.video import Decoder, PreprocessConfig, Preprocessor, SamplingSpec
from videomae_cli.visible import counted

if TYPE_CHECKING:
    from videomae_cli.model import VideoMAEConfig
    from videomae_cli.training import Loop, Share

# Encoder width, layers, heads, and the decoder's, as published; "tiny" is our own, for small data.
SIZES = {
    "tiny": (192, 12, 3, 96, 2, 3),
    "small": (384, 12, 6, 192, 4, 3),
    "base": (768, 12, 12, 384, 4, 6),
    "large": (1024, 24, 16, 512, 12, 8),
    "huge": (1280, 32, 16, 640, 12, 8),
}
# Option name -> name of the same number in a recipe.
NUMBERS = RECIPE_NUMBERS | {
    "mask": "mask",
    "mask_ratio": "mask_ratio",
}


@dataclass(frozen=True, kw_only=True)
class PreTrainRequest(Terms):
    """The checked options of `pretrain`, besides those in `Terms`. size, image_size, patch_size, frames, norm_pix: for
    a new model.
    """

    init: str | None = None
    revision: str | None = None
    size: str = "small"
    image_size: int = 224
    patch_size: int = 16
    frames: int = 16
    norm_pix: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size not in SIZES:
            raise unknown_choice("size", self.size, SIZES)


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
        data=text_path(data),
        output=Path(output),
        asked=asked,
        init=None if init is None else text_path(init),
        revision=revision,
        size=size,
        image_size=image_size,
        patch_size=patch_size,
        frames=frames,
        norm_pix=norm_pix,
        **terms,
    )
    return _pretrain(request, listener or TrainingListener())


def _pretrain(request: PreTrainRequest, listener: TrainingListener) -> Trained:
    from videomae_cli.pipeline import pick_device
    from videomae_cli.training import local_device, masked_recipe_for, together

    # Report wrong options before the data is read.
    masked_recipe_for(clips=1, asked=request.asked, name=request.recipe)
    device = local_device(pick_device(request.device))
    with together(device) as share, listener.process(leads=share.leads):
        dtype = pick_dtype(request.dtype, device, listener)
        if request.data.endswith(".py"):
            from videomae_cli.training.own_task import train_own_task

            return train_own_task(request, "pretrain", share, device, dtype, listener)
        with request.decoder() as decoder:
            return _train(request, decoder, share, request.loop(device, dtype), listener)


def _train(request: PreTrainRequest, decoder: Decoder, share: Share, loop: Loop, listener: TrainingListener) -> Trained:
    from videomae_cli.training import PreTrain, Run, check_masks, masked_recipe_for
    from videomae_cli.training.card import finish_masked
    from videomae_cli.training.learning_data import read_learning_data
    from videomae_cli.training.trainer import train

    model, preprocessor, sampling, name = _model(request, listener)
    numbers = {"asked": request.asked, "name": request.recipe, "width": model.config.hidden_size}
    check_masks(model.config.grid, masked_recipe_for(clips=1, **numbers))
    data = read_learning_data(request, decoder, share, listener, labels=False)
    recipe = masked_recipe_for(clips=len(data.train), world=share.world, **numbers)
    if request.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    task = PreTrain(
        model,
        train=data.train,
        val=data.val,
        recipe=recipe,
        preprocessor=preprocessor,
        sampling=sampling,
        decoder=decoder,
        seed=request.seed,
        share=share,
        init=name,
        warn=lambda path, error: listener.clip_failed(path, error, replaced=True),
    )
    listener.note(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, from {name or 'random weights'}; "
        f"recipe {recipe.name}: {counted(recipe.epochs, 'epoch')} of {counted(task.epoch, 'step')} of "
        f"{counted(task.clips, 'clip')}, rate {recipe.lr:.2g}, {recipe.mask} masks that hide {recipe.mask_ratio:.0%}"
    )
    for line in recipe.lines():
        listener.note(line)
    if request.dry_run:
        return Trained(request.output, "dry run", steps=task.steps)
    with Run(request.output, resume=request.resume, overwrite=request.overwrite, writes=share.leads) as run:
        trained = train(task, run, loop, share=share, command="pretrain", listener=listener)
        if not share.leads or trained.ended == "interrupted":
            return trained
        finish_masked(run, settings_of("pretrain", task.settings, loop))
        last = [event for event in run.events() if event["event"] == "epoch"][-1]
        return replace(trained, loss=last["train_loss"] if last.get("val_loss") is None else last["val_loss"])


def _model(request: PreTrainRequest, listener: TrainingListener) -> tuple[Any, Preprocessor, SamplingSpec, str | None]:
    """Return the model, its preprocessor, how clips are sampled, and the name of the checkpoint it starts from."""
    import torch

    from videomae_cli.model import VideoMAEForPreTraining
    from videomae_cli.training import SSV2_STRIDE, own_section

    torch.manual_seed(request.seed)
    if request.init is not None:
        source = listener.find_model(request.init, request.revision)
        model = VideoMAEForPreTraining.from_pretrained(source.path)
        # Loaded weights are a read-only memory-mapped file: training needs its own copy.
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
        hints = find_hints(model.config.num_frames, model.config.extra, source.name)
        sampling = request.sampling_for(hints, source.name, listener)
        about = {"init": source.name, "made_by": "videomae pretrain"}
        model.config = model.config.replace(extra=own_section(sampling, about))
        return model, preprocessor_for(source.path, model.config, "antialias"), sampling, source.name
    config = _config(request)
    # Unless the checkpoint says otherwise, sample as for the published checkpoints: densely, every 4th frame.
    sampling = request.sampling_for(find_hints(config.num_frames, {}, ""), "", listener)
    if request.recipe == "paper-ssv2" and request.sampling.stride is None:
        sampling = replace(sampling, checkpoint_stride=SSV2_STRIDE)
    config = config.replace(extra=own_section(sampling, {"made_by": "videomae pretrain"}))
    model = VideoMAEForPreTraining(config)
    side = request.image_size
    return model, Preprocessor(PreprocessConfig(shortest_edge=side, crop=(side, side))), sampling, None


def _config(request: PreTrainRequest) -> VideoMAEConfig:
    from videomae_cli.model import VideoMAEConfig

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

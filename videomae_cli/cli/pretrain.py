"""`videomae pretrain`: an encoder from videos without labels, by filling in what is hidden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomae_cli.cli import console, options, streams
from videomae_cli.cli.batch import check_progress
from videomae_cli.cli.training import Terms, pick_dtype, quiet_unless, settings_of, train
from videomae_cli.errors import OptionError
from videomae_cli.video import Decoder, PreprocessConfig, Preprocessor, SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.model import VideoMAEConfig
    from videomae_cli.training import Loop, Share

# width, layers, heads, and the decoder's width, layers, heads, as published; tiny is ours, for small data
SIZES = {
    "tiny": (192, 12, 3, 96, 2, 3),
    "small": (384, 12, 6, 192, 4, 3),
    "base": (768, 12, 12, 384, 4, 6),
    "large": (1024, 24, 16, 512, 12, 8),
    "huge": (1280, 32, 16, 640, 12, 8),
}


def pretrain(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of videos, a pattern, @LIST, a table with a column path, or a Python file with a task of your own.",
            metavar="DATA",
        ),
    ],
    output: options.RunFolder,
    init: Annotated[
        str | None,
        typer.Option(help="Go on from a pre-training checkpoint instead of from nothing.", metavar="NAME|HUB_ID|DIR"),
    ] = None,
    revision: options.Revision = None,
    size: Annotated[str, typer.Option(help="Of a new model.", metavar="tiny|small|base|large|huge")] = "small",
    image_size: Annotated[int, typer.Option(min=8, help="Pixels a side, of a new model.")] = 224,
    patch_size: Annotated[int, typer.Option(min=2, help="Pixels a side of a patch, of a new model.")] = 16,
    frames: Annotated[int, typer.Option(min=2, help="Frames a clip, of a new model.")] = 16,
    norm_pix: Annotated[
        bool, typer.Option(help="Predict patches normalised by their own mean and deviation, as published.")
    ] = True,
    mask: Annotated[str, typer.Option(help="What is hidden.", metavar="tube|random|frame|causal")] = "tube",
    mask_ratio: Annotated[float | None, typer.Option(help="How much of it. Default 0.9.")] = None,
    val: options.ValFraction = 0.05,
    check: options.CheckData = True,
    recipe: options.Recipe = "default",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Times through the data. Default 800 (large, huge: 1600).")
    ] = None,
    batch_size: options.TrainBatch = None,
    accumulate: options.Accumulate = None,
    lr: options.LearningRate = None,
    min_lr: options.FloorRate = None,
    warmup: Annotated[
        float | None, typer.Option(min=0, help="Epochs of rising rate. Default 40, or a fifth of all.")
    ] = None,
    weight_decay: options.WeightDecay = None,
    betas: options.Betas = None,
    clip_grad: options.ClipGrad = None,
    crop_scale: Annotated[
        float | None,
        typer.Option(
            help="Least part of a frame's area that a clip shows. Default: the published crops of 66 to 100 % of the short side."
        ),
    ] = None,
    flip: Annotated[bool, typer.Option(help="Mirror half of the clips.")] = False,
    repeats: options.Repeats = None,
    patience: options.Patience = None,
    seed: options.Seed = 0,
    sampling: options.Sampling = "auto",
    stride: options.Stride = None,
    fps: options.Fps = None,
    pixels: options.Pixels = None,
    device: options.Device = "auto",
    dtype: options.TrainDtype = "auto",
    compiled: options.Compile = False,
    gradient_checkpointing: options.GradientCheckpointing = False,
    timeout: options.Timeout = 120.0,
    decoder_memory: options.DecoderMemory = None,
    workers: options.Workers = None,
    set_values: options.SetValues = None,
    resume: options.ResumeRun = False,
    overwrite: options.OverwriteRun = False,
    dry_run: options.DryRun = False,
    progress: options.ProgressMode = "auto",
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Train an encoder on videos without labels: most of each clip is hidden, and the model learns to fill it in.

    OUT is a checkpoint for finetune, embed and reconstruct, and for transformers.

    Exit code 0 when trained, 1 if not, 2 for wrong options, 130 when interrupted (--resume goes on).
    """
    console.configure(debug=debug, quiet=quiet)
    check_progress(progress)
    if size not in SIZES:
        raise OptionError(f"unknown size {size!r}: choose {', '.join(SIZES)}")
    if not 0 <= val < 1:
        raise OptionError(f"--val is the part of the files that is held out: from 0 to below 1, not {val:g}")
    if resume and overwrite:
        raise OptionError("--resume goes on with a run, --overwrite replaces it: give one of them")
    stored = "stored" if recipe != "default" else None  # as the official loader has them
    terms = Terms(
        data=data,
        output=Path(output),
        labels=None,
        targets=(),
        val=val,
        check=check,
        recipe=recipe,
        patience=patience,
        seed=seed,
        sampling=SamplingSpec(family=sampling, stride=stride, clips=1, fps=fps, pixels=pixels or stored),
        device=device,
        dtype=dtype,
        compiled=compiled,
        gradient_checkpointing=gradient_checkpointing,
        heads=None,
        timeout=timeout,
        memory=options.memory_bytes(decoder_memory),
        workers=workers,
        epochs=epochs,
        batch=batch_size,
        set_values=tuple(set_values or ()),
        resume=resume,
        overwrite=overwrite,
        dry_run=dry_run,
        progress=progress,
        debug=debug,
    )
    asked = {
        "epochs": epochs,
        "batch": batch_size,
        "accumulate": accumulate,
        "lr": lr,
        "min_lr": min_lr,
        "warmup": warmup,
        "weight_decay": weight_decay,
        "betas": betas,
        "clip_grad": clip_grad,
        "mask": mask,
        "mask_ratio": mask_ratio,
        "scale": crop_scale,
        "flip": flip,
        "repeats": repeats,
    }
    shape = {"image_size": image_size, "patch_size": patch_size, "num_frames": frames, "norm_pix_loss": norm_pix}
    _pretrain(terms, asked, shape, size, (init, revision))


def _pretrain(
    terms: Terms,
    asked: dict[str, Any],
    shape: dict[str, Any],
    size: str,
    start: tuple[str | None, str | None],
) -> None:
    from videomae_cli.pipeline import pick_device
    from videomae_cli.training import local_device, masked_recipe_for, together

    masked_recipe_for(clips=1, asked=asked, name=terms.recipe)  # whatever is wrong is told before the data is read
    device = local_device(pick_device(terms.device))
    with together(device) as share, quiet_unless(share.leads):
        dtype = pick_dtype(terms.dtype, device)
        if terms.data.endswith(".py"):
            terms.run_own_task("pretrain", share, device, dtype)
            return
        with terms.decoder() as decoder:
            _train(terms, asked, shape, size, start, decoder, share, terms.loop(device, dtype))


def _train(
    terms: Terms,
    asked: dict[str, Any],
    shape: dict[str, Any],
    size: str,
    start: tuple[str | None, str | None],
    decoder: Decoder,
    share: Share,
    loop: Loop,
) -> None:
    from videomae_cli.cli.learning_data import read_learning_data
    from videomae_cli.training import PreTrain, Run, check_masks, masked_recipe_for
    from videomae_cli.training.card import finish_masked

    model, preprocessor, sampling, name = _model(terms, shape, size, *start)
    numbers = {"asked": asked, "name": terms.recipe, "width": model.config.hidden_size}
    check_masks(model.config.grid, masked_recipe_for(clips=1, **numbers))
    data = read_learning_data(terms, decoder, share, labels=False)
    recipe = masked_recipe_for(clips=len(data.train), world=share.world, **numbers)
    if terms.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    task = PreTrain(
        model,
        train=data.train,
        val=data.val,
        recipe=recipe,
        preprocessor=preprocessor,
        sampling=sampling,
        decoder=decoder,
        seed=terms.seed,
        share=share,
        init=name,
        warn=lambda path, error: console.error(f"{path}: {error} (another clip stands in)"),
    )
    console.note(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, from {name or 'random weights'}; "
        f"recipe {recipe.name}: {console.counted(recipe.epochs, 'epoch')} of {console.counted(task.epoch, 'step')} of "
        f"{console.counted(task.clips, 'clip')}, rate {recipe.lr:.2g}, {recipe.mask} masks that hide {recipe.mask_ratio:.0%}"
    )
    for line in recipe.lines():
        console.note(line)
    if terms.dry_run:
        return
    with Run(terms.output, resume=terms.resume, overwrite=terms.overwrite, writes=share.leads) as run:
        train(task, run, loop, share=share, command="pretrain", progress=terms.progress)
        if share.leads:
            finish_masked(run, settings_of("pretrain", task.settings, loop))
            last = [event for event in run.events() if event["event"] == "epoch"][-1]
            loss = last["train_loss"] if last.get("val_loss") is None else last["val_loss"]
            streams.remark(f"loss {loss:.4f}; videomae finetune DATA --init {terms.output} uses it")


def _model(
    terms: Terms, shape: dict[str, Any], size: str, init: str | None, revision: str | None
) -> tuple[Any, Preprocessor, SamplingSpec, str | None]:
    """The model, as it sees frames, how clips are sampled, and what it starts from."""
    import torch

    from videomae_cli.assembly import find_hints, preprocessor_for
    from videomae_cli.cli.loading import hinted
    from videomae_cli.cli.transfers import bring
    from videomae_cli.model import VideoMAEForPreTraining
    from videomae_cli.training import SSV2_STRIDE, own_section

    torch.manual_seed(terms.seed)
    if init is not None:
        source = bring(init, revision)
        model = VideoMAEForPreTraining.from_pretrained(source.path)
        # The weights lie in the mapped file: training needs its own.
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
        hints = find_hints(model.config.num_frames, model.config.extra, source.name)
        sampling = hinted(terms.sampling, hints, source.name)
        about = {"init": source.name, "made_by": "videomae pretrain"}
        model.config = model.config.replace(extra=own_section(sampling, about))
        return model, preprocessor_for(source.path, model.config, "antialias"), sampling, source.name
    config = _config(size, shape)
    # Without a checkpoint that says otherwise, as the published ones: dense, every 4th frame.
    sampling = terms.sampling.for_model(find_hints(config.num_frames, {}, ""))
    if terms.recipe == "paper-ssv2" and terms.sampling.stride is None:
        sampling = replace(sampling, checkpoint_stride=SSV2_STRIDE)
    config = config.replace(extra=own_section(sampling, {"made_by": "videomae pretrain"}))
    model = VideoMAEForPreTraining(config)
    side = shape["image_size"]
    return model, Preprocessor(PreprocessConfig(shortest_edge=side, crop=(side, side))), sampling, None


def _config(size: str, shape: dict[str, Any]) -> VideoMAEConfig:
    from videomae_cli.model import VideoMAEConfig

    width, layers, heads, decoder_width, decoder_layers, decoder_heads = SIZES[size]
    return VideoMAEConfig(
        **shape,
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

"""`videomae pretrain`: an encoder from videos without labels, by filling in what is hidden."""

from __future__ import annotations

from typing import Annotated

import typer

from videomae_cli.cli import console, options, streams
from videomae_cli.cli.batch import check_progress


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
    from videomae_cli.cli.training import TerminalListener, parse_settings, stopped
    from videomae_cli.training import pretrain as run

    trained = run(
        data,
        output=output,
        init=init,
        revision=revision,
        size=size,
        image_size=image_size,
        patch_size=patch_size,
        frames=frames,
        norm_pix=norm_pix,
        mask=mask,
        mask_ratio=mask_ratio,
        val=val,
        check=check,
        recipe=recipe,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        lr=lr,
        min_lr=min_lr,
        warmup=warmup,
        weight_decay=weight_decay,
        betas=betas,
        clip_grad=clip_grad,
        crop_scale=crop_scale,
        flip=flip,
        repeats=repeats,
        patience=patience,
        seed=seed,
        sampling=sampling,
        stride=stride,
        fps=fps,
        pixels=pixels,
        device=device,
        dtype=dtype,
        compile=compiled,
        gradient_checkpointing=gradient_checkpointing,
        timeout=timeout or None,
        memory=options.memory_bytes(decoder_memory),
        workers=workers,
        values=parse_settings(set_values),
        resume=resume,
        overwrite=overwrite,
        dry_run=dry_run,
        debug=debug,
        listener=TerminalListener(progress),
    )
    if stopped(trained):
        return
    if trained.loss is not None:
        streams.remark(f"loss {trained.loss:.4f}; videomae finetune DATA --init {output} uses it")
    else:
        streams.remark(f"{output}: {console.counted(trained.steps, 'step')} done")

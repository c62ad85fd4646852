"""`videomae finetune`: your own classes from a folder or a table."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.cli import console, options, streams
from videomae_cli.cli.batch import check_progress

DataPath = Annotated[
    str,
    typer.Argument(
        help="A folder of class folders (or of train/ and val/ with class folders), a CSV, TSV, Parquet or JSON Lines table "
        "of path and label, or a Python file with a task of your own.",
        metavar="DATA",
    ),
]


def finetune(
    data: DataPath,
    output: options.RunFolder,
    init: Annotated[
        str,
        typer.Option(
            help="Where to start: a bundled name (camera-motion-mae), a hub id, or a directory.",
            metavar="NAME|HUB_ID|DIR",
        ),
    ] = options.DEFAULT_MODEL,
    revision: options.Revision = None,
    mode: Annotated[
        str,
        typer.Option(
            help="head: the encoder stays, a linear classifier in seconds; full: all weights; lora: small matrices beside "
            "those of the attention. auto: head for fewer than 10 clips a class (50 of values), or a large model on a CPU, else full.",
            metavar="auto|head|full|lora",
        ),
    ] = "auto",
    labels: Annotated[
        Path | None,
        typer.Option(help="Names for labels that are numbers: one a line, JSON, or CSV.", metavar="FILE"),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Learn the numbers in this column of a table instead of classes. May be given several times.",
            metavar="COLUMN",
        ),
    ] = None,
    val: options.ValFraction = 0.2,
    check: options.CheckData = True,
    recipe: options.Recipe = "default",
    epochs: options.Epochs = None,
    batch_size: options.TrainBatch = None,
    accumulate: options.Accumulate = None,
    lr: options.LearningRate = None,
    min_lr: options.FloorRate = None,
    warmup: Annotated[
        float | None, typer.Option(min=0, help="Epochs of rising rate. Default 5, or a fifth of all.")
    ] = None,
    weight_decay: options.WeightDecay = None,
    betas: options.Betas = None,
    clip_grad: options.ClipGrad = None,
    layer_decay: Annotated[
        float | None, typer.Option(help="The rate of a layer as a part of that of the one above. Default 0.75.")
    ] = None,
    drop_path: Annotated[float | None, typer.Option(help="Stochastic depth of the last block. Default 0.1.")] = None,
    head_dropout: Annotated[float | None, typer.Option(help="Dropout before the classifier. Default 0.")] = None,
    head_init_scale: Annotated[
        float | None, typer.Option(help="What a new classifier's first weights are multiplied with. Default 0.001.")
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Default 0.1.")] = None,
    mixup: Annotated[float | None, typer.Option(help="Alpha of mixup. Default 0.8; 0 below 1,000 clips.")] = None,
    cutmix: Annotated[float | None, typer.Option(help="Alpha of cutmix. Default 1; 0 below 1,000 clips.")] = None,
    augment_ops: Annotated[
        int | None, typer.Option(min=0, help="RandAugment: operations. Default 4; 2 below 1,000 clips.")
    ] = None,
    augment_magnitude: Annotated[
        float | None,
        typer.Option(min=0, max=10, help="RandAugment: strength, 0 to 10. Default 7; 5 below 1,000 clips."),
    ] = None,
    erase: Annotated[float | None, typer.Option(help="How often a box is filled with noise. Default 0.25.")] = None,
    crop_scale: Annotated[
        float | None,
        typer.Option(help="Least part of a frame's area that a clip shows. Default 0.08."),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(min=1, help="Views of each clip drawn, each changed anew. Default 2."),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(help="Mirror half of the clips. Default: unless a label says left, right or clockwise."),
    ] = None,
    repeats: options.Repeats = None,
    ema: Annotated[
        float | None,
        typer.Option(help="Save an average of the weights, of which a step leaves this much, such as 0.999."),
    ] = None,
    lora_rank: Annotated[int, typer.Option(min=1, help="Rank of the matrices of --mode lora.")] = 16,
    penalty: Annotated[
        float | None, typer.Option(min=0, help="L2 penalty of --mode head. Default: the best of six on held-out clips.")
    ] = None,
    patience: options.Patience = None,
    seed: options.Seed = 0,
    sampling: options.Sampling = "auto",
    stride: options.Stride = None,
    clips: Annotated[
        int | None,
        typer.Option(
            min=1, help="Clips a file: of --mode head all, of others held-out files only. Default as classify."
        ),
    ] = None,
    fps: options.Fps = None,
    pixels: options.Pixels = None,
    device: options.Device = "auto",
    dtype: options.TrainDtype = "auto",
    compiled: options.Compile = False,
    gradient_checkpointing: options.GradientCheckpointing = False,
    heads: options.Heads = None,
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
    """Train a classifier of your own classes, or a model of your own values.

    OUT is a checkpoint directory for every command here and for transformers, with metrics, curves and a confusion matrix
    (of values, predicted over true) beside the weights. With several GPUs: torchrun --nproc-per-node N -m videomae_cli finetune ...

    Exit code 0 when trained, 1 if not, 2 for wrong options, 130 when interrupted (--resume goes on).
    """
    console.configure(debug=debug, quiet=quiet)
    check_progress(progress)
    from videomae_cli.cli.training import TerminalListener, parse_settings, stopped
    from videomae_cli.training import finetune as run

    trained = run(
        data,
        output=output,
        init=init,
        revision=revision,
        mode=mode,
        labels=labels,
        target=target or (),
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
        layer_decay=layer_decay,
        drop_path=drop_path,
        head_dropout=head_dropout,
        head_init_scale=head_init_scale,
        label_smoothing=label_smoothing,
        mixup=mixup,
        cutmix=cutmix,
        augment_ops=augment_ops,
        augment_magnitude=augment_magnitude,
        erase=erase,
        crop_scale=crop_scale,
        views=views,
        flip=flip,
        repeats=repeats,
        ema=ema,
        lora_rank=lora_rank,
        penalty=penalty,
        patience=patience,
        seed=seed,
        sampling=sampling,
        stride=stride,
        clips=clips,
        fps=fps,
        pixels=pixels,
        device=device,
        dtype=dtype,
        compile=compiled,
        gradient_checkpointing=gradient_checkpointing,
        heads=heads,
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
    if data.endswith(".py"):
        streams.remark(f"{output}: {console.counted(trained.steps, 'step')} done")
        return
    about = trained.figures.line if trained.figures is not None else "nothing held out, so nothing measured"
    streams.remark(f"{about}; videomae classify --model {shlex.quote(output)} uses it")

"""Trains a classifier on a user's own classes, or a regression model on their own values, from data to checkpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch

from videomae_cli.arguments import at_least, checked
from videomae_cli.assembly import find_hints, preprocessor_for
from videomae_cli.engines import pick_engine
from videomae_cli.errors import OptionError, VideoMAEError, Wording, check_choice, say
from videomae_cli.model import (
    HEAD_SCALE,
    Overrides,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    clip_gflops,
    has_classifier,
    load_checkpoint,
    start_classifier,
)
from videomae_cli.pipeline import auto_batch_size
from videomae_cli.training.card import finish
from videomae_cli.training.checkpoint import own_section
from videomae_cli.training.classification import Data, FineTune
from videomae_cli.training.clip_task import Start
from videomae_cli.training.distributed import Share
from videomae_cli.training.expected_time import PATIENCE_SECONDS, all_epochs, expected_seconds, seconds_of_a_view
from videomae_cli.training.head import HEAD_ONLY, HeadTraining
from videomae_cli.training.listener import TrainingListener
from videomae_cli.training.lora import add_lora
from videomae_cli.training.process import Process, read_learning_data, run_training
from videomae_cli.training.recipe import MANY_CLIPS, Recipe, option_of, recipe_for
from videomae_cli.training.run_folder import FEATURES, Run
from videomae_cli.training.terms import (
    RECIPE_NUMBERS,
    Terms,
    Trained,
    TrainingOptions,
    settings_of,
    split_options,
)
from videomae_cli.training.trainer import train
from videomae_cli.visible import counted, duration

MODES = ("auto", "head", "full", "lora")
# From this size on, training all weights on a CPU takes hours even for little data.
_LARGE_GFLOPS = 30.0
_FEW_CLIPS_A_CLASS = 10
# The same threshold for regression, which has no classes: a number of clips in total.
_FEW_CLIPS_OF_VALUES = 50
NUMBERS = (
    *RECIPE_NUMBERS,
    *("layer_decay", "drop_path", "head_dropout", "head_init_scale", "label_smoothing", "mixup", "cutmix"),
    *("augment_ops", "augment_magnitude", "erase", "views", "ema"),
)


class FineTuneOptions(TrainingOptions, total=False):
    """Settings of a fine-tuning run. All are optional, with the meaning of the options of `videomae finetune`.

    In addition to those of `TrainingOptions`: clips: number per file (of held-out files only, except for mode "head");
    heads: attention heads, if the checkpoint doesn't say. Hyperparameters, None for the recipe's: layer_decay: a
    layer's rate as a fraction of the next one's; drop_path: stochastic depth; head_dropout; head_init_scale;
    label_smoothing; mixup, cutmix: their alphas; augment_ops, augment_magnitude: RandAugment's; erase: probability that
    a box is filled with noise; views: differently augmented views per clip; ema: decay of an average of the weights,
    which is saved instead.
    """

    clips: int | None
    heads: int | None
    layer_decay: float | None
    drop_path: float | None
    head_dropout: float | None
    head_init_scale: float | None
    label_smoothing: float | None
    mixup: float | None
    cutmix: float | None
    augment_ops: int | None
    augment_magnitude: float | None
    erase: float | None
    views: int | None
    ema: float | None


@dataclass(frozen=True, kw_only=True)
class FineTuneRequest(Terms):
    """The checked options of `finetune`, besides those in `Terms`."""

    init: str
    revision: str | None = None
    mode: str = "auto"
    lora_rank: int = 16
    penalty: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("mode", self.mode, MODES)
        at_least(1, lora_rank=self.lora_rank)
        at_least(0, penalty=self.penalty)
        if self.targets and self.data.endswith(".py"):
            raise OptionError.about(
                "target", "a task of your own reads its data itself", remedy=Wording("leave out {@target}")
            )


@checked
def finetune(
    data: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str],
    init: str | os.PathLike[str],
    revision: str | None = None,
    mode: str = "auto",
    labels: str | os.PathLike[str] | None = None,
    target: str | Sequence[str] = (),
    lora_rank: int = 16,
    penalty: float | None = None,
    listener: TrainingListener | None = None,
    **options: Unpack[FineTuneOptions],
) -> Trained:
    """Train a classifier on your own classes, or a regression model on your own values; what `videomae finetune` does.

    data: a folder of class folders, a table of path and label, or a Python file with a task of your own; output: the
    folder to write, a checkpoint with metrics, curves and a card; init: the checkpoint to start from; mode: "head" (the
    encoder stays), "full", "lora" or "auto"; labels: a file of names for labels that are numbers; target: columns of
    values to learn instead of classes; penalty: L2 penalty of mode "head"; listener: receives the progress; options:
    `FineTuneOptions`. Raises DatasetError, TrainingError, OutputError, OptionError, and what loading `init` raises.
    """
    given: dict[str, Any] = dict(options)
    asked, terms = split_options(given, NUMBERS, clips=given.pop("clips", None))
    request = FineTuneRequest(
        data=os.fspath(data),
        output=Path(output),
        asked=asked,
        init=os.fspath(init),
        revision=revision,
        mode=mode,
        labels=None if labels is None else Path(labels),
        targets=(target,) if isinstance(target, str) else tuple(target),
        lora_rank=lora_rank,
        penalty=penalty,
        **terms,
    )
    # Reports wrong numbers before the data is read.
    recipe_for(clips=MANY_CLIPS, labels=(), asked=asked, name=request.recipe)
    if mode == "head":
        _check_head_only(request)
    return run_training(request, "finetune", listener or TrainingListener(), _train)


def _train(request: FineTuneRequest, process: Process) -> Trained:
    share, loop, listener = process.share, process.loop, process.listener
    data = read_learning_data(request, process)
    source = listener.find_model(request.init, request.revision)
    checkpoint = load_checkpoint(source.path, overrides=Overrides(num_attention_heads=request.heads))
    before = checkpoint.config
    spec = request.sampling_for(find_hints(before.num_frames, before.extra, source.name), source.name, listener)
    made = partial(_recipe, request, data, share, spec.resolved_family, before.hidden_size)
    mode, time_note = share.gather(_mode(request, data, before, made, process))[0]
    recipe = None if mode == "head" else made()
    names, kind, spread = data.dataset.names, data.dataset.problem_type, data.spread
    torch.manual_seed(request.seed)
    model = start_classifier(
        checkpoint,
        labels=names,
        problem_type=kind,
        drop_path=recipe.drop_path if recipe else 0.0,
        head_scale=recipe.head_scale if recipe else HEAD_SCALE,
        keep_norm=recipe is None,
        extra=own_section(spec, {"init": source.name, "made_by": f"videomae finetune, mode {mode}"}),
    )
    if spread is not None and has_classifier(checkpoint, names, kind):
        # the checkpoint's classifier predicts values in the data's unit; training needs standardised ones
        spread.begin(model.classifier)
    listener.note(f"mode {mode}, from {source.name}: {model.num_parameters() / 1e6:.1f} M parameters{time_note}")
    start = Start(
        model=model,
        preprocessor=preprocessor_for(source.path, model.config, "antialias"),
        sampling=spec,
        decoder=process.decoder,
        init=source.name,
        folder=source.path,
        seed=request.seed,
        share=share,
        batch=auto_batch_size(model.config, loop.device),
        warn=lambda path, error: listener.clip_failed(path, error, replaced=True),
    )
    run = request.run(share)
    with contextlib.nullcontext() if request.dry_run else run:
        if recipe is None:
            listener.note(_head_plan(request, data, model.config, process))
            return _run_head(request, _head(request, start, data, loop.device), run, listener)
        return _run_whole(request, _whole(request, mode, start, recipe, data, listener), run, process)


def _recipe(request: FineTuneRequest, data: Data, share: Share, family: str, width: int) -> Recipe:
    values = bool(data.dataset.outputs)
    if values and request.asked["smoothing"]:
        raise OptionError.about(
            "label_smoothing", "{@label_smoothing} is for classes: leave it out where {@target} names values"
        )
    return recipe_for(
        clips=len(data.train),
        labels=data.dataset.names,
        world=share.world,
        multi_label=data.dataset.multi_label or values,
        asked=request.asked,
        name=request.recipe,
        family=family,
        width=width,
    )


def _mode(
    request: FineTuneRequest, data: Data, config: VideoMAEConfig, recipe: Callable[[], Recipe], process: Process
) -> tuple[str, str]:
    """Choose the mode; also return a note on how long training all weights takes, if that can be estimated.

    A resumed run keeps its mode, however long a step takes this time.
    """
    asked = request.mode
    if asked == "auto" and request.resume:
        earlier = Run(request.output, resume=True, overwrite=False).recorded()
        if earlier is not None:
            asked = "head" if str(earlier["settings"].get("task")).endswith(HEAD_ONLY) else "full"
    enough = _FEW_CLIPS_OF_VALUES if data.dataset.outputs else _FEW_CLIPS_A_CLASS * len(data.dataset.classes)
    if asked == "head" or (asked == "auto" and len(data.train) < enough):
        return "head", ""
    if process.loop.device.type != "cpu":
        return "full" if asked == "auto" else asked, ""
    if asked == "auto" and clip_gflops(config) > _LARGE_GFLOPS:
        return "head", say("; all weights, {@mode:full}, would take hours on this CPU")
    numbers = recipe()
    seconds = expected_seconds(
        seconds_of_a_view(config),
        epochs=numbers.epochs,
        train_views=len(data.train) * numbers.repeats * numbers.views,
        val_views=data.clips(data.val, request.sampling),
        reading=data.reading,
        processes=process.share.world,
    )
    if asked == "auto" and seconds > PATIENCE_SECONDS:
        return "head", say("; all weights, {@mode:full}, would take about {time} here", time=duration(seconds))
    note = f"; about {duration(seconds)} for {all_epochs(numbers.epochs)} here"
    return "full" if asked == "auto" else asked, note


def _head_plan(request: FineTuneRequest, data: Data, config: VideoMAEConfig, process: Process) -> str:
    """Say what mode "head" will do, and on a CPU how long that takes."""
    clips = len(data.train) + len(data.val)
    plan = f"the encoder stays as it is: features of {counted(clips, 'clip')} are computed once, and a linear layer is fitted"
    if process.loop.device.type != "cpu" or request.resume:
        return plan
    views = data.clips([*data.train, *data.val], request.sampling)
    seconds = views * (seconds_of_a_view(config, learning=False) + data.reading) / process.share.world
    return f"{plan}; about {duration(seconds)} here"


def _head(
    request: FineTuneRequest, start: Start[VideoMAEForVideoClassification], data: Data, device: torch.device
) -> HeadTraining:
    _check_head_only(request)
    start.model.to(device)
    engine = pick_engine("torch", request.dtype, device)
    return HeadTraining(start=start, data=data, engine=engine, strength=request.penalty)


def _check_head_only(request: FineTuneRequest) -> None:
    """Raise OptionError for hyperparameters of a recipe, which mode "head" doesn't follow."""
    given = [option_of(name) for name, value in request.asked.items() if value is not None]
    names = ["{@" + option + "}" for option in sorted(given)]
    names += [f"{{@recipe:{request.recipe}}}"] if request.recipe != "default" else []
    if names:
        reason = "{@mode:head} trains no encoder: leave out {options}, or say {@mode:full}"
        raise OptionError.about("mode", reason, options=Wording(", ".join(names)))


def _run_head(request: FineTuneRequest, head: HeadTraining, run: Run, listener: TrainingListener) -> Trained:
    settings = settings_of("finetune", head.settings)
    if request.dry_run:
        return Trained(run.folder, "dry run")
    run.begin(settings, keeps=(FEATURES,))
    try:
        with listener.features(len(head.data.train) + len(head.data.val)) as on_file:

            def on_progress(done: int, error: VideoMAEError | None, path: str) -> None:
                if error is not None:
                    listener.clip_failed(path, error, replaced=False)
                on_file(path, error)

            figures = head(run, on_progress)
    except KeyboardInterrupt as error:
        raise type(error)(
            say(
                "interrupted: features so far are kept in {folder}; {@resume:True} continues from there",
                folder=run.folder,
            )
        ) from None
    if head.start.share.leads:
        run.record(settings, {"ended": "finished", "figures": figures.event if figures else None})
        finish(run, figures, head.data, settings)
    return Trained(run.folder, "finished", figures=figures)


def _whole(
    request: FineTuneRequest,
    mode: str,
    start: Start[VideoMAEForVideoClassification],
    recipe: Recipe,
    data: Data,
    listener: TrainingListener,
) -> FineTune:
    if request.gradient_checkpointing:
        start.model.gradient_checkpointing_enable()
    merged = add_lora(start.model, rank=request.lora_rank) if mode == "lora" else None
    task = FineTune(start, data=data, recipe=recipe, merged=merged)
    for line in (task.plan, *recipe.lines()):
        listener.note(line)
    return task


def _run_whole(request: FineTuneRequest, task: FineTune, run: Run, process: Process) -> Trained:
    if request.dry_run:
        return Trained(run.folder, "dry run", steps=task.steps)
    share, loop = process.share, process.loop
    trained = train(task, run, loop, share=share, command="finetune", listener=process.listener)
    if not share.leads or trained.ended == "interrupted":
        return trained
    figures = task.measure(run.folder)
    finish(run, figures, task.data, settings_of("finetune", task.settings, loop))
    return replace(trained, figures=figures)

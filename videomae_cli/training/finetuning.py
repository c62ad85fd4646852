"""Trains a classifier on a user's own classes, or a regression model on their own values, from data to checkpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from videomae_cli.arguments import checked
from videomae_cli.assembly import find_hints, preprocessor_for
from videomae_cli.errors import OptionError, VideoMAEError, Wording, say, unknown_choice
from videomae_cli.training.listener import TrainingListener
from videomae_cli.training.terms import (
    RECIPE_NUMBERS,
    Terms,
    Trained,
    TrainingOptions,
    given_names,
    pick_dtype,
    settings_of,
    split_options,
    text_path,
)
from videomae_cli.video import Decoder, Preprocessor, SamplingSpec
from videomae_cli.visible import counted, duration

if TYPE_CHECKING:
    from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification
    from videomae_cli.training import FineTune, HeadTraining, Loop, Recipe, Run, Share
    from videomae_cli.training.learning_data import LearningData

MODES = ("auto", "head", "full", "lora")
# From this size on, training all weights on a CPU takes hours even for little data.
_LARGE_GFLOPS = 30.0
_FEW_CLIPS_A_CLASS = 10
# The corresponding minimum of clips for regression, which has no classes.
_FEW_CLIPS_OF_VALUES = 50
# Option name -> name of the same number in a recipe.
NUMBERS = RECIPE_NUMBERS | {
    "layer_decay": "layer_decay",
    "drop_path": "drop_path",
    "head_dropout": "head_dropout",
    "head_init_scale": "head_scale",
    "label_smoothing": "smoothing",
    "mixup": "mixup",
    "cutmix": "cutmix",
    "augment_ops": "operations",
    "augment_magnitude": "magnitude",
    "erase": "erase",
    "views": "views",
    "ema": "ema",
}


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
        if self.mode not in MODES:
            raise unknown_choice("mode", self.mode, MODES)


@dataclass(frozen=True)
class Start:
    """Everything that training starts from. batch: views per batch in evaluation."""

    model: VideoMAEForVideoClassification
    name: str
    preprocessor: Preprocessor
    sampling: SamplingSpec
    batch: int


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
        data=text_path(data),
        output=Path(output),
        asked=asked,
        init=text_path(init),
        revision=revision,
        mode=mode,
        labels=None if labels is None else Path(labels),
        targets=given_names(target),
        lora_rank=lora_rank,
        penalty=penalty,
        **terms,
    )
    return _finetune(request, listener or TrainingListener())


def _finetune(request: FineTuneRequest, listener: TrainingListener) -> Trained:
    from videomae_cli.pipeline import pick_device
    from videomae_cli.training import local_device, together

    device = local_device(pick_device(request.device))
    with together(device) as share, listener.process(leads=share.leads):
        dtype = pick_dtype(request.dtype, device, listener)
        if request.data.endswith(".py"):
            from videomae_cli.training.own_task import train_own_task

            if request.targets:
                raise OptionError.about(
                    "target", "a task of your own reads its data itself", remedy=Wording("leave out {@target}")
                )
            return train_own_task(request, "finetune", share, device, dtype, listener)
        from videomae_cli.training.learning_data import read_learning_data

        with request.decoder() as decoder:
            data = read_learning_data(request, decoder, share, listener)
            return _train(request, data, decoder, share, device, dtype, listener)


def _train(
    request: FineTuneRequest,
    data: LearningData,
    decoder: Decoder,
    share: Share,
    device: Any,
    dtype: str,
    listener: TrainingListener,
) -> Trained:
    import torch

    from videomae_cli.model import HEAD_SCALE, Overrides, has_classifier, load_checkpoint, start_classifier
    from videomae_cli.pipeline import auto_batch_size
    from videomae_cli.training import Run, own_section

    source = listener.find_model(request.init, request.revision)
    checkpoint = load_checkpoint(source.path, overrides=Overrides(num_attention_heads=request.heads))
    before = checkpoint.config
    spec = request.sampling_for(find_hints(before.num_frames, before.extra, source.name), source.name, listener)
    made = partial(_recipe, request, data, share, spec.resolved_family, before.hidden_size)
    mode, time_note = share.gather(_mode(request, data, before, made, device.type, share.world))[0]
    recipe = None if mode == "head" else made()
    names, kind, spread = data.dataset.names, data.dataset.problem_type, data.of_task.spread
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
    listener.note(f"mode {mode}, from {source.name}: {_parameters(model):.1f} M parameters{time_note}")
    preprocessor = preprocessor_for(source.path, model.config, "antialias")
    start = Start(model, source.name, preprocessor, spec, auto_batch_size(model.config, device))
    run = Run(request.output, resume=request.resume, overwrite=request.overwrite, writes=share.leads)
    with contextlib.nullcontext() if request.dry_run else run:
        if recipe is None:
            listener.note(_head_plan(request, data, model.config, device.type, share.world))
            return _run_head(request, _head(request, start, data, decoder, device), run, share, listener)
        task = _whole(request, mode, start, recipe, data, decoder, share, listener)
        return _run_whole(request, task, run, share, request.loop(device, dtype), listener)


def _recipe(request: FineTuneRequest, data: LearningData, share: Share, family: str, width: int) -> Recipe:
    from videomae_cli.training import recipe_for

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
    request: FineTuneRequest,
    data: LearningData,
    config: VideoMAEConfig,
    recipe: Callable[[], Recipe],
    device: str,
    world: int = 1,
) -> tuple[str, str]:
    """Choose the mode; also return a note on how long training all weights takes, if that can be estimated.

    A resumed run keeps its mode, however long a step takes this time.
    """
    from videomae_cli.model import clip_gflops
    from videomae_cli.training import Run
    from videomae_cli.training.expected_time import PATIENCE_SECONDS, expected_seconds
    from videomae_cli.training.head import HEAD_ONLY

    asked = request.mode
    if asked == "auto" and request.resume:
        earlier = Run(request.output, resume=True, overwrite=False).recorded()
        if earlier is not None:
            asked = "head" if str(earlier["settings"].get("task")).endswith(HEAD_ONLY) else "full"
    enough = _FEW_CLIPS_OF_VALUES if data.dataset.outputs else _FEW_CLIPS_A_CLASS * len(data.dataset.classes)
    if asked == "head" or (asked == "auto" and len(data.train) < enough):
        return "head", ""
    if device != "cpu":
        return "full" if asked == "auto" else asked, ""
    if asked == "auto" and clip_gflops(config) > _LARGE_GFLOPS:
        return "head", say("; all weights, {@mode:full}, would take hours on this CPU")
    numbers = recipe()
    seconds = expected_seconds(
        config,
        epochs=numbers.epochs,
        train_views=len(data.train) * numbers.repeats * numbers.views,
        val_views=len(data.val) * (request.sampling.clips or 1),
        reading=data.reading,
        processes=world,
    )
    if asked == "auto" and seconds > PATIENCE_SECONDS:
        return "head", say("; all weights, {@mode:full}, would take about {time} here", time=duration(seconds))
    return (
        "full" if asked == "auto" else asked,
        f"; about {duration(seconds)} for all {counted(numbers.epochs, 'epoch')} here",
    )


def _head_plan(request: FineTuneRequest, data: LearningData, config: VideoMAEConfig, device: str, world: int) -> str:
    """Say what mode "head" will do, and on a CPU how long that takes, unless measuring it took long itself."""
    from videomae_cli.model import clip_gflops
    from videomae_cli.training.expected_time import expected_seconds

    clips = len(data.train) + len(data.val)
    plan = f"the encoder stays as it is: features of {counted(clips, 'clip')} are computed once, and a linear layer is fitted"
    if device != "cpu" or request.resume or clip_gflops(config) > _LARGE_GFLOPS:
        return plan
    views = clips * (request.sampling.clips or 1)
    seconds = expected_seconds(config, epochs=1, train_views=0, val_views=views, reading=data.reading, processes=world)
    return f"{plan}; about {duration(seconds)} here"


def _head(request: FineTuneRequest, start: Start, data: LearningData, decoder: Decoder, device: Any) -> HeadTraining:
    from videomae_cli.engines import pick_engine
    from videomae_cli.training import HeadTraining, View

    recipe_only = [name.replace("_", "-") for name, value in request.asked.items() if value is not None]
    recipe_only += [f"recipe {request.recipe}"] if request.recipe != "default" else []
    if recipe_only:
        raise OptionError.about(
            "mode",
            "{@mode:head} trains no encoder: leave out {options}, or say {@mode:full}",
            options=", ".join(sorted(recipe_only)),
        )
    transform = start.preprocessor.frame_transform(crops=1)
    return HeadTraining(
        model=start.model.to(device),
        data=data.of_task,
        preprocessor=start.preprocessor,
        view=View(sampling=start.sampling, transform=transform, decoder=decoder, batch=start.batch),
        engine=pick_engine("torch", request.dtype, device),
        init=start.name,
        strength=request.penalty,
        seed=request.seed,
    )


def _run_head(
    request: FineTuneRequest, head: HeadTraining, run: Run, share: Share, listener: TrainingListener
) -> Trained:
    from videomae_cli.training.card import finish
    from videomae_cli.training.run_folder import FEATURES

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

            figures = head(run, settings, share=share, on_progress=on_progress)
    except KeyboardInterrupt as error:
        raise type(error)(
            say(
                "interrupted: features so far are kept in {folder}; {@resume:True} goes on from them", folder=run.folder
            )
        ) from None
    if share.leads:
        run.record(settings, {"ended": "finished", "figures": figures.event if figures else None})
        finish(run, figures, head.data, settings)
    return Trained(run.folder, "finished", figures=figures)


def _whole(
    request: FineTuneRequest,
    mode: str,
    start: Start,
    recipe: Recipe,
    data: LearningData,
    decoder: Decoder,
    share: Share,
    listener: TrainingListener,
) -> FineTune:
    from videomae_cli.training import FineTune

    if request.gradient_checkpointing:
        start.model.gradient_checkpointing_enable()
    merged = None
    if mode == "lora":
        from videomae_cli.training.lora import add_lora

        merged = add_lora(start.model, rank=request.lora_rank)
    task = FineTune(
        start.model,
        data=data.of_task,
        recipe=recipe,
        preprocessor=start.preprocessor,
        sampling=start.sampling,
        decoder=decoder,
        seed=request.seed,
        share=share,
        eval_batch=start.batch,
        init=start.name,
        warn=lambda path, error: listener.clip_failed(path, error, replaced=True),
        merged=merged,
    )
    clips = recipe.batch * recipe.accumulate * share.world
    listener.note(
        f"recipe {recipe.name}: {counted(recipe.epochs, 'epoch')} of {counted(task.epoch, 'step')} of "
        f"{counted(clips, 'clip')}, rate {recipe.lr:.2g}"
    )
    for line in recipe.lines():
        listener.note(line)
    return task


def _run_whole(
    request: FineTuneRequest, task: FineTune, run: Run, share: Share, loop: Loop, listener: TrainingListener
) -> Trained:
    from videomae_cli.training.card import finish
    from videomae_cli.training.trainer import train

    if request.dry_run:
        return Trained(run.folder, "dry run", steps=task.steps)
    trained = train(task, run, loop, share=share, command="finetune", listener=listener)
    if not share.leads or trained.ended == "interrupted":
        return trained
    figures = task.measure(run.folder)
    finish(run, figures, task.data, settings_of("finetune", task.settings, loop))
    return replace(trained, figures=figures)


def _parameters(model: VideoMAEForVideoClassification) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6

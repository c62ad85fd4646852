"""From the options of `finetune` to a trained checkpoint: data, start, recipe, run, and what is said at the end."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli.assembly import find_hints, preprocessor_for
from videomae_cli.cli import console, streams
from videomae_cli.cli.learning_data import LearningData, read_learning_data
from videomae_cli.cli.loading import hinted
from videomae_cli.cli.training import Terms, pick_dtype, quiet_unless, settings_of, train
from videomae_cli.cli.transfers import bring
from videomae_cli.errors import OptionError, VideoMAEError
from videomae_cli.video import Decoder, Preprocessor, SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.model import VideoMAEForVideoClassification
    from videomae_cli.training import FineTune, HeadTraining, Loop, Recipe, Run, Share

# From here on training all weights on a CPU takes hours even for little data.
_LARGE_GFLOPS = 30.0
_FEW_CLIPS_A_CLASS = 10
# To values, which have no classes to count by.
_FEW_CLIPS_OF_VALUES = 50


@dataclass(frozen=True, kw_only=True)
class FineTuneRequest(Terms):
    """The options of the command, as given. asked: the numbers of the recipe, None where nothing is said."""

    init: str
    revision: str | None
    mode: str
    asked: Mapping[str, Any]
    lora_rank: int
    penalty: float | None


@dataclass(frozen=True)
class Start:
    """What training starts from. batch: views at once where nothing is trained."""

    model: VideoMAEForVideoClassification
    name: str
    preprocessor: Preprocessor
    sampling: SamplingSpec
    batch: int


def run_finetune(request: FineTuneRequest) -> None:
    """Trains. Raises VideoMAEError, KeyboardInterrupt."""
    from videomae_cli.pipeline import pick_device
    from videomae_cli.training import local_device, together

    device = local_device(pick_device(request.device))
    with together(device) as share, quiet_unless(share.leads):
        dtype = pick_dtype(request.dtype, device)
        if request.data.endswith(".py"):
            if request.targets:
                raise OptionError("a task of your own reads its data itself: leave out --target")
            request.run_own_task("finetune", share, device, dtype)
            return
        with request.decoder() as decoder:
            data = read_learning_data(request, decoder, share)
            _train(request, data, decoder, share, device, dtype)


def _train(
    request: FineTuneRequest, data: LearningData, decoder: Decoder, share: Share, device: Any, dtype: str
) -> None:
    import torch

    from videomae_cli.model import HEAD_SCALE, Overrides, clip_gflops, has_classifier, load_checkpoint, start_classifier
    from videomae_cli.pipeline import auto_batch_size
    from videomae_cli.training import Run, own_section

    source = bring(request.init, request.revision)
    checkpoint = load_checkpoint(source.path, overrides=Overrides(num_attention_heads=request.heads))
    before = checkpoint.config
    mode = _mode(request, data, clip_gflops(before), device.type)
    spec = hinted(request.sampling, find_hints(before.num_frames, before.extra, source.name), source.name)
    recipe = None if mode == "head" else _recipe(request, data, share, spec.resolved_family, before.hidden_size)
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
        spread.begin(model.classifier)  # it gives values as they are; what is trained, standardised ones
    console.note(f"mode {mode}, from {source.name}: {_parameters(model):.1f} M parameters")
    preprocessor = preprocessor_for(source.path, model.config, "antialias")
    start = Start(model, source.name, preprocessor, spec, auto_batch_size(model.config, device))
    run = Run(request.output, resume=request.resume, overwrite=request.overwrite, writes=share.leads)
    with contextlib.nullcontext() if request.dry_run else run:
        if recipe is None:
            _run_head(request, _head(request, start, data, decoder, device), run, share)
        else:
            task = _whole(request, mode, start, recipe, data, decoder, share)
            _run_whole(request, task, run, share, request.loop(device, dtype))


def _recipe(request: FineTuneRequest, data: LearningData, share: Share, family: str, width: int) -> Recipe:
    from videomae_cli.training import recipe_for

    values = bool(data.dataset.outputs)
    if values and request.asked["smoothing"]:
        raise OptionError("--label-smoothing is for classes: leave it out where --target names values")
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


def _mode(request: FineTuneRequest, data: LearningData, gflops: float, device: str) -> str:
    if request.mode != "auto":
        return request.mode
    enough = _FEW_CLIPS_OF_VALUES if data.dataset.outputs else _FEW_CLIPS_A_CLASS * len(data.dataset.classes)
    few = len(data.train) < enough
    return "head" if few or (device == "cpu" and gflops > _LARGE_GFLOPS) else "full"


def _head(request: FineTuneRequest, start: Start, data: LearningData, decoder: Decoder, device: Any) -> HeadTraining:
    from videomae_cli.engines import pick_engine
    from videomae_cli.training import HeadTraining, View

    recipe_only = [name.replace("_", "-") for name, value in request.asked.items() if value is not None]
    recipe_only += [f"recipe {request.recipe}"] if request.recipe != "default" else []
    if recipe_only:
        raise OptionError(
            f"--mode head trains no encoder: leave out {', '.join(sorted(recipe_only))}, or say --mode full"
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


def _run_head(request: FineTuneRequest, head: HeadTraining, run: Run, share: Share) -> None:
    from videomae_cli.cli.interrupts import terminable
    from videomae_cli.cli.progress import BatchProgress
    from videomae_cli.training.card import finish
    from videomae_cli.training.run import FEATURES

    settings = settings_of("finetune", head.settings)
    if request.dry_run:
        return
    run.begin(settings, keeps=(FEATURES,))
    files = len(head.data.train) + len(head.data.val)
    shown = BatchProgress(files)

    def told(done: int, error: VideoMAEError | None, path: str) -> None:
        if error is not None:
            console.error(f"{path}: {error}")
        shown.advance(path, views=1, failed=error is not None)

    from videomae_cli.cli.display import consoles

    try:
        with terminable(), shown.shown(request.progress if share.leads else "none", consoles()[1]):
            figures = head(run, settings, share=share, told=told)
    except KeyboardInterrupt as error:
        raise type(error)(
            f"interrupted: features so far are kept in {run.folder}; --resume goes on from them"
        ) from None
    if share.leads:
        run.record(settings, {"ended": "finished", "figures": figures.event if figures else None})
        finish(run, figures, head.data, settings)
        _say_result(request.output, figures)


def _whole(
    request: FineTuneRequest,
    mode: str,
    start: Start,
    recipe: Recipe,
    data: LearningData,
    decoder: Decoder,
    share: Share,
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
        warn=lambda path, error: console.error(f"{path}: {error} (another clip stands in)"),
        merged=merged,
    )
    clips = recipe.batch * recipe.accumulate * share.world
    console.note(
        f"recipe {recipe.name}: {console.counted(recipe.epochs, 'epoch')} of {console.counted(task.epoch, 'step')} of "
        f"{console.counted(clips, 'clip')}, rate {recipe.lr:.2g}"
    )
    for line in recipe.lines():
        console.note(line)
    return task


def _run_whole(request: FineTuneRequest, task: FineTune, run: Run, share: Share, loop: Loop) -> None:
    from videomae_cli.training.card import finish

    if request.dry_run:
        return
    train(task, run, loop, share=share, command="finetune", progress=request.progress)
    if share.leads:
        figures = task.measure(run.folder)
        finish(run, figures, task.data, settings_of("finetune", task.settings, loop))
        _say_result(request.output, figures)


def _say_result(output: Path, figures: Any) -> None:
    """The one line of data that the command prints."""
    about = figures.line if figures is not None else "nothing held out, so nothing measured"
    streams.remark(f"{about}; videomae classify --model {shlex.quote(str(output))} uses it")


def _parameters(model: VideoMAEForVideoClassification) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6

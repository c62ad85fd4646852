"""Training: what is trained (`Task`) apart from how (`Trainer`). Receives models and data, and knows no command line.

    task            what is trained: modules, batches, loss, figures      trainer    the loop: steps, epochs, states
    classification  all weights on labels                                 head       the last layer only, on features
    masked          pre-training                                          recipe     the published numbers, scaled
    feed            files -> random clips                                 mixing     mixup, cutmix, soft targets
    features        examples through a model, once                       probe      logistic regression
    values          numbers instead of classes: spread, ridge
    scoring         held-out examples -> probabilities                    figures    -> what the metrics say
    optim           groups of weights, rates over time                    distributed  several processes
    run             the folder of a run                                   state      what a resumed run needs
    checkpoint      what is saved                                         card       what is said of it

Names load on first use, so that importing this package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videomae_cli.training.checkpoint import own_section, save_checkpoint
    from videomae_cli.training.classification import Data, FineTune
    from videomae_cli.training.distributed import Share, launched, local_device, together
    from videomae_cli.training.features import View
    from videomae_cli.training.head import HeadTraining
    from videomae_cli.training.masked import PreTrain, check_masks
    from videomae_cli.training.optim import adamw, cosine_rate, parameter_groups
    from videomae_cli.training.recipe import SSV2_STRIDE, MaskedRecipe, Recipe, masked_recipe_for, recipe_for
    from videomae_cli.training.run import Run
    from videomae_cli.training.task import Task, TaskOptions
    from videomae_cli.training.trainer import Loop, Trainer

_HOME = {
    "SSV2_STRIDE": "recipe",
    "Data": "classification",
    "FineTune": "classification",
    "HeadTraining": "head",
    "Loop": "trainer",
    "MaskedRecipe": "recipe",
    "PreTrain": "masked",
    "Recipe": "recipe",
    "Run": "run",
    "Share": "distributed",
    "Task": "task",
    "TaskOptions": "task",
    "Trainer": "trainer",
    "View": "features",
    "adamw": "optim",
    "check_masks": "masked",
    "cosine_rate": "optim",
    "launched": "distributed",
    "local_device": "distributed",
    "masked_recipe_for": "recipe",
    "own_section": "checkpoint",
    "parameter_groups": "optim",
    "recipe_for": "recipe",
    "save_checkpoint": "checkpoint",
    "together": "distributed",
}

__all__ = [
    "SSV2_STRIDE",
    "Data",
    "FineTune",
    "HeadTraining",
    "Loop",
    "MaskedRecipe",
    "PreTrain",
    "Recipe",
    "Run",
    "Share",
    "Task",
    "TaskOptions",
    "Trainer",
    "View",
    "adamw",
    "check_masks",
    "cosine_rate",
    "launched",
    "local_device",
    "masked_recipe_for",
    "own_section",
    "parameter_groups",
    "recipe_for",
    "save_checkpoint",
    "together",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

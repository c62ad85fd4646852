"""Loads and trains a task of the user's own, from a Python file given in place of the data."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import TrainingError, VideoMAEError, Wording
from videomae_cli.training.distributed import Share
from videomae_cli.training.listener import TrainingListener
from videomae_cli.training.task import Task, TaskOptions
from videomae_cli.training.terms import Loop, Terms, Trained
from videomae_cli.training.trainer import train
from videomae_cli.visible import counted

log = logging.getLogger(__name__)


def train_own_task(terms: Terms, command: str, share: Share, loop: Loop, listener: TrainingListener) -> Trained:
    """Train the task in the Python file given in place of the data. Raises TrainingError, OutputError."""
    options = TaskOptions(
        values=dict(terms.values),
        seed=terms.seed,
        epochs=terms.asked.get("epochs"),
        batch=terms.asked.get("batch"),
        share=share,
        workers=terms.decoders,
    )
    task = load_task(terms.data, options)
    listener.note(f"{terms.data}: {counted(task.steps, 'step')}, evaluated every {task.epoch}")
    if terms.dry_run:
        return Trained(terms.output, "dry run", steps=task.steps)
    with terms.run(share) as run:
        try:
            ended = train(task, run, loop, share=share, command=command, listener=listener)
            if share.leads and ended.ended != "interrupted":
                task.finish(run.folder)
        finally:
            task.close()
    return ended


def load_task(file: str, options: TaskOptions) -> Task:
    """Return the task that the `task(options)` of a Python file makes. Raises TrainingError if it fails or makes none."""
    path = Path(file)
    if not filesystem.is_file(path):
        raise TrainingError.about(
            file, "{subject} is not there: a task of your own is a Python file with a function task(options)"
        )
    where = str(Path.cwd())
    if where not in sys.path:
        sys.path.insert(0, where)  # so that it can import modules from its own folder
    spec = importlib.util.spec_from_file_location(f"videomae_task_{path.stem}", path)
    assert spec is not None, "it ends in .py"
    assert spec.loader is not None, "it is a file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        made = module.task(options)
    except VideoMAEError:
        raise
    except Exception as error:
        log.debug("%s failed", file, exc_info=True)
        raise TrainingError.about(
            file,
            "{subject}: {type}: {error}",
            type=type(error).__name__,
            error=error,
            remedy=Wording("({@debug} shows where)"),
            joined=" ",
        ) from None
    if not isinstance(made, Task):
        reason = "{subject}: task(options) must return a videomae_cli.training.Task, not {type}"
        raise TrainingError.about(file, reason, type=type(made).__name__)
    return made

"""Runs training in this process, which may be one of several: chooses its device, reads its data, and trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from videomae_cli.datasets import check_dataset, read_dataset, split_dataset
from videomae_cli.pipeline import pick_device
from videomae_cli.training.classification import Data
from videomae_cli.training.distributed import Share, local_device, together
from videomae_cli.training.listener import TrainingListener
from videomae_cli.training.own_task import train_own_task
from videomae_cli.training.terms import Loop, Terms, Trained, pick_dtype
from videomae_cli.video import Decoder, Filter

Request = TypeVar("Request", bound=Terms)


@dataclass(frozen=True)
class Process:
    """One process of a training run, and what it works with."""

    share: Share
    loop: Loop
    decoder: Decoder
    listener: TrainingListener


def run_training(
    request: Request, command: str, listener: TrainingListener, train: Callable[[Request, Process], Trained]
) -> Trained:
    """Train with `train`, or the user's own task if the data is a Python file. Raises what training raises."""
    device = local_device(pick_device(request.device))
    with together(device) as share, listener.process(leads=share.leads):
        loop = request.loop(device, pick_dtype(request.dtype, device, listener))
        if request.data.endswith(".py"):
            return train_own_task(request, command, share, loop, listener)
        with request.decoder() as decoder:
            return train(request, Process(share, loop, decoder, listener))


def read_learning_data(terms: Terms, process: Process, *, labels: bool = True) -> Data:
    """Read, split and check the data, and report what will be used. Raises DatasetError."""
    dataset = read_dataset(
        terms.data,
        labels=terms.labels,
        labels_required=labels,
        targets=terms.targets,
        only=Filter(frame_folders=terms.frame_folders),
    )
    train, val, rule = split_dataset(dataset, fraction=terms.val, seed=terms.seed)
    with process.listener.files(len(train) + len(val)) as on_file:
        # One process checks the files; the others receive its report.
        trying = process.decoder if terms.check and process.share.leads else None
        began = time.perf_counter()
        report = check_dataset(dataset, train, val, rule, decoder=trying, on_progress=on_file)
        reading = (time.perf_counter() - began) / (len(train) + len(val)) if trying is not None else 0.0
    report = process.share.gather(report)[0]
    for line in report.lines():
        process.listener.note(line)
    return Data(dataset=report.dataset, train=report.train, val=report.val, reading=reading, lengths=report.lengths)

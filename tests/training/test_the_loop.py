"""The loop by itself, on a task of a few numbers: accumulation, the average of the weights, stopping, best and last."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from videomae_cli.errors import TrainingError
from videomae_cli.jobs import Settings
from videomae_cli.pictures.picture_files import is_own_picture
from videomae_cli.training import Loop, Run, Task, Trainer, TrainingListener, adamw, curves, parameter_groups
from videomae_cli.training.distributed import Share
from videomae_cli.training.trainer import train as train_with_listener


class Plane(Task):
    """A plane through noisy points; `parts` batches to a step of eight points."""

    steps, epoch, clips = 12, 4, 8

    def __init__(self, *, parts: int = 1, decay: float | None = None, scores: list[float] | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Linear(3, 1)
        self.accumulate, self._decay, self._scores = parts, decay, scores

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"task": "plane"}

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [adamw(parameter_groups(self.module.named_parameters(), lr=0.05, weight_decay=0.0), betas=(0.9, 0.99))]

    def rate(self, step: int) -> float:
        return 1.0

    def batches(self, first: int) -> Iterator[Tensor]:
        for number in range(first, self.steps * self.accumulate):
            step, part = divmod(number, self.accumulate)
            points = torch.rand(8, 3, generator=torch.Generator().manual_seed(step))
            yield points.chunk(self.accumulate)[part]

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return (self.module(batch) - batch.sum(dim=1, keepdim=True)).square().mean(), {}

    def average_decay(self, done: int) -> float | None:
        return self._decay

    def evaluate(self, module: nn.Module) -> Mapping[str, Any] | None:
        return {"score": self._scores.pop(0)} if self._scores else None

    def export(self, module: nn.Module, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        weights = {name: tensor.tolist() for name, tensor in module.state_dict().items()}
        (folder / "plane.json").write_text(json.dumps(weights))


def train(task: Plane, folder: Path, **loop: Any) -> Trainer:
    with Run(folder, resume=False, overwrite=False) as run:
        run.begin(Settings("finetune", "test", task.settings))
        trainer = Trainer(task, run, Loop(log_steps=1, **loop))
        trainer(None)
    return trainer


def test_several_small_batches_are_a_large_one(tmp_path: Path) -> None:
    whole = train(Plane(), tmp_path / "whole").task.module.state_dict()
    parts = train(Plane(parts=4), tmp_path / "parts").task.module.state_dict()
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-5, atol=1e-6)


def test_what_is_saved_is_the_average_where_one_is_kept(tmp_path: Path) -> None:
    trainer = train(Plane(decay=0.8), tmp_path / "run")
    assert trainer.average is not None
    saved = json.loads((tmp_path / "run" / "last" / "plane.json").read_text())
    assert saved == {name: tensor.tolist() for name, tensor in trainer.average.state_dict().items()}
    assert saved != {name: tensor.tolist() for name, tensor in trainer.task.module.state_dict().items()}
    start = Plane().module.state_dict()
    mean = {name: tensor.clone() for name, tensor in start.items()}
    again = Plane()
    optimizer = again.optimizers()[0]
    for step, batch in enumerate(again.batches(0)):
        again.loss(batch, step)[0].backward()
        torch.nn.utils.clip_grad_norm_(again.module.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[-1]["lr"] = 0.05
        optimizer.step()
        optimizer.zero_grad()
        mean = {name: 0.8 * mean[name] + 0.2 * tensor for name, tensor in again.module.state_dict().items()}
    for name, tensor in trainer.average.state_dict().items():
        torch.testing.assert_close(tensor, mean[name], rtol=1e-4, atol=1e-5)


def test_the_best_and_the_last_are_kept_apart(tmp_path: Path) -> None:
    trainer = train(Plane(scores=[0.3, 0.9, 0.5]), tmp_path / "run")
    best, last = (json.loads((tmp_path / "run" / name / "plane.json").read_text()) for name in (".", "last"))
    assert best != last
    assert last == {name: tensor.tolist() for name, tensor in trainer.task.module.state_dict().items()}
    assert trainer.best == 0.9
    epochs = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [event["best"] for event in epochs if event["event"] == "epoch"] == [0.3, 0.9, 0.9]


def test_data_that_ends_early_is_told(tmp_path: Path) -> None:
    class Short(Plane):
        def batches(self, first: int) -> Iterator[Tensor]:
            yield from list(super().batches(first))[:5]

    with pytest.raises(TrainingError, match="the data ended at step 5 of 12"):
        train(Short(), tmp_path / "run")


def test_a_held_out_loss_that_is_no_number_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from videomae_cli.datasets import Example
    from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining
    from videomae_cli.training import PreTrain, masked, masked_recipe_for
    from videomae_cli.training.clip_task import Start
    from videomae_cli.video import Decoder, PreprocessConfig, Preprocessor, SamplingSpec

    config = VideoMAEConfig(image_size=32, num_frames=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    config = config.replace(decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_num_attention_heads=2)
    losses = iter([0.0, math.nan, math.inf, math.nan])
    monkeypatch.setattr(masked.PreTrain, "_loss", lambda *_: torch.tensor(next(losses)))
    monkeypatch.setattr(masked, "DecodedVideo", SimpleNamespace)
    monkeypatch.setattr(
        Decoder, "decode_all", lambda self, wanted, **_: [(r, SimpleNamespace(views=lambda: None)) for r in wanted]
    )
    clips = [Example(f"{name}.mp4", (), None, name) for name in "abc"]
    with Decoder(workers=1) as decoder:
        start = Start(
            model=VideoMAEForPreTraining(config),
            preprocessor=Preprocessor(PreprocessConfig(shortest_edge=32, crop=(32, 32))),
            sampling=SamplingSpec(frames=4, clips=1),
            decoder=decoder,
        )
        task = PreTrain(start, train=clips, val=clips, recipe=masked_recipe_for(clips=3, asked={}))
        figures = task.evaluate(task.module)
        assert figures == {"val_loss": 0.0, "score": 0.0, "failed": 2}
        assert figures is not None
        assert math.copysign(1, figures["score"]) == 1
        task._val = clips[:1]
        assert task.evaluate(task.module) is None


class Interrupts(TrainingListener):
    """Stops after some steps, or as a second Ctrl-C does."""

    def __init__(self, steps: int, *, at_once: bool = False) -> None:
        self._left, self._at_once = steps, at_once

    def stopping(self) -> bool:
        self._left -= 1
        if self._at_once and self._left <= 0:
            raise KeyboardInterrupt
        return self._left <= 0


@pytest.mark.parametrize("at_once", [False, True])
def test_an_interrupted_run_has_curves_and_a_resumed_one_draws_them_anew(tmp_path: Path, at_once: bool) -> None:
    with Run(tmp_path / "run", resume=False, overwrite=False) as run, suppress(KeyboardInterrupt):
        loop, listener = Loop(log_steps=1), Interrupts(6, at_once=at_once)
        train_with_listener(Plane(), run, loop, share=Share(), command="finetune", listener=listener)
    picture = tmp_path / "run" / "curves.png"
    assert is_own_picture(picture)
    first = picture.read_bytes()
    with Run(tmp_path / "run", resume=True, overwrite=False) as run:
        train_with_listener(Plane(), run, loop, share=Share(), command="finetune", listener=Interrupts(100))
    assert is_own_picture(picture)
    assert picture.read_bytes() != first


def test_curves_are_drawn_now_and_then_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time, drawn, heard = [100.0], [], []

    def draw(run: Run) -> None:
        drawn.append(time[0])
        time[0] += 0.25 if len(drawn) < 3 else 2.0

    monkeypatch.setattr(curves, "draw_curves", draw)
    steps, epochs, others = (101, 115, 126, 181, 182), (102, 103, 112, 140, 184), (111, 114, 125)
    events = sorted([(at, "step") for at in steps] + [(at, "epoch") for at in epochs] + [(at, "tick") for at in others])
    with (
        Run(tmp_path / "run", resume=False, overwrite=False) as run,
        curves.drawing(run, lambda event: heard.append(event["event"]), now=lambda: time[0]) as told,
    ):
        for at, name in events:
            time[0] = float(at)
            told({"event": name})
    assert drawn == [112, 126, 140, 182, 184], "every 10 s, and after drawing for 2 s not for 40 s"
    assert heard == [name for _, name in events]


def test_a_run_that_ended_before_it_began_has_no_curves(tmp_path: Path) -> None:
    class Empty(Plane):
        def batches(self, first: int) -> Iterator[Tensor]:
            return iter(())

    given: dict[str, Any] = {"share": Share(), "command": "finetune", "listener": TrainingListener()}
    run = Run(tmp_path / "run", resume=False, overwrite=False)
    with pytest.raises(TrainingError, match="the data ended at step 0"), run:
        train_with_listener(Empty(), run, Loop(log_steps=1), **given)
    assert not (tmp_path / "run" / "curves.png").exists()

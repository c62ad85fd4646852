"""A training task of one's own: all that the loop gives, and how it ends when it goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from samples import Run

TASK = """
import torch
from videomae_cli.training import Task, adamw, parameter_groups

class Line(Task):
    steps, epoch, clips = 40, 10, 8

    def __init__(self, options):
        torch.manual_seed(options.seed)
        self.values = dict(options.values)
        self.module = torch.nn.Linear(2, 1)

    @property
    def settings(self):
        return {"task": "line"}

    def optimizers(self):
        return [adamw(parameter_groups(self.module.named_parameters(), lr=0.1, weight_decay=0.0), betas=(0.9, 0.99))]

    def rate(self, step):
        return 1.0

    def batches(self, first):
        for number in range(first, self.steps * self.accumulate):
            g = torch.Generator().manual_seed(number)
            yield torch.rand(8, 2, generator=g)

    def loss(self, batch, step):
        if self.values.get("fail") == "nan" and step == 25:
            return self.module(batch).sum() * float("nan"), {}
        if self.values.get("fail") == "memory" and step == 25:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        wanted = batch @ torch.tensor([[2.0], [-1.0]]) + 0.5
        return (self.module(batch) - wanted).square().mean(), {}

    def evaluate(self, module):
        if self.values.get("fail") == "stale":
            return {"score": 0.5}
        return {"score": -float((module.weight - torch.tensor([[2.0, -1.0]])).abs().sum())}

    def export(self, module, folder):
        folder.mkdir(exist_ok=True)
        torch.save(module.state_dict(), folder / "line.pt")

def task(options):
    return Line(options)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "line.py"
    path.write_text(TASK)
    return path


def test_it_is_trained_and_kept(file: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("finetune", file, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    made = torch.load(tmp_path / "run" / "line.pt", weights_only=True)
    assert made["weight"].tolist()[0] == pytest.approx([2.0, -1.0], abs=0.7)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "epoch"] == [10, 20, 30, 40]
    assert json.loads((tmp_path / "run" / "training.json").read_text())["ended"] == "finished"


def test_a_loss_that_is_no_number_ends_it_and_keeps_the_best(file: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("finetune", file, "-o", tmp_path / "run", "--set", "fail=nan")
    assert done.returncode == 1
    assert "the loss is no longer a number at step 30" in done.stderr
    assert "the best checkpoint so far is kept" in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.startswith("videomae: epoch ")]) == 2
    made = torch.load(tmp_path / "run" / "line.pt", weights_only=True)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in made.values())


def test_too_little_memory_is_one_line(file: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("finetune", file, "-o", tmp_path / "run", "--set", "fail=memory")
    assert done.returncode == 1
    assert "too little memory: lower --batch-size" in done.stderr
    assert (tmp_path / "run" / "line.pt").exists()


def test_it_stops_when_it_gets_no_better(file: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("finetune", file, "-o", tmp_path / "run", "--set", "fail=stale", "--patience", "2")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "run" / "training.json").read_text())
    assert (content["ended"], content["step"]) == ("stopped early", 30)


def test_a_file_that_fails_is_one_line(videomae: Run, tmp_path: Path) -> None:
    for text, words in {
        "def task(options):\n    return 1\n": "must return a videomae_cli.training.Task, not int",
        "x = 1 / 0\n": "ZeroDivisionError",
        "": "has no attribute 'task'",
    }.items():
        (tmp_path / "bad.py").write_text(text)
        done = videomae("finetune", tmp_path / "bad.py", "-o", tmp_path / "run")
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    missing = videomae("finetune", tmp_path / "none.py", "-o", tmp_path / "run")
    assert "is not there" in missing.stderr

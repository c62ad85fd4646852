"""What `--mode auto` trains on a CPU follows from how long all weights would take, which is said before it begins."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from videomae_cli.model import VideoMAEConfig
from videomae_cli.training import expected_time, finetuning
from videomae_cli.training.expected_time import expected_seconds, seconds_of_a_view
from videomae_cli.training.head import HEAD_ONLY
from videomae_cli.visible import duration

TINY = VideoMAEConfig(
    image_size=32, num_frames=4, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
)
BASE = VideoMAEConfig()  # ViT-B: 180 GFLOPs a clip
RECIPE = SimpleNamespace(epochs=10, repeats=1, views=2)


def chosen(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    mode: str = "auto",
    clips: int = 100,
    seconds: float = 60.0,
    config: VideoMAEConfig = TINY,
    device: str = "cpu",
    resume: bool = False,
) -> tuple[str, str]:
    monkeypatch.setattr(expected_time, "expected_seconds", lambda *_, **__: seconds)
    request: Any = SimpleNamespace(
        mode=mode, resume=resume, output=folder, sampling=SimpleNamespace(clips=None), init="x"
    )
    dataset = SimpleNamespace(outputs=(), classes=("a", "b"))
    data: Any = SimpleNamespace(dataset=dataset, train=range(clips), val=range(5), reading=0.0)
    return finetuning._mode(request, data, config, lambda: RECIPE, device)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("setting", "mode", "words"),
    [
        ({}, "full", "; about 60 s for all 10 epochs here"),
        ({"seconds": 7200.0}, "head", '; all weights, mode="full", would take about 2 h 0 min here'),
        ({"seconds": 7200.0, "mode": "full"}, "full", "; about 2 h 0 min for all 10 epochs here"),
        ({"seconds": 7200.0, "mode": "lora"}, "lora", "; about 2 h 0 min for all 10 epochs here"),
        ({"seconds": 7200.0, "device": "cuda"}, "full", ""),
        ({"clips": 19}, "head", ""),
        ({"clips": 19, "device": "cuda"}, "head", ""),
        ({"mode": "head"}, "head", ""),
        ({"config": BASE}, "head", '; all weights, mode="full", would take hours on this CPU'),
    ],
)
def test_the_mode_fits_the_machine(
    setting: dict[str, Any], mode: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(monkeypatch, tmp_path / "run", **setting) == (mode, words)


def test_a_run_that_is_gone_on_with_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for task, kept, seconds in (("classification", "full", 7200.0), ("classification" + HEAD_ONLY, "head", 60.0)):
        (tmp_path / "training.json").write_text(json.dumps({"schema_version": 1, "settings": {"task": task}}))
        assert chosen(monkeypatch, tmp_path, seconds=seconds, resume=True)[0] == kept
        assert chosen(monkeypatch, tmp_path, seconds=seconds)[0] != kept


def test_a_step_is_measured_and_draws_nothing() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    view = seconds_of_a_view(TINY)
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 < view < 60


def test_views_held_out_clips_and_reading_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected_time, "seconds_of_a_view", lambda _: 3.0)
    assert expected_seconds(TINY, epochs=2, train_views=10, val_views=4, reading=0.5) == 2 * (10 * 3.5 + 4 * 1.5)


def test_processes_share_the_views(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(expected_time, "seconds_of_a_view", lambda _: 3.0)
    request: Any = SimpleNamespace(mode="auto", resume=False, output=tmp_path, sampling=SimpleNamespace(clips=None))
    data: Any = SimpleNamespace(
        dataset=SimpleNamespace(outputs=(), classes=("a", "b")), train=range(20), val=range(4), reading=0.0
    )
    # 10 epochs of 40 views at 3 s and 4 at 1 s: 1,240 s in one process, which is more than auto waits for
    for world, mode, seconds in ((1, "head", 1240.0), (4, "full", 310.0)):
        chosen, about = finetuning._mode(request, data, TINY, lambda: RECIPE, "cpu", world)  # type: ignore[arg-type,return-value]
        assert (chosen, duration(seconds) in about) == (mode, True), about

"""What `--mode auto` trains on a CPU follows from how long all weights would take, which is said before it begins."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from videomae_cli.datasets import Example
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining, clip_gflops
from videomae_cli.training import expected_time, finetuning
from videomae_cli.training.classification import Data
from videomae_cli.training.expected_time import expected_seconds, seconds_of_a_masked_view, seconds_of_a_view
from videomae_cli.training.head import HEAD_ONLY
from videomae_cli.video import SamplingSpec
from videomae_cli.visible import duration

TINY = VideoMAEConfig(
    image_size=32, num_frames=4, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
)
BASE = VideoMAEConfig()  # ViT-B: 180 GFLOPs a clip
RECIPE = SimpleNamespace(epochs=10, repeats=1, views=2)


def process(device: str, world: int = 1) -> Any:
    return SimpleNamespace(loop=SimpleNamespace(device=torch.device(device)), share=SimpleNamespace(world=world))


def of_data(train: int, val: int, dataset: Any = None) -> Data:
    """Clips of 60 seconds each, of which a classifier takes 6 windows where it is not told how many."""
    clips = [Example(f"{number}.mp4", ("a",), None, "") for number in range(train + val)]
    return Data(dataset=dataset, train=clips[:train], val=clips[train:], lengths=dict.fromkeys(clips, 60.0))


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
    monkeypatch.setattr(finetuning, "seconds_of_a_view", lambda _: 0.0)
    monkeypatch.setattr(finetuning, "expected_seconds", lambda *_, **__: seconds)
    request: Any = SimpleNamespace(mode=mode, resume=resume, output=folder, sampling=SamplingSpec(), init="x")
    dataset = SimpleNamespace(outputs=(), classes=("a", "b"))
    data = of_data(clips, 5, dataset)
    return finetuning._mode(request, data, config, lambda: RECIPE, process(device))  # type: ignore[arg-type,return-value]


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
    model = VideoMAEForPreTraining(TINY.replace(id2label={}))
    before = torch.get_rng_state()
    seconds_of_a_view(TINY)
    seconds_of_a_view(TINY, learning=False)
    seconds_of_a_masked_view(model, "tube", 0.75)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_of_a_large_model_some_layers_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are all alike: a base model is not run as a whole, and its seconds are those of what it computes."""
    sizes = []

    def run(model: torch.nn.Module, pixels: torch.Tensor) -> SimpleNamespace:
        sizes.append(sum(p.numel() for p in model.parameters()))
        return SimpleNamespace(logits=torch.zeros(len(pixels), 1, requires_grad=True))

    monkeypatch.setattr(expected_time.VideoMAEForVideoClassification, "__call__", run)
    monkeypatch.setattr(expected_time, "_measured", lambda call: (call(1), 2.0)[1])
    assert seconds_of_a_view(TINY) == 2.0
    assert seconds_of_a_view(BASE) == pytest.approx(
        2.0 * clip_gflops(BASE) / clip_gflops(BASE.replace(num_hidden_layers=1))
    )
    assert sizes[1] < 10_000_000


def test_head_mode_counts_every_clip_of_a_long_film(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuning, "seconds_of_a_view", lambda _, learning: 99.0 if learning else 2.0)
    request: Any = SimpleNamespace(resume=False, sampling=SamplingSpec())
    # 5 films with 6 clips each, at 2 s a clip; then two clips a film, in two processes
    assert finetuning._head_plan(request, of_data(3, 2), BASE, process("cpu")).endswith("; about 60 s here")
    request.sampling = SamplingSpec(clips=2)
    assert finetuning._head_plan(request, of_data(3, 2), BASE, process("cpu", 2)).endswith("; about 10 s here")


def test_views_held_out_clips_and_reading_count() -> None:
    assert expected_seconds(3.0, epochs=2, train_views=10, val_views=4, reading=0.5) == 2 * (10 * 3.5 + 4 * 1.5)


def test_processes_share_the_views(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(finetuning, "seconds_of_a_view", lambda _: 3.0)
    request: Any = SimpleNamespace(mode="auto", resume=False, output=tmp_path, sampling=SamplingSpec(clips=1))
    data = of_data(20, 4, SimpleNamespace(outputs=(), classes=("a", "b")))
    # 10 epochs of 40 views at 3 s and 4 at 1 s: 1,240 s in one process, which is more than auto waits for
    for world, mode, seconds in ((1, "head", 1240.0), (4, "full", 310.0)):
        chosen, about = finetuning._mode(request, data, TINY, lambda: RECIPE, process("cpu", world))  # type: ignore[arg-type,return-value]
        assert (chosen, duration(seconds) in about) == (mode, True), about

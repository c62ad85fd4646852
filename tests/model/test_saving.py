"""Writing model directories: the type of numbers, what is in them, and that a failed save costs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from reference import clips, randomise, tiny_config
from torch import Tensor

from videomae_cli.errors import OutputError
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification


def classifier(seed: int = 0, **changes: Any) -> VideoMAEForVideoClassification:
    model = VideoMAEForVideoClassification(tiny_config(**changes))
    randomise(model, seed)
    return model.eval()


def logits(model: Any, video: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(clips(tiny_config()) if video is None else video).logits
    return out


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_saves_and_loads(tmp_path: Path, dtype: torch.dtype) -> None:
    model = classifier().to(dtype)
    model.save_pretrained(tmp_path)
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    kept = VideoMAEForVideoClassification.from_pretrained(tmp_path, dtype="auto")
    raised = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert kept.dtype == dtype
    assert raised.dtype == torch.float32
    assert torch.equal(raised.classifier.weight, model.classifier.weight.float())
    assert torch.equal(kept.state_dict()["classifier.weight"], model.state_dict()["classifier.weight"])
    reference = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert reference.dtype == dtype


def test_a_type_can_be_asked_for(tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path)
    model = VideoMAEForVideoClassification.from_pretrained(tmp_path, dtype=torch.float64)
    assert logits(model, clips(tiny_config()).double()).dtype == torch.float64


# --- saving -------------------------------------------------------------------------------------


def test_saving_round_trips_configuration_and_weights(tmp_path: Path) -> None:
    extra = {"videomae_cli": {"sampling": {"family": "dense", "stride": 4}}, "unknown": [1, 2]}
    model = classifier(image_size=(32, 48), extra=extra, problem_type="multi_label_classification")
    model.save_pretrained(tmp_path)
    again = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["architectures"] == ["VideoMAEForVideoClassification"]
    assert content["model_type"] == "videomae"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = classifier(seed=1)
    old.save_pretrained(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        classifier(seed=2).save_pretrained(tmp_path)
    monkeypatch.undo()
    assert torch.equal(logits(VideoMAEForVideoClassification.from_pretrained(tmp_path)), logits(old))
    assert len(list(tmp_path.iterdir())) == 2


def test_saving_where_a_file_is_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(OutputError, match="taken"):
        classifier().save_pretrained(tmp_path / "taken")


def test_a_loaded_model_does_not_follow_its_file(tmp_path: Path) -> None:
    model = classifier()
    model.save_pretrained(tmp_path)
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    before = logits(loaded)
    path = tmp_path / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 1000)
    assert torch.equal(logits(loaded), before)
    assert VideoMAEConfig.from_dict(loaded.config.to_dict()) == loaded.config

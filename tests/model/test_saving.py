"""Writing model directories: the type of numbers, what is in them, and that a failed save costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from reference import clips, randomise, same, tiny_config
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
    assert same(logits(VideoMAEForVideoClassification.from_pretrained(tmp_path)), logits(old))
    assert len(list(tmp_path.iterdir())) == 2


def test_saving_where_a_file_is_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(OutputError, match="taken"):
        classifier().save_pretrained(tmp_path / "taken")


def test_weights_stay_in_the_mapped_file_and_are_never_written_to_it(tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    before = logits(loaded)
    classifier(seed=2).save_pretrained(tmp_path)  # another file under this name
    assert path.read_bytes() != content
    assert same(logits(loaded), before)
    content = path.read_bytes()
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1)
        for parameter in VideoMAEForVideoClassification.from_pretrained(tmp_path).parameters():
            parameter.add_(1)
    assert path.read_bytes() == content


def test_loading_takes_the_memory_of_the_weights_once(tmp_path: Path) -> None:
    config = VideoMAEConfig(num_hidden_layers=6, id2label={0: "a", 1: "b"}, use_mean_pooling=True)
    VideoMAEForVideoClassification(config).save_pretrained(tmp_path)
    small = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96, "num_hidden_layers": 1}
    VideoMAEForVideoClassification(VideoMAEConfig(**small)).save_pretrained(tmp_path / "small")
    program = """
import re, sys
from pathlib import Path
from videomae_cli.model import VideoMAEForVideoClassification
def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
VideoMAEForVideoClassification.from_pretrained(sys.argv[1] + "/small")  # brings in pages of torch's libraries: how many, the system decides
before = kilobytes("VmHWM")
model = VideoMAEForVideoClassification.from_pretrained(sys.argv[1])
print(kilobytes("VmHWM") - before, sum(p.nbytes for p in model.parameters()) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    taken, weights = map(int, done.stdout.split())
    assert taken < 1.3 * weights

"""Folders that PEFT wrote: the same outputs as PEFT's own model, or one line that says how to merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from reference import clips, relative_error, tiny_config
from test_official import make, outputs

from videomae_cli.errors import CheckpointError
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification, convert, describe


def adapter(folder: Path, base: str, **options: Any) -> Any:
    """PEFT's model on the base in `folder`, random where training would have changed it, saved beside it."""
    import peft  # takes seconds, and every worker of pytest imports this file

    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": ["query", "value", "dense"], **options})
    reference = transformers.VideoMAEForVideoClassification.from_pretrained(folder / base)
    model = peft.get_peft_model(reference, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.save_pretrained(folder / "adapter")
    content = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    content["base_model_name_or_path"] = f"../{base}"
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(content))
    return model.eval()


@pytest.mark.parametrize(
    "options",
    [{}, {"modules_to_save": ["classifier", "fc_norm"]}, {"use_rslora": True}, {"alpha_pattern": {"query": 20}}, {"bias": "all"}],
    ids=["plain", "classifier", "rslora", "patterns", "biases"],
)  # fmt: skip
def test_an_adapter_is_merged_into_its_base(tmp_path: Path, options: dict[str, Any]) -> None:
    make(VideoMAEForVideoClassification).save_pretrained(tmp_path / "base")
    reference = adapter(tmp_path, "base", **options)
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        expected = reference(clips(tiny_config())).logits
    assert relative_error(outputs(loaded), expected) <= 1e-5
    assert describe(tmp_path / "adapter").weights.startswith("an adapter, merged into")
    convert(tmp_path / "adapter", tmp_path / "whole")
    assert relative_error(outputs(VideoMAEForVideoClassification.from_pretrained(tmp_path / "whole")), expected) <= 1e-5


def test_an_adapter_with_a_new_classifier_on_a_pretraining_checkpoint_is_a_classifier(tmp_path: Path) -> None:
    make(VideoMAEForPreTraining, use_mean_pooling=True).save_pretrained(tmp_path / "base")
    reference = adapter(tmp_path, "base", modules_to_save=["classifier", "fc_norm"])
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        assert relative_error(outputs(loaded), reference(clips(tiny_config())).logits) <= 1e-5


def spoilt(folder: Path, **changes: Any) -> str:
    """What is said of an adapter whose configuration says something else."""
    path = folder / "adapter" / "adapter_config.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), **changes}))
    with pytest.raises(CheckpointError) as caught:
        VideoMAEForVideoClassification.from_pretrained(folder / "adapter")
    path.write_text(before)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_adapter_that_can_not_be_merged_says_how_to(tmp_path: Path) -> None:
    make(VideoMAEForVideoClassification).save_pretrained(tmp_path / "base")
    adapter(tmp_path, "base")
    for base in ("../gone", "MCG-NJU/videomae-not-here", ".", "a\0b", "x" * 5000):
        message = spoilt(tmp_path, base_model_name_or_path=base)
        assert "isn't on this disk" in message
        assert "merge_and_unload()" in message
    for base in (None, 7, ""):
        assert "names no base model" in spoilt(tmp_path, base_model_name_or_path=base)
    assert "of the kind 'IA3'" in spoilt(tmp_path, peft_type="IA3")
    assert "of the kind use_dora" in spoilt(tmp_path, use_dora=True)
    for alpha in ("6", None, [1], 10**400):
        assert "lora_alpha" in spoilt(tmp_path, lora_alpha=alpha)
    make(VideoMAEForVideoClassification, hidden_size=64).save_pretrained(tmp_path / "other")
    assert "doesn't fit its base" in spoilt(tmp_path, base_model_name_or_path="../other")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    assert "without weights" in spoilt(tmp_path)

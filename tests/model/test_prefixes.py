"""Checkpoints whose model was a part of something else: found by the ends that names share, whatever comes before."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from official_layout import official_tensors
from reference import same
from test_official import OPTIONS, make, outputs

from videomae_cli.errors import CheckpointError
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification

PREFIXES = [
    "net.",
    "model.net.",
    "student.",
    "module._orig_mod.",
    "learner.module.model._orig_mod.",
    "encoder.backbone.",
    "x.1.",
]


def load(path: Path, **options: Any) -> VideoMAEForVideoClassification:
    return VideoMAEForVideoClassification.from_pretrained(path, **{**OPTIONS, **options})


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_of_either_layout_is_seen_through(tmp_path: Path, prefix: str) -> None:
    model = make(VideoMAEForVideoClassification)
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {prefix + name: tensor for name, tensor in official_tensors(model).items()}}, path)
    assert same(outputs(load(path)), outputs(model))
    save = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(save, tmp_path / "b.safetensors")
    assert same(outputs(load(tmp_path / "b.safetensors")), outputs(model))


def test_a_head_beside_the_encoder_is_found_and_strangers_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = make(VideoMAEForVideoClassification)
    tensors = {
        f"net.{'' if name.startswith(('head.', 'fc_norm.')) else 'backbone.'}{name}": tensor
        for name, tensor in official_tensors(model).items()
    }
    strangers = {"criterion.weight": torch.ones(2), "net.queue": torch.ones(3)}
    torch.save({"state_dict": {**tensors, **strangers}}, tmp_path / "a.ckpt")
    with caplog.at_level(logging.WARNING, logger="videomae_cli"):
        assert same(outputs(load(tmp_path / "a.ckpt")), outputs(model))
    assert "under 'net.backbone.'; 'criterion.weight' and 1 more beside it" in caplog.text


@pytest.mark.parametrize("prefix", ["", "model.", "net._orig_mod."])
@pytest.mark.parametrize("encoder", ["encoder.", "encoder._orig_mod."])
def test_pretraining_files_keep_their_decoder(tmp_path: Path, prefix: str, encoder: str) -> None:
    model = make(VideoMAEForPreTraining, use_mean_pooling=False)
    tensors = {prefix + name: tensor for name, tensor in official_tensors(model, encoder_prefix=encoder).items()}
    torch.save({"model": tensors}, tmp_path / "a.pth")
    loaded = VideoMAEForPreTraining.from_pretrained(tmp_path / "a.pth", decoder_num_attention_heads=2, **OPTIONS)
    mask = torch.arange(8).expand(2, 8) % 2 == 0
    assert same(outputs(loaded, bool_masked_pos=mask), outputs(model, bool_masked_pos=mask))


def test_of_two_encoders_the_one_that_is_no_average_is_taken(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification)
    tensors = official_tensors(model)
    both = {f"model.{name}": tensor for name, tensor in tensors.items()}
    averaged = {f"model_ema.{name}": tensor * 2 for name, tensor in tensors.items()}
    torch.save({"state_dict": {**averaged, **both}}, tmp_path / "a.ckpt")
    assert same(outputs(load(tmp_path / "a.ckpt")), outputs(model))
    torch.save({"state_dict": {**both, **{f"other.{name}": t for name, t in tensors.items()}}}, tmp_path / "b.ckpt")
    with pytest.raises(CheckpointError, match=r"holds 2 encoders, under 'model\.', 'other\.'"):
        load(tmp_path / "b.ckpt")


def test_a_tensor_inside_the_model_that_does_not_belong_is_still_named(tmp_path: Path) -> None:
    tensors = {f"net.{name}": tensor for name, tensor in official_tensors(make(VideoMAEForVideoClassification)).items()}
    torch.save({"state_dict": {**tensors, "net.cls_token": torch.zeros(1)}}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="'cls_token' is unknown"):
        load(tmp_path / "a.ckpt")


def test_weights_with_an_adapter_beside_them_say_how_to_merge(tmp_path: Path) -> None:
    name = "base_model.model.videomae.encoder.layer.0.attention.attention.query"
    tensors = {
        f"base_model.model.{key}": tensor for key, tensor in make(VideoMAEForVideoClassification).state_dict().items()
    }
    tensors[f"{name}.lora_A.default.weight"] = torch.zeros(2, 32)
    torch.save(tensors, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"merge_and_unload\(\)"):
        load(tmp_path / "a.pth")


@pytest.mark.parametrize("names", ["official", "mmaction2's"])
def test_models_of_mmaction2_are_read_with_their_head(tmp_path: Path, names: str) -> None:
    model = make(VideoMAEForVideoClassification)
    renamed = {}
    for name, tensor in official_tensors(model).items():
        new = f"cls_head.fc_cls{name[4:]}" if name.startswith("head.") else f"backbone.{name}"
        if names != "official":
            for ours, theirs in (
                ("embed.proj.", "embed.projection."),
                ("mlp.fc1.", "mlp.layers.0.0."),
                ("mlp.fc2.", "mlp.layers.1."),
            ):
                new = new.replace(ours, theirs)
        renamed[new] = tensor
    torch.save({"meta": {"epoch": 1}, "state_dict": renamed}, tmp_path / "a.pth")
    assert same(outputs(load(tmp_path / "a.pth")), outputs(model))

"""Checkpoints in the official layouts, V1 and V2: the same outputs as the model they were made from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from official_layout import official_tensors
from reference import clips, randomise, relative_error, same, tiny_config
from torch import Tensor, nn

from videomae_cli.errors import CheckpointError, ConfigError
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae_cli.model.layers import sincos_table

OPTIONS: dict[str, Any] = {"num_attention_heads": 4, "image_size": 32, "num_frames": 4}


def make(cls: Any, **changes: Any) -> Any:
    """A model as the official code runs it: its blocks' norms have an epsilon of 1e-6."""
    model = cls(tiny_config(**{"layer_norm_eps": 1e-6, **changes}))
    randomise(model)
    return model.eval()


def save(path: Path, tensors: dict[str, Tensor], wrapper: str | None = "model", **beside: Any) -> Path:
    torch.save({wrapper: tensors, **beside} if wrapper else tensors, path)
    return path


def outputs(model: nn.Module, **arguments: Any) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(clips(tiny_config()), **arguments).logits
    return out


def test_a_finetuned_file_is_read(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification, id2label={i: str(i) for i in range(5)})
    path = save(tmp_path / "checkpoint.pth", official_tensors(model))
    loaded = VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)
    assert same(outputs(loaded), outputs(model))
    assert loaded.config.num_labels == 5
    assert loaded.config.use_mean_pooling
    assert loaded.config.layer_norm_eps == 1e-6


def test_a_finetuned_file_that_reads_the_first_token_is_read(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification, use_mean_pooling=False)
    path = save(tmp_path / "checkpoint.pth", official_tensors(model))
    loaded = VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)
    assert same(outputs(loaded), outputs(model))
    assert not loaded.config.use_mean_pooling


def test_a_pretraining_file_is_read(tmp_path: Path) -> None:
    model = make(VideoMAEForPreTraining, use_mean_pooling=False)
    tensors = official_tensors(model, encoder_prefix="encoder.")
    assert "encoder.patch_embed.proj.weight" in tensors
    assert "decoder.blocks.1.attn.qkv.weight" in tensors
    path = save(tmp_path / "checkpoint.pth", tensors, optimizer={"state": {}}, epoch=1599)
    loaded = VideoMAEForPreTraining.from_pretrained(path, decoder_num_attention_heads=2, **OPTIONS)
    mask = torch.arange(8).expand(2, 8) % 2 == 0
    assert same(outputs(loaded, bool_masked_pos=mask), outputs(model, bool_masked_pos=mask))
    encoder = VideoMAEModel.from_pretrained(path, decoder_num_attention_heads=2, **OPTIONS)
    with torch.no_grad():
        tokens = encoder(clips(tiny_config())).last_hidden_state
        assert same(tokens, model.videomae(clips(tiny_config())).last_hidden_state)


@pytest.mark.parametrize("wrapper", ["model", "module", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "backbone.", "module._orig_mod.", "model."])
def test_wrappers_and_prefixes_are_seen_through(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    model = make(VideoMAEForVideoClassification)
    tensors = {prefix + name: tensor for name, tensor in official_tensors(model).items()}
    path = save(tmp_path / "checkpoint.pth", tensors, wrapper)
    assert same(outputs(VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)), outputs(model))


def test_models_without_biases_are_told_by_their_tensors(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification, qkv_bias=False, tubelet_size=4, num_channels=1, patch_size=(16, 8))
    path = save(tmp_path / "checkpoint.pth", official_tensors(model))
    loaded = VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)
    assert loaded.config.replace(id2label=model.config.id2label, **_decoder(model)) == model.config


def _decoder(model: Any) -> dict[str, Any]:
    """A classifier's file says nothing of a decoder."""
    return {name: getattr(model.config, name) for name in vars(model.config) if name.startswith("decoder_")}


def test_a_bias_for_queries_keys_and_values_in_one_tensor_is_read(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification)
    tensors = official_tensors(model)
    for layer in range(3):
        q, v = (tensors.pop(f"blocks.{layer}.attn.{part}_bias") for part in "qv")
        tensors[f"blocks.{layer}.attn.qkv.bias"] = torch.cat([q, torch.randn(32), v])
    path = save(tmp_path / "checkpoint.pth", tensors)
    assert same(outputs(VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)), outputs(model))


def test_layer_scale_is_folded_into_the_weights(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification)
    tensors = official_tensors(model)
    scales = {f"blocks.{layer}.gamma_{i}": torch.rand(32) + 0.5 for layer in range(3) for i in (1, 2)}
    path = save(tmp_path / "checkpoint.pth", {**tensors, **scales})
    loaded = VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)
    # the official block is x + gamma * branch(x)
    for layer, block in enumerate(model.videomae.encoder.layer):
        for i, branch in ((1, block.attention.output), (2, block.output)):
            scale = scales[f"blocks.{layer}.gamma_{i}"]
            branch.register_forward_hook(lambda _m, _i, out, scale=scale: out * scale)
    assert relative_error(outputs(loaded), outputs(model)) <= 1e-5


def test_sizes_stored_as_training_arguments_are_used(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification)
    arguments = argparse.Namespace(input_size=32, num_frames=4, model="vit_tiny", opt_betas=None)
    path = save(tmp_path / "checkpoint.pth", official_tensors(model), args=arguments)
    loaded = VideoMAEForVideoClassification.from_pretrained(path, num_attention_heads=4)
    assert (loaded.config.image_size, loaded.config.num_frames) == (32, 4)


@pytest.mark.parametrize(("stored", "frames"), [({"num_frames": 2}, 4), ({}, 32)])
def test_segments_stored_as_training_arguments_multiply_the_frames(
    tmp_path: Path, stored: dict[str, int], frames: int
) -> None:
    model = make(VideoMAEForVideoClassification)
    arguments = argparse.Namespace(input_size=32, num_segments=2, **stored)
    path = save(tmp_path / "checkpoint.pth", official_tensors(model), args=arguments)
    loaded = VideoMAEForVideoClassification.from_pretrained(path, num_attention_heads=4)
    assert loaded.config.num_frames == frames
    assert (
        VideoMAEForVideoClassification.from_pretrained(path, num_attention_heads=4, num_frames=8).config.num_frames == 8
    )


@pytest.mark.parametrize(("width", "heads"), [(384, 6), (768, 12), (1024, 16), (1280, 16), (1408, 16)])
def test_heads_of_the_named_sizes_are_known(tmp_path: Path, width: int, heads: int) -> None:
    patch = 14 if width == 1408 else 16
    changes = {"hidden_size": width, "num_attention_heads": heads, "patch_size": patch, "image_size": 2 * patch}
    model = make(VideoMAEForVideoClassification, num_hidden_layers=1, intermediate_size=64, **changes)
    path = save(tmp_path / "checkpoint.pth", official_tensors(model))
    loaded = VideoMAEForVideoClassification.from_pretrained(path, num_frames=4, image_size=2 * patch)
    assert loaded.config.num_attention_heads == heads
    assert loaded.config.patch_size == patch
    # without a word about the size the papers' is taken
    assert VideoMAEForVideoClassification.from_pretrained(path).config.image_size == 224


def test_heads_that_can_not_be_known_are_asked_for(tmp_path: Path) -> None:
    model = make(VideoMAEForPreTraining, use_mean_pooling=False)
    path = save(tmp_path / "checkpoint.pth", official_tensors(model, encoder_prefix="encoder."))
    with pytest.raises(ConfigError, match="a width of 32 has; num_attention_heads=N settles it"):
        VideoMAEForPreTraining.from_pretrained(path)
    with pytest.raises(ConfigError, match="a width of 16 has; decoder_num_attention_heads=N settles it"):
        VideoMAEForPreTraining.from_pretrained(path, num_attention_heads=4)


# --- V2 -----------------------------------------------------------------------------------------


def v2_directory(directory: Path, model: nn.Module, **changes: Any) -> Path:
    """As OpenGVLab/VideoMAEv2-*: a nested model_config, and names under `model.`."""
    model_config = {
        "img_size": 32,
        "patch_size": 16,
        "in_chans": 3,
        "num_classes": 0,
        "embed_dim": 32,
        "depth": 3,
        "num_heads": 4,
        "mlp_ratio": 2,
        "qkv_bias": True,
        "layer_norm_eps": 1e-6,
        "tubelet_size": 2,
        "use_mean_pooling": True,
        "num_frames": 4,
        "cos_attn": False,
        **changes,
    }
    tensors = {f"model.{name}": t for name, t in official_tensors(model).items() if not name.startswith("head.")}
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "VideoMAEv2_Base", "model_config": model_config}))
    safetensors.torch.save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def test_a_v2_directory_with_a_nested_config_is_read(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification, id2label={})
    loaded = VideoMAEForVideoClassification.from_pretrained(v2_directory(tmp_path, model))
    # it has no classes: what comes out is the pooled feature
    assert outputs(loaded).shape == (2, 32)
    assert same(outputs(loaded), outputs(model))
    assert loaded.config.num_attention_heads == 4


def test_v2_with_cosine_attention_or_learned_positions_is_refused(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification, id2label={})
    with pytest.raises(ConfigError, match="cosine attention"):
        VideoMAEForVideoClassification.from_pretrained(v2_directory(tmp_path / "v2", model, cos_attn=True))
    tensors = official_tensors(model)
    scaled = save(tmp_path / "a.pth", {**tensors, "blocks.0.attn.scale": torch.ones(4, 1, 1)})
    with pytest.raises(CheckpointError, match=r"'blocks\.0\.attn\.scale' belongs to cosine attention"):
        VideoMAEForVideoClassification.from_pretrained(scaled, **OPTIONS)
    learned = save(tmp_path / "b.pth", {**tensors, "pos_embed": torch.randn(1, 8, 32)})
    with pytest.raises(CheckpointError, match="'pos_embed' holds learned positions"):
        VideoMAEForVideoClassification.from_pretrained(learned, **OPTIONS)
    fixed = save(tmp_path / "c.pth", {**tensors, "pos_embed": sincos_table(8, 32)})
    assert same(outputs(VideoMAEForVideoClassification.from_pretrained(fixed, **OPTIONS)), outputs(model))


# --- strictness ---------------------------------------------------------------------------------


def test_tensors_of_the_official_layout_that_do_not_belong_are_named(tmp_path: Path) -> None:
    tensors = official_tensors(make(VideoMAEForVideoClassification))
    path = save(tmp_path / "a.pth", {**tensors, "cls_token": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="'cls_token' is unknown"):
        VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)
    path = save(tmp_path / "b.pth", {**tensors, "blocks.0.attn.qkv.weight": torch.zeros(95, 32)})
    with pytest.raises(CheckpointError, match="95 rows, which don't split into three"):
        VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)
    lacking = {name: tensor for name, tensor in tensors.items() if name != "blocks.1.norm2.bias"}
    with pytest.raises(CheckpointError, match=r"lacks the tensor 'videomae\.encoder\.layer\.1\.layernorm_after\.bias'"):
        VideoMAEForVideoClassification.from_pretrained(save(tmp_path / "c.pth", lacking), **OPTIONS)
    twice = {**tensors, "module.head.bias": tensors["head.bias"]}
    with pytest.raises(CheckpointError, match=r"'head\.bias' twice"):
        VideoMAEForVideoClassification.from_pretrained(save(tmp_path / "d.pth", twice), **OPTIONS)

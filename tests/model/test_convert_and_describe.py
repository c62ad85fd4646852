"""`convert`: any source to a directory transformers loads with the same outputs. `describe`: what a checkpoint is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from official_layout import official_tensors
from reference import clips, relative_error, same, tiny_config
from test_official import OPTIONS, make, outputs, save, v2_directory
from torch.utils.flop_counter import FlopCounterMode

from videomae_cli.errors import OutputError
from videomae_cli.model import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    clip_gflops,
    convert,
    describe,
)

TOLERANCE = 1e-5


def _source(kind: str, folder: Path) -> tuple[Any, Path, dict[str, Any]]:
    """A model, a checkpoint of it in some foreign form, and the options that form needs."""
    folder.mkdir()
    if kind == "official pretraining":
        model = make(VideoMAEForPreTraining, use_mean_pooling=False)
        tensors = official_tensors(model, encoder_prefix="encoder.")
        return model, save(folder / "a.pth", tensors), {**OPTIONS, "decoder_num_attention_heads": 2}
    if kind == "v2 directory":
        model = make(VideoMAEForVideoClassification, id2label={})
        return model, v2_directory(folder, model), {}
    model = make(VideoMAEForVideoClassification, use_mean_pooling=kind != "first token")
    if kind == "hugging face bin":
        (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        return model, folder, {}
    tensors = {("module." if kind == "v2 file" else "") + name: t for name, t in official_tensors(model).items()}
    return model, save(folder / "a.pth", tensors, "module" if kind == "v2 file" else "model"), OPTIONS


KINDS = ["official finetuned", "first token", "official pretraining", "v2 file", "v2 directory", "hugging face bin"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_converted_gives_the_same_outputs_here_and_in_transformers(tmp_path: Path, kind: str) -> None:
    model, source, options = _source(kind, tmp_path / "source")
    convert(source, tmp_path / "out", **options)
    mask = {"bool_masked_pos": torch.arange(8).expand(2, 8) % 2 == 0} if kind == "official pretraining" else {}
    expected = outputs(model, **mask)
    ours = type(model).from_pretrained(tmp_path / "out")
    assert same(outputs(ours, **mask), expected)
    reference, info = getattr(transformers, type(model).__name__).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert relative_error(outputs(reference.eval(), **mask), expected) <= TOLERANCE


def test_converting_what_transformers_wrote_and_back_changes_nothing(tmp_path: Path) -> None:
    model = make(VideoMAEForVideoClassification)
    model.save_pretrained(tmp_path / "a")
    transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    convert(tmp_path / "b", tmp_path / "c")
    again = VideoMAEForVideoClassification.from_pretrained(tmp_path / "c")
    assert same(outputs(again), outputs(model))


def test_options_go_into_the_converted_config(tmp_path: Path) -> None:
    _, source, _ = _source("official finetuned", tmp_path / "source")
    done = convert(
        source, tmp_path / "out", num_attention_heads=2, image_size=(64, 32), num_frames=8, labels=["a", "b"]
    )
    config = VideoMAEConfig.from_dict(json.loads((tmp_path / "out" / "config.json").read_text()))
    assert (config.num_attention_heads, config.image_size, config.num_frames) == (2, (64, 32), 8)
    assert config.id2label == {0: "a", 1: "b"}
    assert config.extra["videomae_cli"]["source"] == "a.pth"
    assert done.labels == ("a", "b")
    assert done.config == config


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_and_can_be_made(tmp_path: Path, dtype: torch.dtype) -> None:
    _, source, options = _source("official finetuned", tmp_path / "source")
    convert(source, tmp_path / "half", dtype=dtype, **options)
    convert(tmp_path / "half", tmp_path / "again")
    assert VideoMAEForVideoClassification.from_pretrained(tmp_path / "again", dtype="auto").dtype == dtype
    assert transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path / "again").dtype == dtype


def test_preprocessing_is_taken_over_or_imagenets(tmp_path: Path) -> None:
    _, source, options = _source("official finetuned", tmp_path / "source")
    convert(source, tmp_path / "out", **options)
    processor = transformers.VideoMAEImageProcessor.from_pretrained(tmp_path / "out")
    frames = [np.full((40, 60, 3), 128, dtype=np.uint8)] * 4
    pixels = processor(frames, return_tensors="pt").pixel_values
    assert pixels.shape == (1, 4, 3, 32, 32)
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(pixels[0, 0, :, 5, 5], expected, atol=1e-4)
    own = json.dumps({"image_mean": [0.45] * 3, "image_std": [0.225] * 3, "size": 32})
    (tmp_path / "out" / "preprocessor_config.json").write_text(own)
    convert(tmp_path / "out", tmp_path / "second")
    assert json.loads((tmp_path / "second" / "preprocessor_config.json").read_text()) == json.loads(own)


def test_another_image_size_goes_into_the_preprocessing_too(tmp_path: Path) -> None:
    _, source, options = _source("official finetuned", tmp_path / "source")
    convert(source, tmp_path / "a", **options)
    convert(tmp_path / "a", tmp_path / "b", image_size=64)
    written = json.loads((tmp_path / "b" / "preprocessor_config.json").read_text())
    assert (written["size"], written["crop_size"]) == ({"shortest_edge": 64}, {"height": 64, "width": 64})


def test_heads_that_are_in_doubt_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sizes = {"hidden_size": 384, "num_hidden_layers": 1, "intermediate_size": 32, "num_attention_heads": 16}
    make(VideoMAEForVideoClassification, **sizes).save_pretrained(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b")
    assert ["16 attention heads" in record.getMessage() for record in caplog.records] == [True]


def test_a_model_is_not_overwritten_unasked(tmp_path: Path) -> None:
    model, source, options = _source("official finetuned", tmp_path / "source")
    other = make(VideoMAEForVideoClassification, qkv_bias=False)
    other.save_pretrained(tmp_path / "out")
    with pytest.raises(OutputError, match=r"holds config\.json already"):
        convert(source, tmp_path / "out", **options)
    assert same(outputs(VideoMAEForVideoClassification.from_pretrained(tmp_path / "out")), outputs(other))
    stale = tmp_path / "out" / "video_preprocessor_config.json"
    for name in (stale.name, "notes.txt"):
        (tmp_path / "out" / name).write_text("{}")
    convert(source, tmp_path / "out", overwrite=True, **options)
    assert same(outputs(VideoMAEForVideoClassification.from_pretrained(tmp_path / "out")), outputs(model))
    assert not stale.exists(), "the model before was preprocessed otherwise"
    assert (tmp_path / "out" / "notes.txt").read_text() == "{}"
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "preprocessor_config.json").write_text("{}")
    with pytest.raises(OutputError, match=r"holds preprocessor_config\.json already"):
        convert(source, tmp_path / "half", **options)
    with pytest.raises(OutputError, match="is a file"):
        convert(source, source, **options)


# --- describe -----------------------------------------------------------------------------------


def test_describe_says_what_a_directory_holds(tmp_path: Path) -> None:
    section = {"sampling": {"family": "dense", "stride": 4}, "license": "Apache-2.0"}
    model = make(VideoMAEForVideoClassification, id2label={0: "cut", 1: "fry"}, extra={"videomae_cli": section})
    model.save_pretrained(tmp_path)
    found = describe(tmp_path)
    assert found.kind == "classification"
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.labels == ("cut", "fry")
    assert found.sampling == {"family": "dense", "stride": 4}
    assert found.licence == "Apache-2.0"
    assert found.weights == "model.safetensors"
    assert found.config == model.config
    assert found.architecture == "ViT/16x16, 4 frames of 32x32, tubelet 2: 3 layers, 32 wide, 4 heads"


@pytest.mark.parametrize(("heads", "noted"), [(16, True), (6, False)])
def test_describe_says_what_is_known_of_the_heads_of_small_checkpoints(tmp_path: Path, heads: int, noted: bool) -> None:
    sizes = {"hidden_size": 384, "num_hidden_layers": 1, "intermediate_size": 32}
    make(VideoMAEForVideoClassification, num_attention_heads=heads, **sizes).save_pretrained(tmp_path)
    note = describe(tmp_path).note
    assert bool(note) is noted
    if note:
        assert "--heads 6" in note
        assert describe(tmp_path, num_attention_heads=6).note is None


def test_describe_reads_the_licence_of_a_card(tmp_path: Path) -> None:
    make(VideoMAEModel).save_pretrained(tmp_path)
    assert describe(tmp_path).licence is None
    (tmp_path / "README.md").write_text("---\ntags: [x]\nlicense: cc-by-nc-4.0\n---\n# Card\n")
    found = describe(tmp_path)
    assert found.licence == "cc-by-nc-4.0"
    assert found.kind == "encoder"
    assert found.sampling is None


def test_describe_reads_files_without_a_config(tmp_path: Path) -> None:
    model, source, _ = _source("official pretraining", tmp_path / "source")
    found = describe(source, num_attention_heads=4, decoder_num_attention_heads=2)
    assert found.kind == "pretraining"
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.labels == ()
    assert found.weights == "a.pth"


@pytest.mark.parametrize(
    ("width", "layers", "heads", "published"), [(384, 12, 6, 57), (768, 12, 12, 180), (1024, 24, 16, 597)]
)
def test_gflops_are_those_the_papers_give(width: int, layers: int, heads: int, published: int) -> None:
    config = VideoMAEConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width
    )
    assert round(clip_gflops(config)) == published


def test_gflops_are_those_a_counter_sees() -> None:
    model = make(VideoMAEModel)
    model.prune_heads({0: [1, 2]})
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clips(tiny_config(), batch=1), output_attentions=True)
    # the counter counts a multiply-add as two
    assert clip_gflops(model.config) * 2e9 == pytest.approx(counter.get_total_flops())

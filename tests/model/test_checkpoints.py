"""Model directories in the Hugging Face layout, in every form people have them: read strictly, shared with transformers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from reference import clips, randomise, reference_for, relative_error, same, tiny_config
from torch import Tensor

from videomae_cli.errors import CheckpointError, ConfigError, ModelNotFoundError
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

TOLERANCE = 1e-5


def classifier(seed: int = 0, **changes: Any) -> VideoMAEForVideoClassification:
    model = VideoMAEForVideoClassification(tiny_config(**changes))
    randomise(model, seed)
    return model.eval()


def write_directory(
    directory: Path, model: VideoMAEForVideoClassification, tensors: dict[str, Tensor] | None = None, **config: Any
) -> Path:
    """A model directory by hand, with other tensors or other configuration keys (None takes a key out)."""
    directory.mkdir(exist_ok=True)
    content = {**model.config.to_dict(), **config}
    content = {key: value for key, value in content.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(content))
    safetensors.torch.save_file(tensors or model.state_dict(), directory / "model.safetensors")
    return directory


def logits(model: Any, video: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(clips(tiny_config()) if video is None else video).logits
    return out


# --- both ways with transformers ----------------------------------------------------------------


def test_a_saved_classifier_is_read_by_transformers(tmp_path: Path) -> None:
    model = classifier(
        id2label={0: "cut", 1: "fry", 2: "eat"}, extra={"videomae_cli": {"sampling": {"family": "dense"}}}
    )
    model.save_pretrained(tmp_path)
    reference, info = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert relative_error(logits(model), logits(reference.eval())) <= TOLERANCE
    assert reference.config.id2label == {0: "cut", 1: "fry", 2: "eat"}


def test_a_saved_autoencoder_is_read_by_transformers(tmp_path: Path) -> None:
    model = VideoMAEForPreTraining(tiny_config(use_mean_pooling=False)).eval()
    randomise(model)
    model.save_pretrained(tmp_path)
    reference = transformers.VideoMAEForPreTraining.from_pretrained(tmp_path).eval()
    mask = torch.arange(8).expand(2, 8) % 2 == 0
    video = clips(model.config)
    with torch.no_grad():
        ours, theirs = model(video, bool_masked_pos=mask), reference(video, bool_masked_pos=mask)
    assert relative_error(ours.logits, theirs.logits) <= TOLERANCE
    assert relative_error(ours.loss, theirs.loss) <= TOLERANCE


@pytest.mark.parametrize("mean_pooling", [True, False])
def test_what_transformers_saves_is_read(tmp_path: Path, mean_pooling: bool) -> None:
    reference = reference_for(classifier(use_mean_pooling=mean_pooling))
    reference.save_pretrained(tmp_path)
    model = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert relative_error(logits(model), logits(reference)) <= TOLERANCE
    assert model.config.use_mean_pooling is mean_pooling
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_transformers_saves_in_shards_is_read(tmp_path: Path) -> None:
    reference = reference_for(classifier())
    reference.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    model = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert relative_error(logits(model), logits(reference)) <= TOLERANCE


# --- the forms of a directory -------------------------------------------------------------------


def test_pytorch_bin_is_read_where_there_is_no_safetensors(tmp_path: Path) -> None:
    model = write_bin(tmp_path, classifier())
    assert same(logits(VideoMAEForVideoClassification.from_pretrained(tmp_path)), logits(model))


def test_sharded_pytorch_bin_is_read(tmp_path: Path) -> None:
    model = write_bin(tmp_path, classifier(), shards=3)
    assert len(list(tmp_path.glob("*.bin"))) == 3
    assert same(logits(VideoMAEForVideoClassification.from_pretrained(tmp_path)), logits(model))


def test_safetensors_go_before_pickles(tmp_path: Path) -> None:
    write_bin(tmp_path, classifier(seed=1))
    model = classifier(seed=2)
    write_directory(tmp_path, model)
    assert same(logits(VideoMAEForVideoClassification.from_pretrained(tmp_path)), logits(model))


def write_bin(
    directory: Path, model: VideoMAEForVideoClassification, shards: int = 1
) -> VideoMAEForVideoClassification:
    (directory / "config.json").write_text(json.dumps(model.config.to_dict()))
    items = list(model.state_dict().items())
    if shards == 1:
        torch.save(dict(items), directory / "pytorch_model.bin")
        return model
    weight_map = {}
    for number in range(shards):
        name = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        part = dict(items[number::shards])
        torch.save(part, directory / name)
        weight_map.update(dict.fromkeys(part, name))
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return model


@pytest.mark.parametrize("spelling", ["q_bias", "query.bias"])
def test_both_spellings_of_the_biases_are_read(tmp_path: Path, spelling: str) -> None:
    model = classifier()
    tensors = dict(model.state_dict())
    if spelling == "query.bias":
        renamed = {n.replace(".q_bias", ".query.bias").replace(".v_bias", ".value.bias"): t for n, t in tensors.items()}
        assert renamed.keys() != tensors.keys()
        tensors = renamed
    write_directory(tmp_path, model, tensors)
    assert same(logits(VideoMAEForVideoClassification.from_pretrained(tmp_path)), logits(model))


def test_a_key_bias_is_left_out_since_softmax_cancels_it(tmp_path: Path) -> None:
    model = classifier()
    reference = reference_for(model)
    tensors = dict(model.state_dict())
    for layer, block in enumerate(reference.videomae.encoder.layer):
        bias = torch.randn(32)
        block.attention.attention.key.bias = torch.nn.Parameter(bias)
        tensors[f"videomae.encoder.layer.{layer}.attention.attention.key.bias"] = bias
    write_directory(tmp_path, model, tensors)
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert relative_error(logits(loaded), logits(reference)) <= TOLERANCE


def test_one_weights_file_is_read_with_the_configuration_beside_it_or_without(tmp_path: Path) -> None:
    model = classifier()
    write_directory(tmp_path, model)
    path = tmp_path / "model.safetensors"
    assert same(logits(VideoMAEForVideoClassification.from_pretrained(path)), logits(model))
    (tmp_path / "config.json").unlink()
    inferred = VideoMAEForVideoClassification.from_pretrained(path, num_attention_heads=4, image_size=32, num_frames=4)
    assert same(logits(inferred), logits(model))


@pytest.mark.parametrize(
    "quirk",
    [
        {"qkv_bias": None, "qv_bias": True},
        {"torch_dtype": "float32", "dtype": "float32", "transformers_version": "4.21.0"},
        {"id2label": {"0": 5, "1": 6}, "label2id": None},
        {"id2label": None, "label2id": None},
        {"decoder_num_attention_heads": None, "norm_pix_loss": None},
    ],
)
def test_config_quirks_of_the_hub_are_read(tmp_path: Path, quirk: dict[str, Any]) -> None:
    model = classifier()
    write_directory(tmp_path, model, **quirk)
    assert same(logits(VideoMAEForVideoClassification.from_pretrained(tmp_path)), logits(model))


def test_labels_missing_from_the_config_are_counted(tmp_path: Path) -> None:
    model = classifier(id2label={i: str(i) for i in range(7)})
    write_directory(tmp_path, model, id2label=None, label2id=None)
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert loaded.config.id2label == {i: f"LABEL_{i}" for i in range(7)}


def test_labels_can_be_named(tmp_path: Path) -> None:
    write_directory(tmp_path, classifier())
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path, labels=["cut", "fry"])
    assert loaded.config.id2label == {0: "cut", 1: "fry"}
    with pytest.raises(ConfigError, match="3 labels were given for a checkpoint with 2"):
        VideoMAEForVideoClassification.from_pretrained(tmp_path, labels=["a", "b", "c"])


# --- encoders out of other models ---------------------------------------------------------------


def test_the_encoder_of_a_classifier_and_of_an_autoencoder_is_read(tmp_path: Path) -> None:
    whole = classifier()
    whole.save_pretrained(tmp_path / "a")
    pretraining = VideoMAEForPreTraining(tiny_config(use_mean_pooling=False)).eval()
    pretraining.save_pretrained(tmp_path / "b")
    for model, folder in ((whole, "a"), (pretraining, "b")):
        encoder = VideoMAEModel.from_pretrained(tmp_path / folder)
        video = clips(encoder.config)
        with torch.no_grad():
            assert same(encoder(video).last_hidden_state, model.videomae(video).last_hidden_state)


def test_an_encoder_saves_and_loads_and_is_read_by_transformers(tmp_path: Path) -> None:
    encoder = VideoMAEModel(tiny_config(use_mean_pooling=False)).eval()
    randomise(encoder)
    encoder.save_pretrained(tmp_path)
    video = clips(encoder.config)
    with torch.no_grad():
        tokens = encoder(video).last_hidden_state
        assert same(VideoMAEModel.from_pretrained(tmp_path)(video).last_hidden_state, tokens)
        reference = transformers.VideoMAEModel.from_pretrained(tmp_path).eval()
        assert relative_error(tokens, reference(video).last_hidden_state) <= TOLERANCE


# --- strictness ---------------------------------------------------------------------------------


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    model = classifier()
    tensors = dict(model.state_dict())
    del tensors["videomae.encoder.layer.1.output.dense.bias"]
    write_directory(tmp_path, model, tensors)
    with pytest.raises(CheckpointError, match=r"lacks the tensor 'videomae\.encoder\.layer\.1\.output\.dense\.bias'$"):
        VideoMAEForVideoClassification.from_pretrained(tmp_path)


def test_a_surplus_tensor_is_named(tmp_path: Path) -> None:
    model = classifier()
    write_directory(tmp_path, model, {**model.state_dict(), "videomae.cls_token": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"holds the tensor 'videomae\.cls_token'"):
        VideoMAEForVideoClassification.from_pretrained(tmp_path)


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    model = classifier()
    write_directory(tmp_path, model, {**model.state_dict(), "fc_norm.weight": torch.zeros(33)})
    with pytest.raises(CheckpointError, match=r"'fc_norm\.weight' has shape \(33,\); its configuration needs \(32,\)"):
        VideoMAEForVideoClassification.from_pretrained(tmp_path)


def test_a_decoder_that_is_too_much_is_a_wrong_kind_only_where_nothing_else_fits(tmp_path: Path) -> None:
    autoencoder = VideoMAEForPreTraining(tiny_config())
    autoencoder.save_pretrained(tmp_path / "whole")
    config = json.loads((tmp_path / "whole/config.json").read_text())
    (tmp_path / "whole/config.json").write_text(json.dumps({**config, "decoder_num_hidden_layers": 1}))
    with pytest.raises(CheckpointError, match=r"holds the tensors 'decoder\.decoder_layers\.1\..* has no place"):
        VideoMAEForPreTraining.from_pretrained(tmp_path / "whole")
    model = classifier()
    write_directory(tmp_path / "both", model, {**autoencoder.state_dict(), **model.state_dict()})
    with pytest.raises(CheckpointError, match=r"has no place"):
        VideoMAEForVideoClassification.from_pretrained(tmp_path / "both")


def test_a_config_that_does_not_fit_the_weights_is_named(tmp_path: Path) -> None:
    model = classifier()
    write_directory(tmp_path, model, num_hidden_layers=4)
    with pytest.raises(
        CheckpointError, match=r"lacks the tensors of 1 layer: its configuration says 4, its weights have 3"
    ):
        VideoMAEForVideoClassification.from_pretrained(tmp_path)
    write_directory(tmp_path, model, num_hidden_layers=2)
    with pytest.raises(CheckpointError, match=r"holds the tensors 'videomae\.encoder\.layer\.2\."):
        VideoMAEForVideoClassification.from_pretrained(tmp_path)
    write_directory(tmp_path, model, use_mean_pooling=False)
    with pytest.raises(CheckpointError, match=r"videomae\.layernorm\.weight"):
        VideoMAEForVideoClassification.from_pretrained(tmp_path)


def test_a_checkpoint_of_another_kind_says_what_it_is(tmp_path: Path) -> None:
    VideoMAEForPreTraining(tiny_config()).save_pretrained(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"'classifier\.weight'.*it is a pretraining checkpoint, not one for"):
        VideoMAEForVideoClassification.from_pretrained(tmp_path / "a")
    classifier().save_pretrained(tmp_path / "b")
    with pytest.raises(CheckpointError, match="it is a classification checkpoint, not one for VideoMAEForPreTraining"):
        VideoMAEForPreTraining.from_pretrained(tmp_path / "b")


def test_a_name_that_is_nothing_says_so() -> None:
    with pytest.raises(ModelNotFoundError):
        VideoMAEForVideoClassification.from_pretrained("./no/such/model")


# --- heads of the small checkpoints -------------------------------------------------------------


def test_small_with_16_heads_is_followed_with_a_warning_and_can_be_overridden(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = classifier(hidden_size=384, num_attention_heads=16, num_hidden_layers=1)
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, logger="videomae_cli"):
        followed = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert followed.config.num_attention_heads == 16
    assert same(logits(followed), logits(model))
    assert "16 attention heads" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="videomae_cli"):
        six = VideoMAEForVideoClassification.from_pretrained(tmp_path, num_attention_heads=6)
    assert six.config.num_attention_heads == 6
    assert not caplog.text
    assert relative_error(logits(six), logits(model)) > 1e-3

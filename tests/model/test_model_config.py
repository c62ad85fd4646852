"""Configurations: what is refused, which quirks are read, and that they round-trip."""

from __future__ import annotations

from typing import Any

import pytest
from reference import tiny_config

from videomae_cli.errors import ConfigError
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEModel


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "image height 30 is no multiple of the patch height 16"),
        ({"num_frames": 5}, "num_frames 5 is no multiple of tubelet_size 2"),
        ({"num_attention_heads": 5}, "hidden_size 32 is no multiple of num_attention_heads 5"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; it must be 1 to 1024"),
        ({"hidden_size": "big"}, "hidden_size is 'big'; it must be a whole number"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob is 1.5"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"image_size": [1, 2, 3]}, r"image_size is \[1, 2, 3\]"),
        ({"problem_type": "guess"}, "problem_type is 'guess'"),
        ({"id2label": {1: "a", 2: "b"}}, "not from 0 to 1"),
        ({"qkv_bias": "yes"}, "qkv_bias is 'yes'"),
    ],
)
def test_nonsense_configurations_say_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(**changes)


def test_unknown_activation_and_decoder_heads_that_do_not_divide_say_so() -> None:
    with pytest.raises(ConfigError, match="hidden_act 'gleu' is not known"):
        VideoMAEModel(tiny_config(hidden_act="gleu"))
    with pytest.raises(ConfigError, match="width of 16 is no multiple of 3 attention heads"):
        VideoMAEForPreTraining(tiny_config(decoder_num_attention_heads=3))


def test_config_quirks_are_read() -> None:
    config = VideoMAEConfig.from_dict(
        {
            "model_type": "videomae",
            "qv_bias": False,
            "image_size": [32, 48],
            "torch_dtype": "float32",
            "id2label": {"1": 7, "0": "a"},
            "layer_norm_eps": None,
            "something_new": {"kept": True},
        }
    )
    assert config.qkv_bias is False
    assert config.image_size == (32, 48)
    assert config.id2label == {0: "a", 1: "7"}
    assert config.layer_norm_eps == 1e-12
    assert config.extra == {"something_new": {"kept": True}}
    assert config.grid == (8, 2, 3)
    assert VideoMAEConfig.from_dict({"qkv_bias": False}).qkv_bias is False
    assert VideoMAEConfig.from_dict({"label2id": {"x": 0, "y": 1}}).id2label == {0: "x", 1: "y"}
    assert VideoMAEConfig.from_dict({"num_labels": 3}).num_labels == 3


def test_config_round_trips_through_a_dictionary() -> None:
    config = tiny_config(
        image_size=(32, 48), id2label={0: "a"}, pruned_heads={1: (0, 2)}, extra={"videomae_cli": {"x": 1}}
    )
    assert VideoMAEConfig.from_dict(config.to_dict()) == config


def test_config_of_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="a 'vit' model"):
        VideoMAEConfig.from_dict({"model_type": "vit"})

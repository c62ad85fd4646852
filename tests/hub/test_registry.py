"""The registry: thirteen official checkpoints and VideoMAE V2's, each once, with facts that can be counted again."""

from __future__ import annotations

import pytest
import torch

from videomae_cli.hub import FAMILIES, REGISTRY, RegistryEntry, find_entry
from videomae_cli.hub.registry import suggestions
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification

# hidden, layers, heads; decoder hidden, layers, heads
DIMENSIONS = {
    "small": (384, 12, 6, 192, 12, 3),
    "base": (768, 12, 12, 384, 4, 6),
    "large": (1024, 24, 16, 512, 12, 8),
    "huge": (1280, 32, 16, 640, 12, 8),
}
OFFICIAL = [entry for entry in REGISTRY if entry.hub_id.startswith("MCG-NJU/")]


def test_every_checkpoint_once() -> None:
    assert len(OFFICIAL) == 13
    assert len({entry.hub_id for entry in OFFICIAL}) == 13
    assert len({entry.name for entry in REGISTRY}) == len(REGISTRY) == 18
    for entry in OFFICIAL:
        assert find_entry(entry.name) == find_entry(entry.hub_id) == entry
        assert entry.licence == "CC-BY-NC-4.0"
        assert entry.family == ("segments" if "Something" in entry.data else "dense")
        assert entry.labels == {"finetuned-kinetics": 400, "finetuned-ssv2": 174}.get(
            "-".join(entry.hub_id.split("-")[-2:])
        )


@pytest.mark.parametrize("entry", OFFICIAL, ids=lambda entry: entry.name)
def test_parameters(entry: RegistryEntry) -> None:
    hidden, layers, heads, decoder, decoder_layers, decoder_heads = DIMENSIONS[entry.size]
    config = VideoMAEConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        decoder_hidden_size=decoder,
        decoder_num_hidden_layers=decoder_layers,
        decoder_num_attention_heads=decoder_heads,
        decoder_intermediate_size=4 * decoder,
        use_mean_pooling=entry.task == "classification",
        id2label={number: str(number) for number in range(entry.labels or 2)},
    )
    with torch.device("meta"):
        kind = VideoMAEForVideoClassification if entry.task == "classification" else VideoMAEForPreTraining
        model = kind(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == entry.parameters


def test_families() -> None:
    assert {name: len(entries) for name, entries in FAMILIES.items()} == {
        "kinetics": 5,
        "ssv2": 3,
        "pretrained": 5,
        "v2": 5,
    }


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("base-kinetic", "base-kinetics"),
        ("Small-SSV2", "small-ssv2"),
        ("v2-gaint", "v2-giant"),
        ("camra-motion", "camera-motion"),
    ],
)
def test_the_nearest_names(typed: str, meant: str) -> None:
    assert suggestions(typed, ("camera-motion",))[0] == meant


def test_nothing_like_it() -> None:
    assert suggestions("zzz", ("camera-motion",)) == []

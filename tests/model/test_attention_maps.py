"""Attention maps against the attentions of the reference, put together by other code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from reference import clips, randomise, reference_for, tiny_config

from videomae_cli.attention import attend
from videomae_cli.errors import OptionError
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification

Array = Any


def classifier(**changes: Any) -> VideoMAEForVideoClassification:
    model = VideoMAEForVideoClassification(tiny_config(id2label={0: "a", 1: "b", 2: "c"}, **changes))
    randomise(model)
    return model.eval()


def reference_attentions(model: Any, video: torch.Tensor) -> list[Array]:
    """(heads, N, N) of each layer."""
    with torch.no_grad():
        if isinstance(model, VideoMAEForPreTraining):
            output = reference_for(model).videomae(video, output_attentions=True)
        else:
            output = reference_for(model)(video, output_attentions=True)
    return [layer[0].double().numpy() for layer in output.attentions]


@pytest.mark.parametrize("layers", [1, 2])
def test_the_last_layers_mean(layers: int) -> None:
    model = classifier()
    video = clips(model.config, batch=1)
    expected = np.mean([a.mean(axis=(0, 1)) for a in reference_attentions(model, video)[-layers:]], axis=0)
    found = attend(model, video, method="last", layers=layers)
    assert found.maps.shape == (1, *model.config.grid)
    np.testing.assert_allclose(found.maps.flatten().numpy(), expected, atol=1e-6)


def test_each_head_of_the_last_layer() -> None:
    model = classifier()
    model.prune_heads({2: [1]})
    video = clips(model.config, batch=1)
    found = attend(model, video, method="last", per_head=True)
    assert found.heads == (0, 2, 3)
    whole = classifier()
    expected = reference_attentions(whole, video)[-1].mean(axis=1)[[0, 2, 3]]
    np.testing.assert_allclose(found.maps.flatten(1).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", [True, False])
def test_rollout_multiplies_the_layers_with_their_residuals(pooling: bool) -> None:
    model = classifier(use_mean_pooling=pooling)
    video = clips(model.config, batch=1)
    flow = np.eye(model.config.num_patches)
    for attention in reference_attentions(model, video):
        flow = (0.5 * attention.mean(axis=0) + 0.5 * np.eye(len(flow))) @ flow
    expected = flow.mean(axis=0) if pooling else flow[0]
    found = attend(model, video, method="rollout")
    np.testing.assert_allclose(found.maps.flatten().numpy(), expected, atol=1e-6)
    assert float(found.maps.sum()) == pytest.approx(1, abs=1e-5)


def test_a_pre_training_model_has_attention_too() -> None:
    model = VideoMAEForPreTraining(tiny_config()).eval()
    randomise(model)
    video = clips(model.config, batch=1)
    expected = reference_attentions(model, video)[-1].mean(axis=(0, 1))
    np.testing.assert_allclose(attend(model, video, method="last").maps.flatten().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("label_id", [0, 2])
def test_gradients_weight_the_attention_for_a_label(label_id: int) -> None:
    model = classifier()
    video = clips(model.config, batch=1)
    output = reference_for(model)(video, output_attentions=True)
    gradients = torch.autograd.grad(output.logits[0, label_id], output.attentions)
    relevance = np.eye(model.config.num_patches)
    for attention, gradient in zip(output.attentions, gradients, strict=True):
        kept = np.maximum((attention * gradient)[0].detach().double().numpy(), 0).mean(axis=0)
        relevance = relevance + kept @ relevance
    expected = (relevance - np.eye(len(relevance))).mean(axis=0)
    found = attend(model, video, method="grad", label_id=label_id)
    np.testing.assert_allclose(found.maps.flatten().numpy(), expected / expected.sum(), atol=1e-6)
    assert found.label == "abc"[label_id]
    assert found.score == pytest.approx(float(output.logits.detach().softmax(-1)[0, label_id]), abs=1e-5)


def test_the_best_label_is_asked_about_and_the_model_is_left_as_it_was() -> None:
    model = classifier()
    model.classifier.requires_grad_(False)
    before = [parameter.requires_grad for parameter in model.parameters()]
    video = clips(model.config, batch=1)
    found = attend(model, video, method="grad")
    assert found.label_id == int(model(video).logits.argmax())
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "first"}, "unknown method 'first'"),
        ({"method": "rollout", "per_head": True}, 'heads separately go with method="last"'),
        ({"method": "last", "layers": 9}, "layers must be 1 to 3"),
        ({"method": "last", "layers": 2, "per_head": True}, "those of the last layer"),
    ],
)
def test_what_does_not_go_together_is_said(options: dict[str, Any], words: str) -> None:
    model = classifier()
    with pytest.raises(OptionError, match=words):
        attend(model, clips(model.config, batch=1), **options)


def test_a_label_needs_a_classifier() -> None:
    model = VideoMAEForPreTraining(tiny_config()).eval()
    with pytest.raises(OptionError, match="asks about a label"):
        attend(model, clips(model.config, batch=1), method="grad")

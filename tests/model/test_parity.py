"""Our models against transformers on the same random weights: 1e-5 relative in float32, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from reference import clips, gradient_errors, randomise, reference_for, relative_error, tiny_config

from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae_cli.model.activations import ACTIVATIONS
from videomae_cli.model.masking import random_mask, tube_mask

TOLERANCE = 1e-5

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "first token": {"use_mean_pooling": False},
    "no q/v biases": {"qkv_bias": False},
    "image pair": {"image_size": (32, 48)},
    "patch 14": {"image_size": 42, "patch_size": 14},
    "tubelet 1": {"tubelet_size": 1},
    "tubelet 4": {"tubelet_size": 4, "num_frames": 8},
    "64 frames": {"num_frames": 64},
    "8 frames": {"num_frames": 8},
    "one channel": {"num_channels": 1},
    "norm eps": {"layer_norm_eps": 1e-3},
    "five labels": {"id2label": {i: str(i) for i in range(5)}},
}


def classifier(**changes: Any) -> VideoMAEForVideoClassification:
    model = VideoMAEForVideoClassification(tiny_config(**changes))
    randomise(model)
    return model.eval()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_classifier_logits_and_tokens_equal_the_reference(name: str) -> None:
    model = classifier(**CONFIGURATIONS[name])
    reference = reference_for(model)
    video = clips(model.config)
    with torch.no_grad():
        ours, theirs, tokens = model(video), reference(video), reference.videomae(video).last_hidden_state
    assert relative_error(ours.logits, theirs.logits) <= TOLERANCE
    assert relative_error(ours.last_hidden_state, tokens) <= TOLERANCE


@pytest.mark.parametrize("act", sorted(ACTIVATIONS))
def test_every_activation_equals_the_reference(act: str) -> None:
    model = classifier(hidden_act=act, num_hidden_layers=2)
    video = clips(model.config)
    with torch.no_grad():
        assert relative_error(model(video).logits, reference_for(model)(video).logits) <= TOLERANCE


def test_full_vit_base_equals_the_reference() -> None:
    model = VideoMAEForVideoClassification(VideoMAEConfig(id2label={i: str(i) for i in range(400)})).eval()
    reference = reference_for(model, attention="sdpa")
    video = clips(model.config, batch=1)
    captured = {}
    reference.videomae.register_forward_hook(lambda _m, _i, out: captured.update(tokens=out.last_hidden_state))
    with torch.no_grad():
        ours, theirs = model(video), reference(video)
    assert ours.last_hidden_state.shape == (1, 1568, 768)
    assert relative_error(ours.logits, theirs.logits) <= TOLERANCE
    assert relative_error(ours.last_hidden_state, captured["tokens"]) <= TOLERANCE


@pytest.mark.parametrize("mean_pooling", [True, False])
def test_encoder_embeds_only_visible_tokens(mean_pooling: bool) -> None:
    model = VideoMAEModel(tiny_config(use_mean_pooling=mean_pooling)).eval()
    randomise(model)
    video, mask = clips(model.config), random_mask(model.config.grid, 0.5, batch=2, seed=3)
    with torch.no_grad():
        ours = model(video, bool_masked_pos=mask).last_hidden_state
        theirs = reference_for(model)(video, bool_masked_pos=mask).last_hidden_state
    assert ours.shape == (2, 4, 32)
    assert relative_error(ours, theirs) <= TOLERANCE


def test_masked_pixels_do_not_reach_the_encoder() -> None:
    model = VideoMAEModel(tiny_config()).eval()
    video, mask = clips(model.config, batch=1), torch.zeros(1, 8, dtype=torch.bool)
    mask[0, 0] = True  # the top left patch of the first tubelet
    changed = video.clone()
    changed[:, :2, :, :16, :16] = 100.0
    with torch.no_grad():
        before, after = (model(v, bool_masked_pos=mask).last_hidden_state for v in (video, changed))
    assert torch.equal(before, after)


@pytest.mark.parametrize("mean_pooling", [True, False])
def test_hidden_states_and_attentions_of_every_layer_equal_the_reference(mean_pooling: bool) -> None:
    model = classifier(use_mean_pooling=mean_pooling)
    video = clips(model.config)
    with torch.no_grad():
        ours = model(video, output_hidden_states=True, output_attentions=True)
        plain = model(video)
        theirs = reference_for(model)(video, output_hidden_states=True, output_attentions=True)
    assert ours.hidden_states is not None
    assert ours.attentions is not None
    assert len(ours.hidden_states) == len(theirs.hidden_states) == 4
    assert len(ours.attentions) == len(theirs.attentions) == 3
    for mine, other in zip(ours.hidden_states + ours.attentions, theirs.hidden_states + theirs.attentions, strict=True):
        assert relative_error(mine, other) <= TOLERANCE
    assert relative_error(plain.logits, ours.logits) <= TOLERANCE
    assert plain.hidden_states is None
    assert plain.attentions is None


PRETRAINING: dict[str, dict[str, Any]] = {
    "normalised pixels": {},
    "raw pixels": {"norm_pix_loss": False},
    "mean pooling": {"use_mean_pooling": True},
    "tubelet 1": {"tubelet_size": 1},
    "tubelet 4": {"tubelet_size": 4, "num_frames": 8},
    "patch 14": {"image_size": 42, "patch_size": 14},
    "wide image": {"image_size": (32, 64)},
    "no q/v biases": {"qkv_bias": False},
}


@pytest.mark.parametrize("name", PRETRAINING)
def test_pretraining_loss_pixels_and_gradients_equal_the_reference(name: str) -> None:
    model = VideoMAEForPreTraining(tiny_config(**{"use_mean_pooling": False, **PRETRAINING[name]})).eval()
    randomise(model)
    reference = reference_for(model)
    video, mask = clips(model.config), tube_mask(model.config.grid, 0.75, batch=2, seed=5)
    ours = model(video, bool_masked_pos=mask, output_hidden_states=True, output_attentions=True)
    theirs = reference(video, bool_masked_pos=mask, output_hidden_states=True, output_attentions=True)
    ours.loss.backward()
    theirs.loss.backward()
    assert relative_error(ours.logits.detach(), theirs.logits.detach()) <= TOLERANCE
    assert relative_error(ours.loss.detach(), theirs.loss.detach()) <= TOLERANCE
    assert max(gradient_errors(model, reference).values()) <= TOLERANCE
    assert ours.hidden_states is not None
    assert ours.attentions is not None
    for mine, other in zip(ours.hidden_states, theirs.hidden_states[:4], strict=True):
        assert relative_error(mine.detach(), other.detach()) <= TOLERANCE
    for mine, other in zip(ours.attentions, theirs.attentions[:3], strict=True):
        assert relative_error(mine.detach(), other.detach()) <= TOLERANCE


def _labels(kind: str) -> tuple[dict[str, Any], torch.Tensor]:
    two = {"id2label": {0: "a", 1: "b"}}
    return {
        "one label inferred": (two, torch.tensor([1, 0])),
        "one label named": ({**two, "problem_type": "single_label_classification"}, torch.tensor([1, 0])),
        "several labels inferred": (two, torch.tensor([[1.0, 0.0], [1.0, 1.0]])),
        "several labels named": ({**two, "problem_type": "multi_label_classification"}, torch.tensor([[0.0, 1.0]] * 2)),
        "regression inferred": ({"id2label": {0: "score"}}, torch.tensor([0.3, -0.7])),
        "regression of two": ({**two, "problem_type": "regression"}, torch.tensor([[0.3, -0.7], [1.0, 2.0]])),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "one label inferred",
        "one label named",
        "several labels inferred",
        "several labels named",
        "regression inferred",
        "regression of two",
    ],
)
def test_classification_loss_and_gradients_equal_the_reference(kind: str) -> None:
    changes, labels = _labels(kind)
    model = classifier(**changes)
    reference = reference_for(model)
    video = clips(model.config)
    ours, theirs = model(video, labels=labels), reference(video, labels=labels)
    ours.loss.backward()
    theirs.loss.backward()
    assert relative_error(ours.loss.detach(), theirs.loss.detach()) <= TOLERANCE
    assert max(gradient_errors(model, reference).values()) <= TOLERANCE


@pytest.mark.parametrize("cls", [VideoMAEForVideoClassification, VideoMAEForPreTraining])
@pytest.mark.parametrize("mean_pooling", [True, False])
def test_every_norm_has_the_epsilon_of_the_reference(cls: Any, mean_pooling: bool) -> None:
    model = cls(tiny_config(use_mean_pooling=mean_pooling, layer_norm_eps=1e-3))
    ours, theirs = (
        {name: module.eps for name, module in whole.named_modules() if isinstance(module, torch.nn.LayerNorm)}
        for whole in (model, reference_for(model))
    )
    assert ours == theirs
    assert len(set(ours.values())) == (1 if cls is VideoMAEForVideoClassification and not mean_pooling else 2)


def test_half_precision_encoder_stays_near_the_reference() -> None:
    model = classifier().to(torch.bfloat16)
    reference = reference_for(model).to(torch.bfloat16)
    video = clips(model.config).to(torch.bfloat16)
    with torch.no_grad():
        assert relative_error(model(video).logits.float(), reference(video).logits.float()) <= 0.05

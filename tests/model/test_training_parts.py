"""Heads, pruning, dropout, checkpointing, initial weights, and inputs that don't fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from reference import clips, randomise, reference_for, relative_error, same, tiny_config

from videomae_cli.errors import ConfigError, ModelInputError
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae_cli.model.activations import ACTIVATIONS
from videomae_cli.model.layers import drop_path_rates, sincos_table

TOLERANCE = 1e-5


def classifier(**changes: Any) -> VideoMAEForVideoClassification:
    model = VideoMAEForVideoClassification(tiny_config(**changes))
    randomise(model)
    return model.eval()


# --- head masks and pruning ---------------------------------------------------------------------


@pytest.mark.parametrize("attentions", [False, True])
def test_head_mask_scales_a_head_like_the_reference_with_scaled_weights(attentions: bool) -> None:
    model = classifier()
    mask = torch.rand(3, 4, generator=torch.Generator().manual_seed(2))
    reference = reference_for(model)
    with torch.no_grad():
        for layer, block in enumerate(reference.videomae.encoder.layer):
            # a head's share of the output projection is 8 columns; scaling them scales the head
            block.attention.output.dense.weight *= mask[layer].repeat_interleave(8)
        video = clips(model.config)
        ours = model(video, head_mask=mask, output_attentions=attentions)
        assert relative_error(ours.logits, reference(video).logits) <= TOLERANCE
        assert relative_error(ours.logits, model(video).logits) > 1e-3


def test_one_head_mask_serves_every_layer() -> None:
    model, mask = classifier(), torch.tensor([1.0, 0.0, 0.5, 1.0])
    video = clips(model.config)
    with torch.no_grad():
        one, many = model(video, head_mask=mask), model(video, head_mask=mask.expand(3, 4))
    assert same(one.logits, many.logits)


def test_head_mask_of_the_wrong_shape_says_so() -> None:
    model = classifier()
    with pytest.raises(ModelInputError, match=r"head_mask has shape \(3,\); it must be \(4,\) or \(3, 4\)"):
        model(clips(model.config), head_mask=torch.ones(3))


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_pruned_heads_equal_a_zero_head_mask(qkv_bias: bool) -> None:
    model = classifier(qkv_bias=qkv_bias)
    video, mask = clips(model.config), torch.ones(3, 4)
    mask[0, 1] = mask[2, 0] = mask[2, 3] = 0.0
    with torch.no_grad():
        masked = model(video, head_mask=mask).logits
        whole = sum(p.numel() for p in model.parameters())
        model.prune_heads({0: [1], 2: [0, 3]})
        assert relative_error(model(video).logits, masked) <= TOLERANCE
    # a head of 8 takes 3 * 8 * 32 + 8 * 32 weights and 2 * 8 biases with it
    assert whole - sum(p.numel() for p in model.parameters()) == 3 * (4 * 8 * 32 + (16 if qkv_bias else 0))


def test_pruning_again_counts_heads_as_in_the_whole_model() -> None:
    once, twice = classifier(), classifier()
    once.prune_heads({1: [0, 2]})
    twice.prune_heads({1: [0]})
    twice.prune_heads({1: [2]})
    video = clips(once.config)
    with torch.no_grad():
        assert same(once(video).logits, twice(video).logits)
    assert twice.config.pruned_heads == {1: (0, 2)}


def test_a_pruned_model_takes_a_head_mask_of_the_whole_model() -> None:
    model = classifier()
    video, mask = clips(model.config), torch.tensor([1.0, 0.0, 0.3, 1.0])
    with torch.no_grad():
        expected = model(video, head_mask=mask).logits
        model.prune_heads({layer: [1] for layer in range(3)})
        assert relative_error(model(video, head_mask=mask).logits, expected) <= TOLERANCE


def test_a_pruned_model_saves_and_loads(tmp_path: Path) -> None:
    model = classifier()
    model.prune_heads({0: [1], 2: [0, 3]})
    model.save_pretrained(tmp_path)
    again = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    video = clips(model.config)
    with torch.no_grad():
        assert same(again(video).logits, model(video).logits)
    assert again.config.pruned_heads == {0: (1,), 2: (0, 3)}


def test_a_pruned_model_trains() -> None:
    model = classifier()
    model.prune_heads({0: [1]})
    model(clips(model.config), labels=torch.tensor([0, 1])).loss.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


def test_pruning_what_is_not_there_or_everything_is_refused() -> None:
    model = classifier()
    with pytest.raises(ConfigError, match="layer 3; the layers are 0 to 2"):
        model.prune_heads({3: [0]})
    with pytest.raises(ConfigError, match="the heads are 0 to 3"):
        model.prune_heads({0: [4]})
    with pytest.raises(ConfigError, match="every head out of layer 0"):
        model.prune_heads({0: [0, 1, 2, 3]})


# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", ["hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate"])
def test_each_dropout_rate_acts_in_training_only(rate: str) -> None:
    model = classifier(**{rate: 0.5})
    plain, video = classifier(), clips(model.config)
    with torch.no_grad():
        assert same(model(video).logits, plain(video).logits)
        model.train()
        assert not torch.equal(model(video).logits, model(video).logits)
        assert same(plain.train()(video).logits, plain(video).logits)


def test_attention_dropout_acts_where_attentions_are_asked_for() -> None:
    model = classifier(attention_probs_dropout_prob=0.5).train()
    out = model(clips(model.config), output_attentions=True)
    assert out.attentions is not None
    assert 0.3 < float((out.attentions[0] == 0).float().mean()) < 0.7


def test_stochastic_depth_grows_over_the_layers() -> None:
    assert drop_path_rates(0.2, 5) == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    assert drop_path_rates(0.2, 1) == [0.0]


def test_stochastic_depth_leaves_whole_branches_out() -> None:
    model = VideoMAEModel(tiny_config(drop_path_rate=0.5)).train()
    block = model.encoder.layer[2]
    x = torch.randn(64, 8, 32)
    same = (block(x)[0] == x).flatten(1).all(dim=1)
    # both branches are left out for a quarter of the clips
    assert 4 <= int(same.sum()) <= 30


def test_branches_that_stay_make_up_for_those_left_out() -> None:
    block = VideoMAEModel(tiny_config(drop_path_rate=0.5)).train().encoder.layer[2]
    with torch.no_grad():
        # attention and MLP put out exactly 1, so that a clip gains 2 for each branch that stays
        for branch in (block.attention.output.dense, block.output.dense):
            branch.weight.zero_()
            branch.bias.fill_(1.0)
        gained = block(torch.zeros(64, 8, 32))[0]
    assert gained.unique().tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("kind", ["classification", "pretraining"])
def test_gradient_checkpointing_gives_the_same_gradients(kind: str) -> None:
    gradients = []
    for enabled in (False, True):
        torch.manual_seed(7)
        if kind == "classification":
            model: torch.nn.Module = VideoMAEForVideoClassification(tiny_config(hidden_dropout_prob=0.2))
            arguments: dict[str, Any] = {"labels": torch.tensor([0, 1])}
        else:
            model = VideoMAEForPreTraining(tiny_config(hidden_dropout_prob=0.2))
            mask = torch.zeros(2, 8, dtype=torch.bool)
            mask[:, 3:] = True
            arguments = {"bool_masked_pos": mask}
        if enabled:
            model.gradient_checkpointing_enable()  # type: ignore[operator]
        torch.manual_seed(8)
        model.train()(clips(tiny_config()), **arguments).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-7) for name in gradients[0])


def test_gradient_checkpointing_keeps_fewer_activations() -> None:
    saved = []
    for enabled in (False, True):
        model = VideoMAEModel(tiny_config()).train()
        if enabled:
            model.gradient_checkpointing_enable()
        count = [0]

        def keep(tensor: torch.Tensor, count: list[int] = count) -> torch.Tensor:
            count[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(clips(model.config))
        saved.append(count[0])
    assert saved[1] < saved[0] / 2


def test_a_model_can_be_pickled_whatever_its_activation() -> None:
    for act in ACTIVATIONS:
        model = VideoMAEModel(tiny_config(hidden_act=act, num_hidden_layers=1)).eval()
        again = pickle.loads(pickle.dumps(model))
        video = clips(model.config, batch=1)
        assert same(again(video).last_hidden_state, model(video).last_hidden_state)


# --- initial weights ----------------------------------------------------------------------------


def test_classifier_starts_as_published() -> None:
    model = VideoMAEForVideoClassification(tiny_config(hidden_size=256, intermediate_size=1024))
    block = model.videomae.encoder.layer[0]
    for linear in (block.attention.attention.query, block.attention.output.dense, block.intermediate.dense):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.03)
    assert float(block.intermediate.dense.bias.detach().abs().max()) == 0.0
    assert float(block.attention.attention.q_bias.detach().abs().max()) == 0.0
    assert torch.equal(block.layernorm_before.weight, torch.ones(256))
    assert torch.equal(model.fc_norm.bias, torch.zeros(256))


def test_pretraining_starts_as_published() -> None:
    model = VideoMAEForPreTraining(tiny_config(hidden_size=256, intermediate_size=1024, decoder_hidden_size=128))
    dense = model.videomae.encoder.layer[1].intermediate.dense
    bound = (6 / (256 + 1024)) ** 0.5
    assert 0.99 * bound < float(dense.weight.detach().abs().max()) <= bound
    assert float(dense.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.03)
    assert 0.0 < float(model.mask_token.detach().abs().max()) <= 0.02
    assert float(model.decoder.head.bias.detach().abs().max()) == 0.0


def test_initializer_range_sets_the_deviation() -> None:
    model = VideoMAEModel(tiny_config(hidden_size=256, initializer_range=0.1))
    assert float(model.encoder.layer[0].attention.attention.key.weight.detach().std()) == pytest.approx(0.1, rel=0.03)


# --- positions ----------------------------------------------------------------------------------


def test_positions_are_those_of_the_reference() -> None:
    reference = reference_for(VideoMAEModel(tiny_config()))
    assert torch.equal(sincos_table(8, 32), reference.embeddings.position_embeddings)


def test_positions_survive_half_precision() -> None:
    model = VideoMAEModel(tiny_config()).half().float()
    assert torch.equal(model.embeddings.positions.table, sincos_table(8, 32))
    assert "embeddings.positions.table" not in model.state_dict()


# --- inputs that don't fit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 3, 32), r"shape \(1, 4, 3, 32\); it must be \(clips, frames, channels, height, width\)"),
        ((1, 3, 4, 32, 32), "4 channels in dimension 2; the model takes 3"),
        ((1, 4, 3, 48, 32), r"48x32 pixels \(height x width\); the model takes 32x32"),
        ((1, 8, 3, 32, 32), "8 frames; the model takes 4"),
    ],
)
def test_clips_of_the_wrong_shape_say_so(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelInputError, match=message):
        classifier()(torch.zeros(shape))


def test_raw_pixels_say_so() -> None:
    with pytest.raises(ModelInputError, match="uint8; it must be normalised floats"):
        classifier()(torch.zeros(1, 4, 3, 32, 32, dtype=torch.uint8))


def test_mask_rows_of_different_counts_say_so() -> None:
    model = VideoMAEForPreTraining(tiny_config())
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[0, :3] = mask[1, :4] = True
    with pytest.raises(
        ModelInputError, match=r"masks \[3, 4\] tokens; every clip of a batch must have the same number"
    ):
        model(clips(model.config), bool_masked_pos=mask)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 8), "torch.float32; it must be bool"),
        (torch.ones(2, 7, dtype=torch.bool), r"shape \(2, 7\); it must be \(2, 8\)"),
        (torch.ones(2, 8, dtype=torch.bool), "masks all 8 tokens"),
        (torch.zeros(2, 8, dtype=torch.bool), "masks no token"),
    ],
)
def test_masks_that_do_not_fit_say_so(mask: torch.Tensor, message: str) -> None:
    model = VideoMAEForPreTraining(tiny_config())
    with pytest.raises(ModelInputError, match=message):
        model(clips(model.config), bool_masked_pos=mask)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([1]), "1 entries for 2 clips"),
        (torch.tensor([[1.0], [0.0]]), r"shape \(2, 1\); for this loss it must be \(2, 2\)"),
        (torch.tensor([0, 2]), "labels names class 2; the classes are 0 to 1"),
    ],
)
def test_labels_that_do_not_fit_say_so(labels: torch.Tensor, message: str) -> None:
    model = classifier()
    with pytest.raises(ModelInputError, match=message):
        model(clips(model.config), labels=labels)

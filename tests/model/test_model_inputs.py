"""Inputs at the edges: no clips at all, no mask, other types, other layouts in memory, labels of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from reference import clips, randomise, reference_for, relative_error, same, tiny_config

from videomae_cli.errors import ConfigError, ModelInputError
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae_cli.model.layers import BlockSpec, SelfAttention

TOLERANCE = 1e-5
KINDS = [VideoMAEModel, VideoMAEForVideoClassification, VideoMAEForPreTraining]


def made(kind: Any, **changes: Any) -> Any:
    model = kind(tiny_config(**changes)).eval()
    randomise(model)
    return model


def masked(kind: Any, batch: int) -> dict[str, Any]:
    row = torch.tensor([[True, False] * 4])
    return {"bool_masked_pos": row.expand(batch, 8)} if kind is VideoMAEForPreTraining else {}


# --- no clips at all ----------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("mean_pooling", [True, False])
@pytest.mark.parametrize("kind", [VideoMAEModel, VideoMAEForVideoClassification])
def test_no_clips_give_tensors_of_no_clips(kind: Any, mean_pooling: bool, attention: str) -> None:
    """As transformers 4 has it; 5.23 fails at a reshape."""
    model = made(kind, use_mean_pooling=mean_pooling)
    model.set_attn_implementation(attention)
    video = clips(model.config)
    with torch.no_grad():
        some = model(video, output_hidden_states=True, output_attentions=True)
        none = model(video[:0], output_hidden_states=True, output_attentions=True)
        plain = model(video[:0])
    assert none[0].shape == plain[0].shape == (0, *some[0].shape[1:])
    assert none.last_hidden_state.shape == (0, 8, 32)
    assert [h.shape for h in none.hidden_states] == [(0, 8, 32)] * 4
    assert [a.shape for a in none.attentions] == [(0, 4, 8, 8)] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_clips_and_no_masks_pretrain_nothing(dtype: torch.dtype) -> None:
    model = made(VideoMAEForPreTraining).to(dtype)
    nothing, mask = clips(model.config)[:0].to(dtype), torch.zeros(0, 8, dtype=torch.bool)
    with torch.no_grad():
        output = model(nothing, mask)
        assert output.logits.shape == (0, 0, model.config.patch_dim)
        # The mean of nothing, as PyTorch's losses have it.
        assert bool(output.loss.isnan())
        assert model.predict_all(nothing, mask).shape == (0, 8, model.config.patch_dim)
        assert model.target(nothing).shape == (0, 8, model.config.patch_dim)
        assert model.videomae(nothing, bool_masked_pos=mask)[0].shape == (0, 0, 32)


@pytest.mark.parametrize(
    "labels", [torch.zeros(0, dtype=torch.long), torch.zeros(0, 2)], ids=["one label", "several labels"]
)
def test_no_clips_and_no_labels_have_the_mean_of_nothing_for_a_loss(labels: torch.Tensor) -> None:
    model = made(VideoMAEForVideoClassification)
    nothing = clips(model.config)[:0]
    assert bool(model(nothing, labels=labels).loss.isnan())


# --- masks --------------------------------------------------------------------------------------


def test_pretraining_without_a_mask_says_so() -> None:
    model = made(VideoMAEForPreTraining)
    video = clips(model.config)
    for call in (lambda: model(video, None), lambda: model(video), lambda: model.predict_all(video, None)):
        with pytest.raises(ModelInputError, match="bool_masked_pos is missing; pre-training needs a mask"):
            call()


@pytest.mark.parametrize("kind", [VideoMAEModel, VideoMAEForPreTraining])
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 8), dtype=bool), "bool_masked_pos is a ndarray; it must be a tensor"),
        ([[True] * 8] * 2, "bool_masked_pos is a list; it must be a tensor"),
        (torch.ones(8, dtype=torch.bool), r"shape \(8,\); it must be \(2, 8\)"),
        (torch.ones(1, 8, dtype=torch.bool), r"shape \(1, 8\); it must be \(2, 8\)"),
        (torch.ones(2, 8, dtype=torch.long), "torch.int64; it must be bool"),
        (torch.ones(2, 2, 4, dtype=torch.bool), r"shape \(2, 2, 4\); it must be \(2, 8\)"),
    ],
)
def test_masks_of_other_kinds_say_so(kind: Any, mask: Any, message: str) -> None:
    with pytest.raises(ModelInputError, match=message):
        made(kind)(clips(tiny_config()), mask)


def test_a_mask_that_hides_nothing_leaves_the_encoder_whole() -> None:
    model = made(VideoMAEModel)
    video = clips(model.config)
    with torch.no_grad():
        assert same(model(video, torch.zeros(2, 8, dtype=torch.bool))[0], model(video)[0])


def test_rows_may_hide_different_tokens_and_all_but_one() -> None:
    model = made(VideoMAEForPreTraining)
    video, mask = clips(model.config), torch.ones(2, 8, dtype=torch.bool)
    mask[0, 0] = mask[1, 5] = False
    with torch.no_grad():
        ours, theirs = model(video, mask), reference_for(model)(video, mask)
    assert relative_error(ours.logits, theirs.logits) <= TOLERANCE
    assert relative_error(ours.loss, theirs.loss) <= TOLERANCE


# --- clips --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "pixel_values is a NoneType; it must be a tensor"),
        (np.zeros((1, 4, 3, 32, 32), dtype=np.float32), "pixel_values is a ndarray; it must be a tensor"),
        (torch.zeros(1, 4, 3, 32, 32, dtype=torch.int64), "torch.int64; it must be normalised floats"),
        (torch.zeros(1, 4, 3, 32, 32, dtype=torch.bool), "torch.bool; it must be normalised floats"),
        (torch.zeros(1, 4, 3, 32, 32).double(), r"torch.float64 and the model torch.float32: use pixel_values\.to"),
        (torch.zeros(1, 4, 3, 32, 32).half(), r"torch.float16 and the model torch.float32: use pixel_values\.to"),
        (torch.zeros(1, 0, 3, 32, 32), "0 frames; the model takes 4"),
        (torch.zeros(1, 2, 3, 32, 32), "2 frames; the model takes 4"),
        (torch.zeros(1, 4, 3, 32, 16), r"32x16 pixels \(height x width\)"),
        (torch.zeros(4, 3, 32, 32), "shape"),
        (torch.zeros(0), "shape"),
    ],
)
def test_clips_of_other_kinds_say_so(kind: Any, given: Any, message: str) -> None:
    with pytest.raises(ModelInputError, match=message):
        made(kind)(given, **masked(kind, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_takes_clips_in_float32(kind: Any) -> None:
    model = made(kind)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = model(clips(model.config), **masked(kind, 2))
        with pytest.raises(ModelInputError, match=r"torch\.float64"):
            model(clips(model.config).double(), **masked(kind, 2))
    with torch.no_grad():
        exact = model(clips(model.config), **masked(kind, 2))
    assert relative_error(mixed[-1].float(), exact[-1]) < 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float16, 0.05), (torch.bfloat16, 0.1)])
def test_every_floating_type_runs_on_the_cpu(kind: Any, dtype: torch.dtype, tolerance: float) -> None:
    model = made(kind).to(dtype)
    reference = reference_for(model).to(dtype)
    with torch.no_grad():
        ours = model(clips(model.config).to(dtype), **masked(kind, 2))
        theirs = reference(clips(model.config).to(dtype), **masked(kind, 2))
    assert ours[-1].dtype == dtype
    assert relative_error(ours[-1].double(), theirs[-1].double()) <= tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_the_layout_in_memory_does_not_matter(kind: Any) -> None:
    model = made(kind)
    video = clips(model.config)
    for other in (
        video.permute(0, 2, 1, 3, 4).contiguous().permute(0, 2, 1, 3, 4),
        video.repeat_interleave(2, dim=4)[..., ::2],
        video.flip(1).flip(1),
    ):
        with torch.no_grad():
            assert same(model(other, **masked(kind, 2))[-1], model(video, **masked(kind, 2))[-1])


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean_pooling", [True, False])
@pytest.mark.parametrize(
    "labels", [torch.tensor([0, 1]), torch.zeros(2, 32), torch.zeros(2)], ids=["classes", "several", "values"]
)
@pytest.mark.parametrize("problem", [None, "regression", "single_label_classification", "multi_label_classification"])
def test_a_model_without_labels_has_no_loss(labels: torch.Tensor, problem: str | None, mean_pooling: bool) -> None:
    model = made(VideoMAEForVideoClassification, id2label={}, problem_type=problem, use_mean_pooling=mean_pooling)
    with pytest.raises(ConfigError, match="the model has no labels, so there is no loss to compute"):
        model(clips(model.config), labels=labels)
    with torch.no_grad():
        assert model(clips(model.config)).logits.shape == (2, 32)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_class_numbers_of_every_whole_type(dtype: torch.dtype) -> None:
    model = made(VideoMAEForVideoClassification, problem_type="single_label_classification")
    wide = torch.tensor([[1, 9], [0, 9]])
    expected = model(clips(model.config), labels=wide[:, 0].clone()).loss
    for labels in (wide[:, 0].to(dtype), wide.to(dtype)[:, 0], wide.to(dtype)[:, :1]):
        assert same(model(clips(model.config), labels=labels).loss, expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0.7, 1.0]), "labels is torch.float32; class numbers must be a type of whole numbers"),
        ([0, 1], "labels is a list; it must be a tensor"),
        (np.array([0, 1]), "labels is a ndarray; it must be a tensor"),
        (torch.tensor([[0.2, 0.8], [1.0, 0.0]]), "labels has 4 entries for 2 clips"),
        (torch.tensor([0, -1]), "labels names class -1"),
    ],
)
def test_class_numbers_of_other_kinds_say_so(labels: Any, message: str) -> None:
    model = made(VideoMAEForVideoClassification, problem_type="single_label_classification")
    with pytest.raises(ModelInputError, match=message):
        model(clips(model.config), labels=labels)


def test_values_of_any_layout_and_type_have_the_loss_of_the_reference() -> None:
    model = made(VideoMAEForVideoClassification, id2label={0: "score"})
    reference = reference_for(model)
    video, wide = clips(model.config), torch.tensor([[0.5, 9.0], [-2.0, 9.0]])
    expected = reference(video, labels=wide[:, 0].clone()).loss
    for labels in (wide[:, 0], wide[:, :1], wide[:, 0].double()):
        assert relative_error(model(video, labels=labels).loss.detach(), expected.detach()) <= TOLERANCE


# --- dropout ------------------------------------------------------------------------------------


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_attention_drops_in_training_whatever_the_type_and_the_gradient(
    implementation: Any, dtype: torch.dtype, grad: bool
) -> None:
    spec = BlockSpec(
        width=32, heads=4, mlp_width=64, act="gelu", eps=1e-6, qkv_bias=True, attention_dropout=0.5, drop_path=0.0
    )
    layer = SelfAttention(spec).to(dtype).train()
    layer.implementation = implementation
    x = torch.randn(2, 8, 32).to(dtype)
    with torch.set_grad_enabled(grad):
        once, again = layer(x)[0], layer(x)[0]
        assert not torch.equal(once, again)
        layer.eval()
        assert same(layer(x)[0], layer(x)[0])

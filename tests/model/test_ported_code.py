"""What code written for transformers reaches for: outputs by position, flags in the configuration, masks, weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from reference import clips, randomise, reference_for, relative_error, tiny_config
from transformers.activations import ACT2FN

from videomae_cli.errors import ConfigError, ModelInputError
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from videomae_cli.model.activations import ACTIVATIONS, LEARNED
from videomae_cli.model.layers import run_blocks

TOLERANCE = 1e-5
KINDS = [VideoMAEModel, VideoMAEForVideoClassification, VideoMAEForPreTraining]


def call(model: Any, **arguments: Any) -> Any:
    """A model's output for two clips, half of the tokens masked where it wants a mask, with labels where it takes some."""
    if isinstance(model, VideoMAEForPreTraining | transformers.VideoMAEForPreTraining):
        arguments["bool_masked_pos"] = torch.tensor([[True, False] * 4] * 2)
    elif isinstance(model, VideoMAEForVideoClassification | transformers.VideoMAEForVideoClassification):
        arguments.setdefault("labels", torch.tensor([0, 1]))
    with torch.no_grad():
        return model(clips(tiny_config()), **arguments)


def made(kind: Any, **changes: Any) -> Any:
    model = kind(tiny_config(**changes)).eval()
    randomise(model)
    return model


def same(ours: Any, theirs: Any) -> bool:
    """Equal structure of tuples, and equal tensors up to rounding."""
    if isinstance(theirs, tuple):
        return isinstance(ours, tuple) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return relative_error(ours, theirs) <= TOLERANCE


# --- outputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [(), ("output_hidden_states",), ("output_hidden_states", "output_attentions")])
def test_outputs_have_the_parts_of_the_reference_in_its_order(kind: Any, flags: tuple[str, ...]) -> None:
    model = made(kind)
    asked = dict.fromkeys(flags, True)
    ours, theirs = call(model, **asked), call(reference_for(model), **asked)
    assert list(ours.keys()) == list(theirs.keys())
    assert len(ours) == len(theirs)
    assert same(ours.to_tuple(), theirs.to_tuple())
    assert same(ours[0], theirs[0])
    assert same(ours[:2], theirs[:2])
    assert same(tuple(ours), theirs.to_tuple())
    for name in theirs:
        assert name in ours
        assert ours[name] is getattr(ours, name) is ours.get(name) is dict(ours.items())[name]
    assert ({} | dict(**ours)).keys() == dict(**theirs).keys()
    assert ("hidden_states" in ours) == ("hidden_states" in theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_return_dict_false_gives_the_tuple_of_the_reference(kind: Any) -> None:
    model = made(kind)
    ours = call(model, return_dict=False, output_hidden_states=True)
    assert type(ours) is tuple
    assert same(ours, call(reference_for(model), return_dict=False, output_hidden_states=True))
    quiet = made(kind, return_dict=False)
    assert type(call(quiet)) is tuple
    assert type(call(quiet, return_dict=True)) is not tuple


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_there_has_neither_name_nor_position(kind: Any) -> None:
    output = call(made(kind), return_dict=True)
    assert "attentions" not in output
    assert output.attentions is None
    assert output.get("attentions", 7) == 7
    with pytest.raises(KeyError):
        output["attentions"]
    with pytest.raises(IndexError):
        output[len(output)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flag", ["output_hidden_states", "output_attentions"])
def test_the_configuration_asks_where_a_call_does_not(kind: Any, flag: str) -> None:
    part = flag.removeprefix("output_")
    model = made(kind, **{flag: True})
    assert same(call(model)[part], call(made(kind), **{flag: True})[part])
    assert part not in call(model, **{flag: False})


def test_flags_are_read_from_a_config_json_and_written_where_they_differ() -> None:
    config = VideoMAEConfig.from_dict({"output_attentions": True, "return_dict": False, "problem_type": None})
    assert (config.output_attentions, config.output_hidden_states, config.return_dict) == (True, False, False)
    content = json.loads(json.dumps(config.to_dict()))
    assert VideoMAEConfig.from_dict(content) == config
    assert "output_hidden_states" not in content
    assert "problem_type" in content
    with pytest.raises(ConfigError, match="output_attentions is 1; it must be true or false"):
        VideoMAEConfig.from_dict({"output_attentions": 1})


def test_the_decoder_gives_its_states_and_attentions() -> None:
    model = made(VideoMAEForPreTraining)
    output = call(model, output_hidden_states=True, output_attentions=True)
    assert [tuple(h.shape) for h in output.decoder_hidden_states] == [(2, 8, 16)] * 3
    assert [tuple(a.shape) for a in output.decoder_attentions] == [(2, 2, 8, 8)] * 2
    with torch.no_grad():
        # The last state, normed and mapped, is the prediction; the first, through the blocks, is the last.
        pixels = model.decoder.head(model.decoder.norm(output.decoder_hidden_states[-1][:, 4:]))
        last, _, _ = run_blocks(model.decoder.decoder_layers, output.decoder_hidden_states[0])
    assert relative_error(output.logits, pixels) <= TOLERANCE
    assert relative_error(last, output.decoder_hidden_states[-1]) <= TOLERANCE
    assert torch.allclose(output.decoder_attentions[0].sum(-1), torch.ones(2, 2, 8))
    # Against the reference's blocks, one by one.
    reference = reference_for(model)
    state = output.decoder_hidden_states[0]
    for layer, ours in zip(reference.decoder.decoder_layers, output.decoder_hidden_states[1:], strict=True):
        state = layer(state)
        assert relative_error(ours, state) <= TOLERANCE
    assert call(model).decoder_hidden_states is None


# --- activations --------------------------------------------------------------------------------


def test_every_activation_of_transformers_is_known() -> None:
    assert {*ACTIVATIONS, *LEARNED} == set(ACT2FN)


@pytest.mark.parametrize("act", sorted(LEARNED))
def test_activations_that_learn_equal_the_reference(act: str, tmp_path: Path) -> None:
    model = made(VideoMAEForVideoClassification, hidden_act=act)
    video = clips(model.config) * 3
    reference = reference_for(model)
    ours, theirs = model(video), reference(video)
    assert relative_error(ours.logits.detach(), theirs.logits.detach()) <= TOLERANCE
    ours.logits.sum().backward()
    theirs.logits.sum().backward()
    for mine, other in zip(
        model.videomae.encoder.layer[0].intermediate.parameters(),
        reference.videomae.encoder.layer[0].intermediate.parameters(),
        strict=True,
    ):
        assert relative_error(mine.grad, other.grad) <= 1e-4
    # Each block has one of its own, and a file of either side has them all.
    assert len({id(block.intermediate.intermediate_act_fn) for block in model.videomae.encoder.layer}) == 3
    reference.save_pretrained(tmp_path)
    again = VideoMAEForVideoClassification.from_pretrained(tmp_path)
    theirs = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path).eval().float()
    with torch.no_grad():
        assert relative_error(again(video).logits, theirs(video).logits) <= TOLERANCE


@pytest.mark.parametrize("act", sorted(LEARNED))
def test_activations_that_learn_begin_as_in_the_reference(act: str) -> None:
    for x in (torch.linspace(-20, 200, 2001), torch.linspace(-3, 3, 101).bfloat16()):
        ours, theirs = LEARNED[act](), ACT2FN[act]
        assert {n: t.tolist() for n, t in ours.state_dict().items()} == {
            n: t.tolist() for n, t in theirs.state_dict().items()
        }
        assert torch.allclose(
            ours.to(x.dtype)(x).float(), theirs.to(x.dtype)(x).float(), rtol=1e-2 if x.dtype == torch.bfloat16 else 1e-6
        )


def test_a_function_serves_as_activation_but_not_in_a_file(tmp_path: Path) -> None:
    model = made(VideoMAEModel, hidden_act=torch.nn.functional.gelu)
    named = VideoMAEModel(tiny_config()).eval()
    named.load_state_dict(model.state_dict())
    assert same(call(model)[0], call(named)[0])
    with pytest.raises(ConfigError, match=r"hidden_act is the function gelu, which no config\.json can hold"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ConfigError, match="hidden_act is 3; it must be a name or a function"):
        VideoMAEModel(tiny_config(hidden_act=3))


# --- head masks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 1, 4, 1, 1), (3, 2, 4, 1, 1), (1, 1, 4, 1, 1), (3, 1, 1, 8, 1)])
@pytest.mark.parametrize("attentions", [False, True])
def test_head_masks_of_five_dimensions(shape: tuple[int, ...], attentions: bool) -> None:
    model = made(VideoMAEModel)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    fast = call(model, head_mask=mask, output_attentions=attentions)[0]
    slow = call(model, head_mask=mask.expand(3, 2, 4, 8, 8), output_attentions=attentions)[0]
    assert relative_error(fast, slow) <= TOLERANCE
    assert relative_error(fast, call(model)[0]) > 1e-3


def test_a_head_mask_hides_single_keys() -> None:
    """Each query sees the first token alone: the context is that token's value, scaled by its probability."""
    model = made(VideoMAEModel, num_hidden_layers=1)
    mask = torch.zeros(1, 1, 1, 1, 8)
    mask[..., 0] = 1.0
    output = call(model, head_mask=mask, output_attentions=True)
    assert float(output.attentions[0][..., 1:].abs().max()) == 0.0
    expected = call(model, output_attentions=True).attentions[0][..., :1]
    assert relative_error(output.attentions[0][..., :1], expected) <= TOLERANCE
    assert same(output[0], call(model, head_mask=mask)[0])


@pytest.mark.parametrize(
    "shape", [(1, 4), (3, 1, 4), (2, 1, 4, 1, 1), (3, 3, 4, 1, 1), (3, 1, 4, 1, 5), (1, 1, 1, 1, 1, 1)]
)
def test_head_masks_that_do_not_fit_say_so(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelInputError, match=r"head_mask has shape .* broadcast to \(3, 2, 4, 8, 8\)"):
        call(made(VideoMAEModel), head_mask=torch.ones(shape))


@pytest.mark.parametrize("shape", [(3, 2, 4, 1, 1), (3, 1, 4, 8, 8)])
def test_a_pruned_model_takes_a_head_mask_of_five_dimensions(shape: tuple[int, ...]) -> None:
    model = made(VideoMAEModel)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    mask[1, :, 2] = 0.0
    expected = call(model, head_mask=mask)[0]
    model.prune_heads({1: [2]})
    assert relative_error(call(model, head_mask=mask)[0], expected) <= TOLERANCE


# --- models -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_a_model_are_where_ported_code_looks(kind: Any) -> None:
    model = made(kind)
    reference = reference_for(model)
    assert type(model.get_input_embeddings()).__name__ == "PatchEmbeddings"
    assert model.get_input_embeddings() is model.base_model.embeddings.patch_embeddings
    assert model.get_output_embeddings() is None
    assert isinstance(model.base_model, VideoMAEModel)
    assert model.main_input_name == reference.main_input_name
    assert model.base_model_prefix == reference.base_model_prefix
    assert model.num_parameters() == reference.num_parameters()
    model.get_input_embeddings().requires_grad_(False)
    frozen = sum(p.numel() for p in model.get_input_embeddings().parameters())
    assert model.num_parameters(only_trainable=True) == model.num_parameters() - frozen
    assert model.num_parameters(exclude_embeddings=True) == model.num_parameters() - frozen
    replaced = torch.nn.Identity()
    model.set_input_embeddings(replaced)
    assert model.get_input_embeddings() is replaced


def test_gradient_checkpointing_as_ported_code_asks_for_it() -> None:
    model = made(VideoMAEForVideoClassification)
    assert model.supports_gradient_checkpointing
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert model.is_gradient_checkpointing
    assert model.videomae.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    assert not model.videomae.is_gradient_checkpointing
    for wrong in ({"context_fn": 1}, False, [1]):
        with pytest.raises(ConfigError, match="gradient_checkpointing_kwargs"):
            model.gradient_checkpointing_enable(wrong)


def test_types_and_attention_by_name(tmp_path: Path) -> None:
    made(VideoMAEModel).save_pretrained(tmp_path)
    for name in ("bfloat16", "torch.bfloat16", torch.bfloat16):
        assert VideoMAEModel.from_pretrained(tmp_path, dtype=name).dtype is torch.bfloat16
    assert VideoMAEModel.from_pretrained(tmp_path, torch_dtype="float64").dtype is torch.float64
    assert VideoMAEModel.from_pretrained(tmp_path, dtype="auto").dtype is torch.float32
    for wrong in ("int8", "nn", "", torch.int64, 16):
        with pytest.raises(ConfigError, match="it must be a floating type"):
            VideoMAEModel.from_pretrained(tmp_path, dtype=wrong)
    with pytest.raises(ConfigError, match="attn_implementation is 'flash_attention_2'; it must be 'sdpa' or 'eager'"):
        VideoMAEModel.from_pretrained(tmp_path, attn_implementation="flash_attention_2")


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_attention_gives_what_the_kernel_gives(kind: Any) -> None:
    model = made(kind)
    fused = call(model).to_tuple()
    model.set_attn_implementation("eager")
    assert same(call(model).to_tuple(), fused)
    assert "attentions" not in call(model)


def test_num_labels_makes_numbered_labels() -> None:
    config = VideoMAEConfig().replace(num_labels=3)
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert config.num_labels == 3


def test_the_first_batch_decides_the_problem_where_asked() -> None:
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    kept = VideoMAEForVideoClassification(tiny_config(), keep_problem_type=True)
    call(kept, labels=labels)
    assert kept.config.problem_type == kept.videomae.config.problem_type == "multi_label_classification"
    free = VideoMAEForVideoClassification(tiny_config())
    call(free, labels=labels)
    assert free.config.problem_type is None
    assert call(free).loss is not None


# --- initial weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_weights_begin_in_the_style_of_transformers_where_asked(kind: Any) -> None:
    """By their first moments: zero where the reference has zeros, one where ones, else its deviation."""
    wide = {"hidden_size": 128, "intermediate_size": 512, "decoder_hidden_size": 64, "initializer_range": 0.05}
    model = made(kind, **wide, use_mean_pooling=False)
    model.init_weights("transformers")
    content = model.config.to_dict()
    content.pop("pruned_heads")
    reference = getattr(transformers, kind.__name__)(transformers.VideoMAEConfig.from_dict(content))
    theirs = {
        n.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): p.detach()
        for n, p in reference.named_parameters()
    }
    for name, parameter in model.named_parameters():
        ours, other = parameter.detach(), theirs[name]
        if other.unique().numel() == 1:
            assert torch.equal(ours, other), name
        else:
            assert float(ours.std()) == pytest.approx(0.05, rel=0.2), name
            assert float(other.std()) == pytest.approx(0.05, rel=0.2), name
    with pytest.raises(ConfigError, match="style is 'xavier'; it must be 'official' or 'transformers'"):
        model.init_weights("xavier")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_can_begin_anew_as_published(kind: Any) -> None:
    model = made(kind, hidden_size=128, intermediate_size=512)
    fresh = kind(model.config)
    model.init_weights()
    for (name, ours), other in zip(model.named_parameters(), fresh.parameters(), strict=True):
        ours, other = ours.detach(), other.detach()
        if other.unique().numel() == 1:
            assert torch.equal(ours, other), name
        elif other.numel() > 1000:
            assert float(ours.std()) == pytest.approx(float(other.std()), rel=0.1), name

"""Which of transformers' own VideoMAE tests our models pass, through calls of ours: prints the table of docs/parity.md.

Each check restates by our own calls what the test of that name asserts (tests/models/videomae/test_modeling_videomae.py of
5.23, and what of tests/test_modeling_common.py applies); no code of theirs is here. Tiny random models, seconds on a CPU.
"""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable
from typing import Any

import torch

from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

Check = Callable[[], bool]
KINDS: tuple[Any, ...] = (VideoMAEModel, VideoMAEForVideoClassification, VideoMAEForPreTraining)
# The sizes of the suite's own tester: 25 tokens, of which int(0.9 * 25) = 22 are masked.
BATCH, TOKENS, MASKED, WIDTH, LAYERS, HEADS = 4, 25, 22, 32, 2, 4


def config(**changes: Any) -> VideoMAEConfig:
    """The suite's configuration."""
    sizes: dict[str, Any] = {
        "image_size": 10,
        "patch_size": 2,
        "num_frames": 2,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 37,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "decoder_hidden_size": WIDTH,
        "decoder_intermediate_size": 37,
        "decoder_num_attention_heads": HEADS,
        "decoder_num_hidden_layers": LAYERS,
    }
    return VideoMAEConfig(**{**sizes, **changes})


def inputs(kind: Any, batch: int = BATCH) -> dict[str, Any]:
    """Clips, and a mask where the model needs one."""
    clips = torch.rand(batch, 2, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(TOKENS) < MASKED).expand(batch, -1)
    return {"pixel_values": clips, **({"bool_masked_pos": mask} if kind is VideoMAEForPreTraining else {})}


def run(model: Any, **arguments: Any) -> Any:
    """The output of a model without a gradient."""
    with torch.no_grad():
        return model(**{**inputs(type(model)), **arguments})


def each(check: Callable[[Any], bool]) -> Check:
    """The same for all three models."""
    return lambda: all(check(kind) for kind in KINDS)


def main_part(output: Any) -> torch.Tensor:
    """The tokens or the logits."""
    part: torch.Tensor = output["logits"] if "logits" in output else output["last_hidden_state"]
    return part


def _config() -> bool:
    made = config(output_hidden_states=True)
    return VideoMAEConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made and VideoMAEConfig() is not None


def _seen(kind: Any) -> int:
    return TOKENS - MASKED if kind is VideoMAEForPreTraining else TOKENS


def _attentions(kind: Any) -> bool:
    by_call = run(kind(config()).eval(), output_attentions=True)
    model = kind(config(output_attentions=True)).eval()
    by_config, both = run(model), run(model, output_attentions=True, output_hidden_states=True)
    shape = (HEADS, _seen(kind), _seen(kind))
    counts = [len(output.attentions) == LAYERS for output in (by_call, by_config, both)]
    return all(counts) and by_config.attentions[0].shape[-3:] == shape and len(both) == len(by_config) + 1


def _hidden_states(kind: Any) -> bool:
    outputs = run(kind(config()).eval(), output_hidden_states=True), run(kind(config(output_hidden_states=True)).eval())
    return all(
        len(output.hidden_states) == LAYERS + 1 and output.hidden_states[0].shape[-2:] == (_seen(kind), WIDTH)
        for output in outputs
    )


def _outputs_equivalent(kind: Any) -> bool:
    model = kind(config()).eval()
    for flags in ({}, {"output_hidden_states": True}, {"output_hidden_states": True, "output_attentions": True}):
        named, plain = run(model, **flags).to_tuple(), run(model, return_dict=False, **flags)
        pairs = zip(_flat(named), _flat(plain), strict=True)
        if type(plain) is not tuple or not all(torch.equal(a, b) for a, b in pairs):
            return False
    return True


def _flat(parts: Any) -> list[torch.Tensor]:
    return [parts] if isinstance(parts, torch.Tensor) else [t for part in parts for t in _flat(part)]


def _saved(kind: Any) -> bool:
    model = kind(config()).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = kind.from_pretrained(folder)
    return torch.equal(main_part(run(model)), main_part(run(again))) and again.config == model.config


def _trains(kind: Any, recompute: bool) -> bool:
    model = kind(config()).train()
    if recompute:
        model.gradient_checkpointing_enable()
    labels = {"labels": torch.zeros(BATCH, dtype=torch.long)} if kind is VideoMAEForVideoClassification else {}
    output = model(**inputs(kind), **labels)
    loss = output.loss if kind is not VideoMAEModel else output.last_hidden_state.pow(2).mean()
    loss.backward()
    return all(p.grad is not None for p in model.parameters())


def _switch(kind: Any) -> bool:
    model = kind(config())
    model.gradient_checkpointing_enable()
    on = model.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    return bool(on) and not model.is_gradient_checkpointing


def _deterministic(kind: Any) -> bool:
    model = kind(config()).eval()
    return torch.equal(main_part(run(model)), main_part(run(model)))


def _batched(kind: Any) -> bool:
    model = kind(config()).eval()
    whole, one = main_part(run(model)), main_part(run(model, **{k: v[:1] for k, v in inputs(kind).items()}))
    return torch.allclose(whole[:1], one, atol=1e-5)


def _keeps_gradients(kind: Any) -> bool:
    model = kind(config()).eval()
    output = model(**inputs(kind), output_hidden_states=True, output_attentions=True)
    kept = [output.hidden_states[0], output.attentions[0]]
    for part in kept:
        part.retain_grad()
    main_part(output).flatten()[0].backward()
    return all(part.grad is not None for part in kept)


def _problems() -> bool:
    cases = {
        "multi_label_classification": torch.rand(BATCH, 3),
        "single_label_classification": torch.zeros(BATCH, dtype=torch.long),
        "regression": torch.rand(BATCH, 1),
    }
    losses = []
    for name, labels in cases.items():
        labelled = config(problem_type=name).replace(num_labels=1 if name == "regression" else 3)
        loss = VideoMAEForVideoClassification(labelled)(**inputs(None), labels=labels).loss
        loss.backward()
        losses.append(bool(loss.isfinite()))
    return all(losses)


def _eager(kind: Any) -> bool:
    model = kind(config()).eval()
    fused = main_part(run(model))
    model.set_attn_implementation("eager")
    return torch.allclose(fused, main_part(run(model)), atol=1e-5)


def _embeddings(kind: Any) -> bool:
    model = kind(config())
    return isinstance(model.get_input_embeddings(), torch.nn.Module) and model.get_output_embeddings() is None


def _signature(kind: Any) -> bool:
    return list(inspect.signature(kind.forward).parameters)[1] == kind.main_input_name


def _exports(kind: Any) -> bool:
    model = kind(config()).eval()
    given = inputs(kind)
    exported = torch.export.export(model, (), {**given, "return_dict": False}, strict=False).module()
    with torch.no_grad():
        ours, theirs = model(**given, return_dict=False), exported(**given, return_dict=False)
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(_flat(ours), _flat(theirs), strict=True))


def _pretrains() -> bool:
    shape = run(VideoMAEForPreTraining(config()).eval()).logits.shape
    return bool(shape == (BATCH, MASKED, 3 * 2 * 2**2))


def _encodes() -> bool:
    return bool(run(VideoMAEModel(config()).eval()).last_hidden_state.shape == (BATCH, TOKENS, WIDTH))


# The name of the test, and a check of ours, or why there is none.
PEERS: dict[str, Check | str] = {
    "test_config": _config,
    "test_model": _encodes,
    "test_for_pretraining": _pretrains,
    "test_model_get_set_embeddings": each(_embeddings),
    "test_attention_outputs": each(_attentions),
    "test_hidden_states_output": each(_hidden_states),
    "test_model_outputs_equivalence": each(_outputs_equivalent),
    "test_save_load": each(_saved),
    "test_determinism": each(_deterministic),
    "test_batching_equivalence": each(_batched),
    "test_forward_signature": each(_signature),
    "test_training": each(lambda kind: _trains(kind, recompute=False)),
    "test_training_gradient_checkpointing": each(lambda kind: _trains(kind, recompute=True)),
    "test_gradient_checkpointing_enable_disable": each(_switch),
    "test_retain_grad_hidden_states_attentions": each(_keeps_gradients),
    "test_problem_types": _problems,
    "test_eager_matches_sdpa_inference": each(_eager),
    "test_torch_export, encoder and classifier": lambda: (
        _exports(VideoMAEModel) and _exports(VideoMAEForVideoClassification)
    ),
    "test_torch_export, pre-training": "does not pass: how many tokens a mask hides is read from its values",
    "test_inputs_embeds": "does not apply: skipped there too: no embeddings go in",
    "test_resize_tokens_embeddings": "does not apply: no vocabulary",
    "test_tied_weights_keys": "does not apply: no weights are tied",
    "test_mismatched_shapes_have_properly_initialized_weights": "does not apply: such a checkpoint is refused, no weight is left at random; `start_classifier` makes a new head",
    "test_flash_attn_2_inference_equivalence": "does not apply: needs a GPU and flash-attn; PyTorch's kernel chooses by itself",
    "test_model_from_pretrained": "does not apply: needs the network; tests/hub has a server of its own",
    "test_pipeline_video_classification": "does not apply: no pipelines of transformers; `videomae classify` instead",
    "test_inference_for_video_classification": "does not apply: needs the network: published weights",
    "test_inference_for_pretraining": "does not apply: needs the network: published weights",
}


def table() -> str:
    """The list as a table of Markdown."""
    torch.manual_seed(0)
    rows = ["| test of transformers | here |", "|---|---|"]
    for name, check in PEERS.items():
        told = check if isinstance(check, str) else "passes" if check() else "**fails**"
        rows.append(f"| `{name}` | {told} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")

"""A model and a clip -> how much each token counts: attention of the last layers, rollout, or weighted for a class.

VideoMAE has no class token: the classifier reads the mean of all output tokens. So a token's share is the mean over all
queries; in a checkpoint that classifies from token 0, it is that query's. Every map sums to 1 over the tokens.

Receives a model; loads, samples and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from videomae_cli.errors import ModelMemoryError, OptionError, Wording
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification

METHODS = ("last", "rollout", "grad")
Model = VideoMAEForVideoClassification | VideoMAEForPreTraining


@dataclass(frozen=True)
class AttentionMaps:
    """maps (M, t, h, w) float32 on the CPU, each summing to 1: one map, or one for each head, whose numbers are in
    `heads`; label_id, label, score: the class that "grad" was asked about, and what the model gives it; a
    regression model has no score there but a value."""

    maps: Tensor
    method: str
    layers: int
    heads: tuple[int, ...] = ()
    label_id: int | None = None
    label: str | None = None
    score: float | None = None
    value: float | None = None


def attend(
    model: Model,
    pixel_values: Tensor,
    *,
    method: str = "rollout",
    layers: int = 1,
    per_head: bool = False,
    label_id: int | None = None,
) -> AttentionMaps:
    """The maps of one clip (1, T, C, H, W).

    layers: of "last", how many, from the top; label_id: of "grad", None for the class the model gives most.
    Raises OptionError for what doesn't go together, ModelMemoryError, ModelInputError.
    """
    _check(model, method, layers, per_head)
    pixel_values = pixel_values.to(model.device, model.dtype)
    try:
        if method == "grad":
            assert isinstance(model, VideoMAEForVideoClassification)
            return _weighted(model, pixel_values, label_id)
        with torch.inference_mode():
            return (
                _rollout(model, pixel_values) if method == "rollout" else _last(model, pixel_values, layers, per_head)
            )
    except RuntimeError as error:
        if not isinstance(error, torch.cuda.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise ModelMemoryError(
            f"{model.device} has too little memory for the attention of this model",
            remedy=Wording("try {@method:last} or rollout, a smaller model, or {@device:cpu}"),
        ) from None


def _check(model: Model, method: str, layers: int, per_head: bool) -> None:
    if method not in METHODS:
        raise OptionError(f"unknown method {method!r}: choose {', '.join(METHODS)}")
    if per_head and method != "last":
        raise OptionError(
            Wording("heads separately go with {@method:last}; {method} mixes them from layer to layer", method=method)
        )
    if per_head and layers > 1:
        raise OptionError("heads separately are those of the last layer", remedy=Wording("leave {@layers} at 1"))
    there = model.config.num_hidden_layers
    if not 1 <= layers <= there:
        raise OptionError(f"layers must be 1 to {there} with this model, not {layers}")
    if method == "grad" and not isinstance(model, VideoMAEForVideoClassification):
        raise OptionError(Wording("{@method:grad} asks about a label, and a pre-training checkpoint has none"))


def _layers(model: Model, pixel_values: Tensor) -> Iterator[Tensor]:
    """The attention probabilities (heads, N, N) of each layer, one at a time: all at once would not fit for large models."""
    encoder = model.videomae
    tokens = encoder.embeddings(pixel_values)
    for block in encoder.encoder.layer:
        tokens, weights = block(tokens, None, True)
        yield weights[0].float()


def _last(model: Model, pixel_values: Tensor, layers: int, per_head: bool) -> AttentionMaps:
    first = model.config.num_hidden_layers - layers
    kept = [_read(model, weights) for number, weights in enumerate(_layers(model, pixel_values)) if number >= first]
    if not per_head:
        mean = torch.stack([shares.mean(dim=0) for shares in kept]).mean(dim=0)
        return AttentionMaps(_grid(model, mean[None]), "last", layers)
    heads = _heads(model, model.config.num_hidden_layers - 1)
    return AttentionMaps(_grid(model, kept[0]), "last", layers, heads)


def _heads(model: Model, layer: int) -> tuple[int, ...]:
    gone = model.config.pruned_heads.get(layer, ())
    return tuple(head for head in range(model.config.num_attention_heads) if head not in gone)


def _rollout(model: Model, pixel_values: Tensor) -> AttentionMaps:
    """Abnar and Zuidema 2020, "Quantifying attention flow in transformers", section 3: the layers' mean attention, half of
    it the residual connection's identity, multiplied from the first layer to the last."""
    flow: Tensor | None = None
    for weights in _layers(model, pixel_values):
        mixed = 0.5 * weights.mean(dim=0)
        mixed.diagonal().add_(0.5)
        flow = mixed if flow is None else mixed @ flow
    assert flow is not None
    return AttentionMaps(_grid(model, _read(model, flow[None])), "rollout", model.config.num_hidden_layers)


def _weighted(model: VideoMAEForVideoClassification, pixel_values: Tensor, label_id: int | None) -> AttentionMaps:
    """Chefer, Gur and Wolf 2021, "Generic attention-model explainability", section 3.1: each layer's attention times its
    gradient for the class, what is negative left out, mean over heads; relevance R starts as the identity and grows by
    that times R. The identity itself, which says nothing about the class, is taken off at the end."""
    # The input asks for gradients, not the weights: that is enough for those of the attentions, and takes less memory.
    logits, attentions = _with_attentions(model, pixel_values.clone().requires_grad_(True))
    values = model.problem_type() == "regression"
    scores = _scores(model, logits.detach().float())
    chosen = int(scores[0].argmax()) if label_id is None else label_id
    gradients = torch.autograd.grad(logits[0, chosen], attentions)
    with torch.inference_mode():
        identity = torch.eye(attentions[0].shape[-1], device=pixel_values.device)
        relevance = identity
        for weights, gradient in zip(attentions, gradients, strict=True):
            relevant = (weights[0] * gradient[0]).float().clamp(min=0).mean(dim=0)
            relevance = relevance + relevant @ relevance
        shares = _read(model, (relevance - identity)[None])
        return AttentionMaps(
            _grid(model, shares),
            "grad",
            model.config.num_hidden_layers,
            label_id=chosen,
            label=model.config.id2label[chosen],
            score=None if values else float(scores[0, chosen]),
            value=float(scores[0, chosen]) if values else None,
        )


def _scores(model: VideoMAEForVideoClassification, logits: Tensor) -> Tensor:
    """Probabilities, or the values themselves where the model gives values."""
    match model.problem_type():
        case "regression":
            return logits
        case "multi_label_classification":
            return logits.sigmoid()
        case _:
            return logits.softmax(-1)


def _with_attentions(model: VideoMAEForVideoClassification, pixel_values: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits and every layer's attention, with the graph between them; the weights take no part in it."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with torch.enable_grad():
            output = model(pixel_values, output_attentions=True, return_dict=True)
    finally:
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)
    assert output.attentions is not None
    return output.logits, output.attentions


def _read(model: Model, weights: Tensor) -> Tensor:
    """Attention (M, queries, keys) to what each key gets, (M, N): from all queries alike, or from the one that is read."""
    from_token_0 = isinstance(model, VideoMAEForVideoClassification) and not model.config.use_mean_pooling
    return weights[:, 0] if from_token_0 else weights.mean(dim=1)


def _grid(model: Model, shares: Tensor) -> Tensor:
    """Shares (M, N) to maps (M, t, h, w) that each sum to 1; where nothing counts, all tokens alike."""
    total = shares.sum(dim=1, keepdim=True)
    even = torch.full_like(shares, 1 / shares.shape[1])
    normal = torch.where(total > 0, shares / total.clamp(min=torch.finfo(shares.dtype).tiny), even)
    return normal.view(-1, *model.config.grid).cpu()

"""Attention maps of one clip: last layers' attention, attention rollout, or attention weighted by a class's gradient.

VideoMAE has no class token: the classifier reads the mean of all output tokens. A token's weight is therefore its mean
over all queries; in a checkpoint that classifies from token 0 it is the attention of that one query. Every map sums to
1.

The model and the clip are passed in: nothing is loaded, sampled or drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from videomae_cli.errors import ModelMemoryError, OptionError, Wording, check_choice
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification

METHODS = ("last", "rollout", "grad")
Model = VideoMAEForVideoClassification | VideoMAEForPreTraining


@dataclass(frozen=True)
class AttentionMaps:
    """Maps (M, t, h, w) float32 on the CPU, each summing to 1: a single one, or one per head, numbered in `heads`.

    label_id, label, score: the class that "grad" explains and its probability; a regression model has a `value`
    instead.
    """

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
    """Compute the attention maps of one clip (1, T, C, H, W).

    layers: how many of the last layers method "last" averages; label_id: the class that "grad" explains, None for the
    top one. Raises OptionError for options that exclude each other, ModelMemoryError, ModelInputError.
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
        raise ModelMemoryError.about(
            model.device,
            "{subject} has too little memory for the attention of this model",
            remedy=Wording("try {@method:last} or rollout, a smaller model, or {@device:cpu}"),
        ) from None


def _check(model: Model, method: str, layers: int, per_head: bool) -> None:
    check_choice("method", method, METHODS)
    if per_head and method != "last":
        raise OptionError.about(
            "method", "heads separately go with {@method:last}; {method} mixes them from layer to layer", method=method
        )
    if per_head and layers > 1:
        raise OptionError.about(
            "per_head", "heads separately are those of the last layer", remedy=Wording("leave {@layers} at 1")
        )
    available = model.config.num_hidden_layers
    if not 1 <= layers <= available:
        reason = "layers must be 1 to {available} with this model, not {layers}"
        raise OptionError.about("layers", reason, available=available, layers=layers)
    if method == "grad" and not isinstance(model, VideoMAEForVideoClassification):
        raise OptionError.about("method", "{@method:grad} asks about a label, and a pre-training checkpoint has none")


def _layers(model: Model, pixel_values: Tensor) -> Iterator[Tensor]:
    """Yield the attention (heads, N, N) of each layer in turn: all at once would not fit in memory for large models."""
    encoder = model.videomae
    tokens = encoder.embeddings(pixel_values)
    for block in encoder.encoder.layer:
        tokens, weights = block(tokens, None, True)
        yield weights[0].float()


def _last(model: Model, pixel_values: Tensor, layers: int, per_head: bool) -> AttentionMaps:
    first = model.config.num_hidden_layers - layers
    selected = [
        _received(model, weights) for number, weights in enumerate(_layers(model, pixel_values)) if number >= first
    ]
    if not per_head:
        mean = torch.stack([shares.mean(dim=0) for shares in selected]).mean(dim=0)
        return AttentionMaps(_grid(model, mean[None]), "last", layers)
    heads = _heads(model, model.config.num_hidden_layers - 1)
    return AttentionMaps(_grid(model, selected[0]), "last", layers, heads)


def _heads(model: Model, layer: int) -> tuple[int, ...]:
    pruned = model.config.pruned_heads.get(layer, ())
    return tuple(head for head in range(model.config.num_attention_heads) if head not in pruned)


def _rollout(model: Model, pixel_values: Tensor) -> AttentionMaps:
    """Multiply the layers' attention from first to last, each averaged with the identity for its residual connection.

    Source: Abnar and Zuidema 2020, "Quantifying attention flow in transformers", section 3.
    """
    flow: Tensor | None = None
    for weights in _layers(model, pixel_values):
        mixed = 0.5 * weights.mean(dim=0)
        mixed.diagonal().add_(0.5)
        flow = mixed if flow is None else mixed @ flow
    assert flow is not None
    return AttentionMaps(_grid(model, _received(model, flow[None])), "rollout", model.config.num_hidden_layers)


def _weighted(model: VideoMAEForVideoClassification, pixel_values: Tensor, label_id: int | None) -> AttentionMaps:
    """Compute the relevance of each token for one class, from attention times its gradient.

    Chefer, Gur and Wolf 2021, "Generic attention-model explainability", section 3.1: R starts as the identity; each
    layer adds A @ R, where A is attention times gradient, clamped at 0 and averaged over heads. The initial identity,
    which says nothing about the class, is subtracted at the end.
    """
    # Only the input requires gradients: that suffices for the gradients of the attention, and takes less memory.
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
        shares = _received(model, (relevance - identity)[None])
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
    """Turn logits into probabilities; a regression model's outputs are returned unchanged."""
    match model.problem_type():
        case "regression":
            return logits
        case "multi_label_classification":
            return logits.sigmoid()
        case _:
            return logits.softmax(-1)


def _with_attentions(model: VideoMAEForVideoClassification, pixel_values: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return logits and every layer's attention with the graph that connects them; the weights require no gradients."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with torch.enable_grad():
            output = model(pixel_values, output_attentions=True, return_dict=True)
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)
    assert output.attentions is not None
    return output.logits, output.attentions


def _received(model: Model, weights: Tensor) -> Tensor:
    """Reduce attention (M, queries, keys) to what each key receives, (M, N): the mean over all queries.

    If the classifier reads only token 0 (no mean pooling), it is what the key receives from that token.
    """
    from_token_0 = isinstance(model, VideoMAEForVideoClassification) and not model.config.use_mean_pooling
    return weights[:, 0] if from_token_0 else weights.mean(dim=1)


def _grid(model: Model, shares: Tensor) -> Tensor:
    """Normalise weights (M, N) to maps (M, t, h, w) that each sum to 1; uniform where all weights are 0."""
    total = shares.sum(dim=1, keepdim=True)
    even = torch.full_like(shares, 1 / shares.shape[1])
    normal = torch.where(total > 0, shares / total.clamp(min=torch.finfo(shares.dtype).tiny), even)
    return normal.view(-1, *model.config.grid).cpu()

"""The reference implementation (transformers) with the same weights as a model of ours, for comparison."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from videomae_cli.model import VideoMAEConfig

TINY: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 16,
    "num_frames": 4,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 2,
    "decoder_intermediate_size": 32,
}


def tiny_config(**changes: Any) -> VideoMAEConfig:
    return VideoMAEConfig(**{**TINY, **changes})


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Every parameter random, biases and norms too, so that none can be left out without a difference."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.2 + (1.0 if parameter.ndim == 1 and bool((parameter == 1).all()) else 0.0))


def reference_for(model: nn.Module, attention: str = "eager") -> Any:
    """The class of the same name in transformers, in evaluation mode, with this model's weights."""
    content = model.config.to_dict()  # type: ignore[union-attr, operator]
    content.pop("pruned_heads")
    config = transformers.VideoMAEConfig.from_dict(content, attn_implementation=attention)
    with no_init_weights():  # all of them are replaced below
        reference = getattr(transformers, type(model).__name__)(config)
    renamed = {
        name.replace("attention.q_bias", "attention.query.bias").replace("attention.v_bias", "attention.value.bias"): t
        for name, t in model.state_dict().items()
    }
    reference.load_state_dict(renamed, strict=True)
    return reference.eval()


def clips(config: VideoMAEConfig, batch: int = 2, seed: int = 1) -> Tensor:
    shape = (batch, config.num_frames, config.num_channels, *config.image_hw)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def same(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two outputs of one model are equal but for the last bits.

    How a product is summed up depends on where its factors lie: in a mapped file they may begin at any multiple of 8 bytes.
    """
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def gradient_errors(ours: nn.Module, theirs: nn.Module) -> dict[str, float]:
    """Relative error of the gradient of every parameter, by our name."""
    other = {
        name.replace("attention.query.bias", "attention.q_bias").replace("attention.value.bias", "attention.v_bias"): p
        for name, p in theirs.named_parameters()
    }
    errors = {}
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        errors[name] = relative_error(parameter.grad, other[name].grad)
    return errors

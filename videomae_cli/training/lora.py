"""Adds LoRA adapters (Hu et al. 2021) to the attention layers with `peft`, merged into the weights on saving."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from torch import nn

from videomae_cli.errors import DependencyError
from videomae_cli.model import VideoMAEForVideoClassification

_TARGETS = r".*\.(query|value|attention\.output\.dense)"


def add_lora(
    model: VideoMAEForVideoClassification, *, rank: int, alpha: int | None = None
) -> Callable[[nn.Module], VideoMAEForVideoClassification]:
    """Add LoRA adapters of `rank` to queries, values and output projections, in place.

    All other weights are frozen, except `fc_norm` and the classifier. Returns the function that turns the trained model
    into a plain one. Raises DependencyError.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer
    except ImportError:
        raise DependencyError.about(
            "peft", "{@mode:lora} needs the package peft: pip install 'videomae-cli[lora]'"
        ) from None
    config = LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, target_modules=_TARGETS)
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith(("fc_norm.", "classifier.")))

    def merged(trained: nn.Module) -> VideoMAEForVideoClassification:
        plain = deepcopy(trained)
        assert isinstance(plain, VideoMAEForVideoClassification)
        for parent in list(plain.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, LoraLayer):
                    child.merge()
                    setattr(parent, name, child.get_base_layer())
        return plain

    return merged

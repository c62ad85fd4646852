"""Strips the prefixes that wrapper modules add to tensor names, by locating the encoder's patch embedding."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from videomae_cli.errors import CheckpointError
from videomae_cli.model.messages import shown

logger = logging.getLogger(__name__)

# torch.compile and parallel training insert these anywhere in a name; they carry no meaning.
_WRAPPER = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_AVERAGED = re.compile(r"(?:^|[_.])(?:ema|swa|averaged?|teacher)(?:[_.]|$)")
# The patch embedding's weight in the official layout and in Hugging Face's: every encoder has exactly one.
OFFICIAL_ANCHOR = "patch_embed.proj.weight"
HUGGING_FACE_ANCHOR = "embeddings.patch_embeddings.projection.weight"
# The official layout's own prefix. A checkpoint with it has no foreign modules, so unknown tensors are an error.
_OWN = "encoder."
# Parts of a VideoMAE outside the encoder, in both layouts.
_BESIDE = re.compile(r"(?:decoder\.|encoder_to_decoder\.|mask_token$|head\.|fc_norm\.|classifier\.|norm\.)")


def without_prefixes(tensors: Mapping[str, Tensor], anchor: str) -> dict[str, Tensor]:
    """Return the tensors under the names of their layout, whatever modules the encoder was wrapped in.

    If it was inside another model, tensors that are not part of a VideoMAE are dropped with a warning. Raises
    CheckpointError for two encoders, or two tensors with the same name.
    """
    plain = renamed((name, _WRAPPER.sub("", name), tensor) for name, tensor in tensors.items())
    prefix = _prefix(plain, anchor)
    if not prefix:
        return plain
    # the modules that enclose the encoder: for "net.backbone." these are "net." and ""
    parts = prefix.split(".")[:-1]
    around = [".".join([*parts[:count], ""]) if count else "" for count in range(len(parts) - 1, -1, -1)]
    taken, strangers = [], []
    for name, tensor in plain.items():
        outside = next(name.removeprefix(root) for root in around if name.startswith(root))
        if name.startswith(prefix):
            taken.append((name, name.removeprefix(prefix), tensor))
        elif _BESIDE.match(outside) or prefix == _OWN:
            taken.append((name, outside, tensor))
        else:
            strangers.append(name)
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        logger.warning(
            "the checkpoint's model lies under %s; %s%s beside it isn't part of it and is left out",
            shown(prefix), shown(strangers[0]), more,
        )  # fmt: skip
    return renamed(taken)


def has_anchor(names: Iterable[str], anchor: str) -> bool:
    """Return whether any name equals `anchor`, or ends in it after a dot."""
    return any(name == anchor or name.endswith(f".{anchor}") for name in names)


def _prefix(plain: Mapping[str, Tensor], anchor: str) -> str:
    found = [name.removesuffix(anchor) for name in plain if has_anchor([name], anchor)]
    if len(found) > 1:
        found = [prefix for prefix in found if not _AVERAGED.search(prefix)] or found
    if len(found) > 1:
        listed = ", ".join(shown(prefix) for prefix in sorted(found)[:3])
        raise CheckpointError.about(
            "checkpoint",
            "the checkpoint holds {count} encoders, under {listed}; save the one that is meant alone",
            count=len(found),
            listed=listed,
        )
    return found[0] if found else ""


def renamed(parts: Iterable[tuple[str, str, Tensor]]) -> dict[str, Tensor]:
    """Return tensors, given as (name, new name, tensor), under their new names. Raises CheckpointError for one held twice."""
    result: dict[str, Tensor] = {}
    for name, short, tensor in parts:
        if short in result:
            raise CheckpointError.about(
                name,
                "the checkpoint holds the tensor {tensor} twice, once as {name}",
                tensor=shown(short),
                name=shown(name),
            )
        result[short] = tensor
    return result

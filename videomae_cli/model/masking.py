"""Makes masks over the tokens of a clip, reproducibly by seed, and converts pixels to patches and back.

A mask is a bool tensor, True where a token is hidden, over the (time, height, width) grid of tokens flattened in that
order. Every row of a batch hides the same number of tokens, since the visible ones become one tensor.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from videomae_cli.errors import ModelInputError, OptionError
from videomae_cli.model.config import VideoMAEConfig

Grid = tuple[int, int, int]


def _check_ratio(ratio: float) -> None:
    if not 0.0 <= ratio < 1.0:
        raise OptionError.about(
            "mask_ratio", "the mask ratio is {ratio}; it must be at least 0 and below 1", ratio=ratio
        )


def _shuffled(count: int, hidden: int, generator: torch.Generator) -> Tensor:
    """Return a mask (count,) with `hidden` random elements True."""
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.randperm(count, generator=generator)[:hidden]] = True
    return mask


def tube_mask(grid: Grid, ratio: float, *, batch: int = 1, seed: int = 0) -> Tensor:
    """Mask (batch, tokens): hides int(ratio * h * w) random positions, the same in all time slots (paper, section 3.2)."""
    _check_ratio(ratio)
    slots, height, width = grid
    places, generator = height * width, torch.Generator().manual_seed(seed)
    rows = [_shuffled(places, int(ratio * places), generator).repeat(slots) for _ in range(batch)]
    return torch.stack(rows)


def random_mask(grid: Grid, ratio: float, *, batch: int = 1, seed: int = 0) -> Tensor:
    """Mask (batch, tokens): hides int(ratio * tokens) random tokens."""
    _check_ratio(ratio)
    slots, height, width = grid
    tokens, generator = slots * height * width, torch.Generator().manual_seed(seed)
    return torch.stack([_shuffled(tokens, int(ratio * tokens), generator) for _ in range(batch)])


def frame_mask(grid: Grid, ratio: float, *, batch: int = 1, seed: int = 0) -> Tensor:
    """Mask (batch, tokens): hides int(ratio * time slots) random slots of `tubelet_size` frames each."""
    _check_ratio(ratio)
    slots, height, width = grid
    generator = torch.Generator().manual_seed(seed)
    rows = [_shuffled(slots, int(ratio * slots), generator).repeat_interleave(height * width) for _ in range(batch)]
    return torch.stack(rows)


def causal_mask(grid: Grid, ratio: float, *, batch: int = 1, seed: int = 0) -> Tensor:
    """Mask (batch, tokens): hides the last int(ratio * time slots) slots, so that the future is predicted from the past.

    Not random; `seed` exists so that all masks have the same signature.
    """
    _check_ratio(ratio)
    slots, height, width = grid
    row = torch.arange(slots) >= slots - int(ratio * slots)
    return row.repeat_interleave(height * width).repeat(batch, 1)


MASKS = {"tube": tube_mask, "random": random_mask, "frame": frame_mask, "causal": causal_mask}


def check_mask(mask: Tensor, *, batch: int, tokens: int) -> None:
    """Raise ModelInputError unless `mask` is bool (batch, tokens) and hides equally many tokens per row, but not all."""
    wrong = partial(ModelInputError.about, "bool_masked_pos")
    if not isinstance(mask, Tensor):
        raise wrong("{subject} is a {type}; it must be a tensor", type=type(mask).__name__)
    if mask.dtype != torch.bool:
        raise wrong("{subject} is {dtype}; it must be bool, True where a token is masked", dtype=mask.dtype)
    shape, expected = tuple(mask.shape), (batch, tokens)
    if shape != expected:
        raise wrong("{subject} has shape {shape}; it must be {expected}", shape=shape, expected=expected)
    counts = mask.sum(dim=1).tolist()
    if len(set(counts)) > 1:
        reason = "{subject} masks {counts} tokens; every clip of a batch must have the same number"
        raise wrong(reason, counts=counts)
    if counts and counts[0] == tokens:
        raise wrong("{subject} masks all {tokens} tokens; at least one must stay visible", tokens=tokens)


def layer_head_masks(mask: Tensor, *, layers: int, heads: int, batch: int, tokens: int) -> Tensor:
    """Expand a head mask to (layers, 1 or batch, heads, 1 or tokens, 1 or tokens). Raises ModelInputError.

    Accepts (heads,), (layers, heads), or five dimensions that broadcast to (layers, batch, heads, tokens, tokens).
    """
    if not isinstance(mask, Tensor):
        raise ModelInputError.about("head_mask", "head_mask is a {type}; it must be a tensor", type=type(mask).__name__)
    whole = (layers, batch, heads, tokens, tokens)
    if tuple(mask.shape) in ((heads,), (layers, heads)):
        return mask.expand(layers, heads).view(layers, 1, heads, 1, 1)
    if mask.ndim == 5 and all(size in (1, full) for size, full in zip(mask.shape, whole, strict=True)):
        return mask.expand(layers, -1, heads, -1, -1)
    raise ModelInputError.about(
        "head_mask",
        "head_mask has shape {shape}; it must be ({heads},) or ({layers}, {heads}), or broadcast to {whole}",
        shape=tuple(mask.shape),
        heads=heads,
        layers=layers,
        whole=whole,
    )


def select(tokens: Tensor, mask: Tensor) -> Tensor:
    """Select the tokens (B, N, D) where mask (B, N) is True, n in every row: (B, n, D), in order."""
    batch, _, width = tokens.shape
    # (B, N, D)[(B, N)] -> (B * n, D) -> (B, n, D); n is explicit, because -1 is ambiguous for empty tensors
    chosen = tokens[mask]
    return chosen.reshape(batch, chosen.shape[0] // max(batch, 1), width)


def patchify(frames: Tensor, config: VideoMAEConfig) -> Tensor:
    """Cut frames (B, T, C, H, W) into patches (B, N, tubelet * p * p, C), ordered (t h w), inside (tubelet, row, column)."""
    batch, _, channels, _, _ = frames.shape
    slots, rows, columns = config.grid
    (patch_height, patch_width), tubelet = config.patch_hw, config.tubelet_size
    # (B, T, C, H, W) -> (B, t, dt, C, h, dh, w, dw) -> (B, t, h, w, dt, dh, dw, C) -> (B, N, dt * dh * dw, C)
    x = frames.reshape(batch, slots, tubelet, channels, rows, patch_height, columns, patch_width)
    x = x.permute(0, 1, 4, 6, 2, 5, 7, 3)
    return x.reshape(batch, slots * rows * columns, tubelet * patch_height * patch_width, channels)


def unpatchify(patches: Tensor, config: VideoMAEConfig) -> Tensor:
    """Assemble patches (B, N, tubelet * p * p, C), or with the last two flattened, to frames (B, T, C, H, W)."""
    batch = patches.shape[0]
    slots, rows, columns = config.grid
    (patch_height, patch_width), tubelet = config.patch_hw, config.tubelet_size
    # (B, N, ...) -> (B, t, h, w, dt, dh, dw, C) -> (B, t, dt, C, h, dh, w, dw) -> (B, T, C, H, W)
    x = patches.reshape(batch, slots, rows, columns, tubelet, patch_height, patch_width, config.num_channels)
    x = x.permute(0, 1, 4, 7, 2, 5, 3, 6)
    return x.reshape(batch, config.num_frames, config.num_channels, *config.image_hw)

"""Reconstructs the masked patches of a clip with a pre-training model, and measures the result with PSNR and SSIM.

A model trained on normalised patches (`norm_pix_loss`) predicts neither the mean nor the contrast of a patch. Published
previews take both from the hidden patch itself, which by itself nearly gives the picture away (MCG-NJU/VideoMAE issues
25 and 120); `stats="visible"` estimates them from visible patches instead. A model trained on plain pixels needs
neither.

The model and the clip are passed in: nothing is loaded, sampled or drawn here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from videomae_cli.errors import OptionError, check_choice
from videomae_cli.model import VideoMAEForPreTraining
from videomae_cli.model.masking import MASKS, patchify, select, unpatchify
from videomae_cli.model.pretraining import patch_statistics, to_unit_range

Stats = Literal["visible", "original"]
STATS: tuple[Stats, ...] = ("visible", "original")

# Visible patches are weighted by 1 / distance ** 3 (in tokens). The number of patches at a distance grows with its
# square, so a lower power would let the many far patches outweigh the few near ones.
_DISTANCE_POWER = 3
_SSIM_WINDOW = 11  # pixels; Gaussian with standard deviation 1.5, Wang et al. 2004, section III.C
_SSIM_DEVIATION = 1.5


@dataclass(frozen=True)
class Reconstruction:
    """One reconstructed clip: frames (T, C, H, W) float32 in [0, 1] on the CPU, and `hidden` (T, H, W), True if masked.

    original: the clip; predicted: the model's pixels where masked and the original elsewhere, or with `all_predicted`
    the model's everywhere; loss: the training loss over masked patches; psnr (dB), ssim: of `predicted` over masked
    pixels; stats: where mean and contrast came from, None for a model that predicts them itself.
    """

    original: Tensor
    predicted: Tensor
    hidden: Tensor
    loss: float
    psnr: float
    ssim: float
    stats: Stats | None


def make_mask(model: VideoMAEForPreTraining, kind: str, ratio: float, *, seed: int = 0) -> Tensor:
    """Make a mask (1, N), True where hidden. Raises OptionError for an unknown kind or a ratio that hides nothing."""
    check_choice("mask", kind, MASKS)
    mask = MASKS[kind](model.config.grid, ratio, seed=seed)
    if not mask.any():
        units = model.config.grid[0] if kind in ("frame", "causal") else model.config.num_patches
        reason = "a mask ratio of {ratio:g} hides nothing: a {kind} mask needs at least {least:.2g} with this model"
        raise OptionError.about("mask_ratio", reason, ratio=ratio, kind=kind, least=1 / units)
    return mask


@torch.inference_mode()
def reconstruct(
    model: VideoMAEForPreTraining,
    pixel_values: Tensor,
    mask: Tensor,
    *,
    stats: Stats = "visible",
    all_predicted: bool = False,
) -> Reconstruction:
    """Reconstruct a preprocessed clip (1, T, C, H, W) under a mask (1, N).

    Raises ModelInputError for a clip or a mask of a shape that the model can't take.
    """
    config = model.config
    pixel_values = pixel_values.to(model.device, model.dtype)
    mask = mask.to(model.device)
    output = model(pixel_values, bool_masked_pos=mask, return_dict=True)
    patches = patchify(to_unit_range(pixel_values).float(), config)  # (1, N, P, C)
    predicted = model.predict_all(pixel_values, mask).float().view(patches.shape) if all_predicted else None
    filled = patches.clone()
    pixels = output.logits.float().view(1, -1, *patches.shape[2:])  # (1, masked, P, C)
    if predicted is not None:
        filled = predicted.clone()
    filled[mask] = pixels[0]
    if config.norm_pix_loss:
        mean, deviation = statistics(patches, mask, config.grid, stats)
        shown = torch.ones_like(mask) if all_predicted else mask
        filled = torch.where(shown[..., None, None], filled * deviation + mean, filled)
    original = unpatchify(patches, config)[0].cpu().clamp(0, 1)
    drawn = unpatchify(filled, config)[0].cpu().clamp(0, 1)
    hidden = pixel_mask(mask.cpu(), model)
    return Reconstruction(
        original=original,
        predicted=drawn,
        hidden=hidden,
        loss=float(output.loss),
        psnr=psnr(original, drawn, hidden),
        ssim=ssim(original, drawn, hidden),
        stats=stats if config.norm_pix_loss else None,
    )


def pixel_mask(mask: Tensor, model: VideoMAEForPreTraining) -> Tensor:
    """Expand a mask over tokens (1, N) to one over pixels (T, H, W)."""
    config = model.config
    per_patch = config.patch_dim // config.num_channels
    # (1, N) -> (1, N, P, C) -> (1, T, C, H, W) -> (T, H, W)
    spread = mask[..., None, None].expand(-1, -1, per_patch, config.num_channels)
    return unpatchify(spread, config)[0, :, 0]


def statistics(patches: Tensor, mask: Tensor, grid: tuple[int, int, int], stats: Stats) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation (1, N, 1, C) with which to undo the normalisation of patches (1, N, P, C).

    "original": each patch's own. "visible": a visible patch keeps its own; a masked one gets the average over all
    visible patches weighted by 1 / distance ** 3, the Euclidean distance in tokens over time, rows and columns.
    """
    mean, deviation = patch_statistics(patches)
    if stats == "original":
        return mean, deviation
    weights = _closeness(mask[0], grid).to(mean)  # (masked, visible)
    estimates = []
    for values in (mean, deviation):
        known = select(values.flatten(2), ~mask)[0]  # (visible, C)
        values = values.clone()
        values[mask] = (weights @ known).unsqueeze(1)
        estimates.append(values)
    return estimates[0], estimates[1]


def _closeness(mask: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Return weights (masked, visible) of the visible tokens for each masked token; each row sums to 1."""
    axes = [torch.arange(size, device=mask.device, dtype=torch.float32) for size in grid]
    places = torch.cartesian_prod(*axes)  # (N, 3): time, row, column
    distance = torch.cdist(places[mask], places[~mask])
    weights = distance**-_DISTANCE_POWER
    return weights / weights.sum(dim=1, keepdim=True)


def psnr(original: Tensor, predicted: Tensor, hidden: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over masked pixels of frames (T, C, H, W) in [0, 1]; infinite if they are equal."""
    squared = (original - predicted).square().mean(dim=1)  # (T, H, W)
    error = float(squared[hidden].double().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(original: Tensor, predicted: Tensor, hidden: Tensor) -> float:
    """Structural similarity (Wang et al. 2004) over masked pixels of frames (T, C, H, W) in [0, 1].

    The SSIM map is computed over whole frames, with windows truncated at the border, then averaged over channels and
    masked pixels.
    """
    x, y = original.double(), predicted.double()
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    map_ = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(map_.mean(dim=1)[hidden].mean())


def _blurred(frames: Tensor) -> Tensor:
    """Smooth frames (T, C, H, W) with the Gaussian window, truncated and renormalised at the borders."""
    at = torch.arange(_SSIM_WINDOW, dtype=frames.dtype) - _SSIM_WINDOW // 2
    line = torch.exp(-(at**2) / (2 * _SSIM_DEVIATION**2))
    half = _SSIM_WINDOW // 2
    frames_, channels, height, width = frames.shape
    planes = frames.reshape(frames_ * channels, 1, height, width)
    ones = torch.ones(1, 1, height, width, dtype=frames.dtype)

    def smooth(x: Tensor) -> Tensor:
        x = functional.conv2d(x, line.view(1, 1, -1, 1), padding=(half, 0))
        return functional.conv2d(x, line.view(1, 1, 1, -1), padding=(0, half))

    return (smooth(planes) / smooth(ones)).view(frames.shape)

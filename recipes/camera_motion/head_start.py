"""Where masked pre-training starts: not from noise, but from interpolation.

From random weights the model spends its first thousands of steps finding out that tokens have places and that near ones
look alike. Here it starts knowing: patches enter as their principal components, in channels that the position table leaves
nearly constant; the encoder and all but the first block of the decoder begin close to the identity; six heads of that block
give every hidden token means of the visible ones around it, weighted by distance; and the pixels' linear map is the
least-squares one for what comes out. Everything stays trainable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_cli.model.layers import Block
from videomae_cli.model.masking import patchify, select

# Slower waves than half of one over the whole clip hardly change from token to token: their channels are free.
_FREE_BELOW = math.pi / 512
COMPONENTS = 60


@dataclass(frozen=True)
class Head:
    """One head of the decoder's first block: a mean of visible content around a place, weighted by distance.

    offset: from the token itself to that place, in columns, rows and time slots; sharpness: how fast the weight falls along
    each, as the factor of a cosine in its logarithm; components: how many of the content's, from the first."""

    offset: tuple[float, float, float]
    sharpness: tuple[float, float, float]
    components: int


# Around the token itself, to its four sides (whose edges continue into it), and at its own place in other time slots.
HEADS = (
    Head((0, 0, 0), (3, 3, 6), 19),
    Head((-1, 0, 0), (6, 5, 8), 8),
    Head((1, 0, 0), (6, 5, 8), 8),
    Head((0, -1, 0), (5, 6, 8), 8),
    Head((0, 1, 0), (5, 6, 8), 8),
    Head((0, 0, 0), (12, 12, 3), 14),
)
_VISIBLE_BONUS = 20.0  # log-weight of visible over hidden tokens
_MARK = 4.0
_QUIET = 0.03  # by which the outputs of all other blocks start reduced


def frequencies(width: int) -> Tensor:
    """Radians a token of the position table's channel pairs, fastest first: (width / 2,)."""
    return 10000.0 ** (-2 * torch.arange(width // 2) / width)


def free_channels(width: int) -> Tensor:
    """Channels of nearly constant position, the most constant first."""
    pairs = (frequencies(width) < _FREE_BELOW).nonzero().flatten().flip(0)
    return torch.stack([2 * pairs, 2 * pairs + 1], dim=1).flatten()


@torch.no_grad()
def head_start(model: VideoMAEForPreTraining, pixel_values: Tensor, masks: list[Tensor]) -> None:
    """Set a fresh model's weights as described above, from clips (B, T, C, H, W) and one mask (B, N) or more of them."""
    config = model.config
    components, mean, scale = principal(pixel_values, config)
    _embed(model, components, mean, scale)
    for block in [*model.videomae.encoder.layer, *model.decoder.decoder_layers]:
        block.attention.output.dense.weight.mul_(_QUIET)
        block.output.dense.weight.mul_(_QUIET)
    _carry_over(model, pixel_values, (components, mean, scale))
    _average_around(model)
    _fit_pixels(model, pixel_values, masks)


def principal(pixel_values: Tensor, config: VideoMAEConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Of patches (tubelet * p * p * C): components (COMPONENTS, patch_dim), their mean, and the components' deviations."""
    patches = patchify(pixel_values, config).flatten(2).flatten(0, 1).double()
    mean = patches.mean(dim=0)
    centred = patches - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    order = values.argsort(descending=True)[:COMPONENTS]
    return vectors[:, order].T.float(), mean.float(), values[order].sqrt().float()


def content(pixel_values: Tensor, config: VideoMAEConfig, basis: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(B, N, COMPONENTS), each of deviation 1/2."""
    components, mean, scale = basis
    return (patchify(pixel_values, config).flatten(2) - mean) @ components.T / (2 * scale)


def _embed(model: VideoMAEForPreTraining, components: Tensor, mean: Tensor, scale: Tensor) -> None:
    projection = model.videomae.embeddings.patch_embeddings.projection
    config = model.config
    tubelet, (height, width) = config.tubelet_size, config.patch_hw
    # The convolution's order is (C, t, h, w), patchify's (t, h, w, C).
    kernels = (components / (2 * scale[:, None])).view(COMPONENTS, tubelet, height, width, config.num_channels)
    channels = free_channels(config.hidden_size)[:COMPONENTS]
    assert len(channels) == COMPONENTS
    assert projection.bias is not None
    torch.nn.init.trunc_normal_(projection.weight, std=0.01)
    projection.bias.zero_()
    projection.weight[channels] = kernels.permute(0, 4, 1, 2, 3)
    projection.bias[channels] = -(components @ mean) / (2 * scale)


def _carry_over(model: VideoMAEForPreTraining, pixel_values: Tensor, basis: tuple[Tensor, Tensor, Tensor]) -> None:
    """The map to the decoder's width: content to the free channels there, nothing to the others."""
    tokens = model.videomae(pixel_values).last_hidden_state
    weight = least_squares(tokens.flatten(0, 1), content(pixel_values, model.config, basis).flatten(0, 1))
    channels = free_channels(model.config.decoder_hidden_size)
    assert len(channels) >= COMPONENTS
    model.encoder_to_decoder.weight.mul_(0.05)
    model.encoder_to_decoder.weight[channels[:COMPONENTS]] = weight.T


def _average_around(model: VideoMAEForPreTraining) -> None:
    """`HEADS`, each writing into channels of its own; the first into those where a visible token's content is."""
    config = model.config
    width = config.decoder_hidden_size
    size = width // config.decoder_num_attention_heads
    block = model.decoder.decoder_layers[0]
    assert isinstance(block, Block)
    attention, out = block.attention.attention, block.attention.output.dense
    assert attention.q_bias is not None
    deviation = float(model.decoder_positions.table.std(dim=-1).mean())  # what the LayerNorm divides by, about
    channels = free_channels(width)
    mark = int(channels[-1])  # the mask token's, by which keys are told from what is hidden
    model.mask_token.zero_()
    model.mask_token[..., mark] = _MARK
    written = 0
    for number, head in enumerate(HEADS):
        span = slice(number * size, (number + 1) * size)
        query, key = _by_distance(head, config, deviation)
        key[-1, mark] = -_VISIBLE_BONUS / _MARK * deviation * math.sqrt(size)
        attention.query.weight[span], attention.key.weight[span] = query, key
        attention.q_bias[span] = 0.0
        attention.q_bias[(number + 1) * size - 1] = 1.0
        places = torch.arange(head.components)
        value = torch.zeros(size, width)
        value[places, channels[: head.components]] = deviation
        attention.value.weight[span] = value
        out.weight[:, span] = 0.0
        out.weight[channels[written : written + head.components], number * size + places] = 1.0
        written += head.components
    assert written < len(channels)


def _by_distance(head: Head, config: VideoMAEConfig, deviation: float) -> tuple[Tensor, Tensor]:
    """Weights (head size, width) of queries and keys whose product falls with the distance from the head's place.

    The cosine and sine of a wave at two tokens multiply to the cosine of their distance; turned by the offset, of the
    distance to the place there. A wave turns once over a row, once over a frame, half over the clip."""
    width = config.decoder_hidden_size
    size = width // config.decoder_num_attention_heads
    _, rows, columns = config.grid
    waves = (2 * math.pi / columns, 2 * math.pi / (rows * columns), math.pi / config.num_patches)
    steps = (1, columns, rows * columns)
    query, key = torch.zeros(size, width), torch.zeros(size, width)
    for number, (wave, step, offset, sharpness) in enumerate(
        zip(waves, steps, head.offset, head.sharpness, strict=True)
    ):
        pair = int((frequencies(width) - wave).abs().argmin())
        angle = float(frequencies(width)[pair]) * step * offset
        gain = deviation * math.sqrt(sharpness * math.sqrt(size))
        # sin(a + b) = sin a cos b + cos a sin b, and cos(a + b) = cos a cos b - sin a sin b; even channels hold the sines.
        turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        box = slice(2 * number, 2 * number + 2), slice(2 * pair, 2 * pair + 2)
        query[box], key[box] = gain * turn, gain * torch.eye(2)
    return query, key


def _fit_pixels(model: VideoMAEForPreTraining, pixel_values: Tensor, masks: list[Tensor]) -> None:
    """The last linear map, by least squares over the hidden tokens."""
    seen, wanted = [], []
    keep = model.decoder.head.weight, model.decoder.head.bias
    target = model.target(pixel_values)
    captured: list[Tensor] = []
    hook = model.decoder.norm.register_forward_hook(lambda module, inputs, output: captured.append(output))
    for mask in masks:
        model(pixel_values, mask)
        seen.append(captured.pop().flatten(0, 1))
        wanted.append(select(target, mask).flatten(0, 1))
    hook.remove()
    tokens = torch.cat(seen)
    weight = least_squares(torch.cat([tokens, torch.ones(len(tokens), 1)], dim=1), torch.cat(wanted))
    keep[0].copy_(weight[:-1].T)
    keep[1].copy_(weight[-1])


def least_squares(inputs: Tensor, outputs: Tensor, ridge: float = 1e-3) -> Tensor:
    """Weights (in, out), with a small penalty on their size."""
    x, y = inputs.double(), outputs.double()
    square = x.T @ x / len(x)
    return torch.linalg.solve(square + ridge * torch.eye(len(square)), x.T @ y / len(x)).float()

"""The layers of a VideoMAE: patch embedding, fixed positions, attention, Transformer blocks.

Layers take sizes, not whole configurations: encoder and decoder use the same block with different sizes. Module names
follow the Hugging Face layout, so a state dict has the same names as a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from videomae_cli.errors import ConfigError
from videomae_cli.model.activations import Activation, activation

# How attention is computed: PyTorch's fused kernel, or step by step.
Implementation = Literal["sdpa", "eager"]

_QUERIES = 256


@dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """Sizes and rates of one Transformer block."""

    width: int
    heads: int
    mlp_width: int
    act: str | Activation
    eps: float
    qkv_bias: bool
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError.about(
                "hidden_size",
                "a width of {width} is no multiple of {heads} attention heads",
                width=self.width,
                heads=self.heads,
            )

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


def sincos_table(length: int, width: int) -> Tensor:
    """Make fixed position embeddings (1, length, width): sines in even channels, cosines in odd ones.

    "Attention is all you need", section 3.5. Computed in float64, therefore on the CPU: not every device supports it.
    """
    position = torch.arange(length, dtype=torch.float64, device="cpu").unsqueeze(1)
    channel = torch.arange(width, dtype=torch.float64, device="cpu")
    angle = position / torch.pow(torch.tensor(10000.0, dtype=torch.float64, device="cpu"), 2 * (channel // 2) / width)
    table = torch.where(channel % 2 == 0, angle.sin(), angle.cos())
    return table.to(torch.float32).unsqueeze(0)


class PositionTable(nn.Module):
    """The sin-cos position table in float32 on the model's device; not stored in checkpoints."""

    table: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        # On the meta device, which is used to check a checkpoint's shapes, don't compute a real table.
        on_meta = torch.empty(0).is_meta
        table = torch.empty(1, length, width) if on_meta else sincos_table(length, width)
        self.register_buffer("table", table, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PositionTable:
        # Follow changes of the device but not of the dtype, so that half precision never rounds the table for good.
        probe = torch.empty(0, device="cpu" if self.table.is_meta else self.table.device)
        device = fn(probe).device
        if device != self.table.device:
            self.table = sincos_table(self.table.shape[1], self.table.shape[2]).to(device)
        return self

    def forward(self, like: Tensor) -> Tensor:
        """Return the table (1, length, width) in the dtype of `like`."""
        return self.table.to(like.dtype)


class PatchEmbeddings(nn.Module):
    """Embeds tubelets of pixels as tokens, with a strided 3-D convolution."""

    def __init__(self, channels: int, width: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        self.projection = nn.Conv3d(channels, width, kernel_size=kernel, stride=kernel)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Embed clips (B, T, C, H, W) as tokens (B, N, D), in the order time, height, width."""
        weight = self.projection.weight
        tubelet, height, width = weight.shape[2:]
        batch, frames, channels, rows, columns = pixel_values.shape
        # The kernel covers each pixel once, so the convolution is one matrix product; much faster than conv3d on CPU.
        # (B, T, C, H, W) -> (B, t, dt, C, h, dh, w, dw) -> (B, t, h, w, C, dt, dh, dw) -> (B, N, C * dt * dh * dw)
        x = pixel_values.reshape(
            batch, frames // tubelet, tubelet, channels, rows // height, height, columns // width, width
        )
        # The number of tokens is explicit, because -1 is ambiguous for an empty batch.
        tokens = frames // tubelet * (rows // height) * (columns // width)
        x = x.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(batch, tokens, weight[0].numel())
        return functional.linear(x, weight.flatten(1), self.projection.bias)


class SelfAttention(nn.Module):
    """Multi-head self-attention with biases for queries and values only.

    A bias of the keys would add the same number to all scores of a query, which softmax cancels (BEiT, section 2).
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.head_dim = spec.head_dim
        self.dropout = spec.attention_dropout
        self.implementation: Implementation = "sdpa"
        self.query = nn.Linear(spec.width, spec.width, bias=False)
        self.key = nn.Linear(spec.width, spec.width, bias=False)
        self.value = nn.Linear(spec.width, spec.width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(spec.width)) if spec.qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(spec.width)) if spec.qkv_bias else None

    @property
    def num_heads(self) -> int:
        return self.query.weight.shape[0] // self.head_dim

    def forward(
        self, x: Tensor, head_mask: Tensor | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map tokens (B, N, D) to context (B, N, heads * head_dim), and on request the probabilities (B, heads, N, N).

        head_mask: (1 or B, 1 or heads, 1 or N, 1 or N), multiplied with the probabilities.
        """
        batch, length, _ = x.shape
        # (B, N, D) -> (B, N, heads, head_dim) -> (B, heads, N, head_dim)
        split = (batch, length, self.num_heads, self.head_dim)
        query = _linear(self.query, x, self.q_bias).view(split).transpose(1, 2)
        key = _linear(self.key, x, None).view(split).transpose(1, 2)
        value = _linear(self.value, x, self.v_bias).view(split).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        weights: Tensor | None = None
        # A mask that varies over keys needs the probabilities; any other just scales the context.
        keywise = head_mask is not None and head_mask.shape[-1] > 1
        if need_weights or keywise or self.implementation == "eager":
            weights = (query @ key.transpose(2, 3) * self.head_dim**-0.5).softmax(dim=-1)
            weights = functional.dropout(weights, p=dropout, training=self.training)
            if head_mask is not None:
                weights = weights * head_mask
            context = weights @ value
        else:
            context = _context(query, key, value, dropout)
            if head_mask is not None:
                # Scaling a head's probabilities is the same as scaling its context, which keeps the fused kernel
                # usable.
                context = context * head_mask
        # (B, heads, N, head_dim) -> (B, N, heads * head_dim)
        merged = context.transpose(1, 2).reshape(batch, length, self.num_heads * self.head_dim)
        return merged, weights if need_weights else None

    def keep_rows(self, rows: Tensor) -> None:
        """Keep only these output channels of queries, keys and values."""
        for linear in (self.query, self.key, self.value):
            linear.weight = nn.Parameter(linear.weight.detach()[rows].clone())
            linear.out_features = len(rows)
        if self.q_bias is not None and self.v_bias is not None:
            self.q_bias = nn.Parameter(self.q_bias.detach()[rows].clone())
            self.v_bias = nn.Parameter(self.v_bias.detach()[rows].clone())


def _linear(layer: nn.Module, x: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a linear layer with a separate bias; the layer may have been replaced, for example by an adapter."""
    if type(layer) is nn.Linear:
        return functional.linear(x, layer.weight, bias)
    out: Tensor = layer(x)  # a low-rank adapter around it (`videomae_cli.training.lora`)
    return out if bias is None else out + bias


def _context(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    """Scaled dot-product attention, (B, heads, N, head_dim) each."""
    plain = dropout == 0.0 and not torch.is_grad_enabled()
    if plain and query.device.type == "cpu" and query.dtype == torch.bfloat16:
        # PyTorch's kernel does not use a CPU's bfloat16 units, but matrix products do (benchmarks/attempts.py). Queries
        # are processed in chunks, so that their scores stay in the cache.
        scaled = (query * query.shape[-1] ** -0.5).contiguous()
        turned, value = key.contiguous().transpose(2, 3), value.contiguous()
        parts = [(part @ turned).softmax(dim=-1) @ value for part in scaled.split(_QUERIES, dim=2)]
        return torch.cat(parts, dim=2)
    return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)


class Projection(nn.Module):
    """A linear layer with dropout, at the end of the attention and of the MLP."""

    def __init__(self, fan_in: int, fan_out: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(fan_in, fan_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.dense(x))
        return out


class Attention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.attention = SelfAttention(spec)
        self.output = Projection(spec.width, spec.width, spec.dropout)

    def forward(
        self, x: Tensor, head_mask: Tensor | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        context, weights = self.attention(x, head_mask, need_weights)
        return self.output(context), weights

    def keep_heads(self, positions: Iterable[int]) -> None:
        """Keep only the heads at these positions among the remaining ones."""
        size = self.attention.head_dim
        rows = torch.cat([torch.arange(p * size, (p + 1) * size, device="cpu") for p in positions])
        self.attention.keep_rows(rows.to(self.attention.query.weight.device))
        dense = self.output.dense
        dense.weight = nn.Parameter(dense.weight.detach()[:, rows.to(dense.weight.device)].clone())
        dense.in_features = len(rows)


class Intermediate(nn.Module):
    """The first half of the MLP: linear layer and activation."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.dense = nn.Linear(spec.width, spec.mlp_width)
        # This name is used in checkpoints whose activation has parameters.
        self.intermediate_act_fn = activation(spec.act)

    def forward(self, x: Tensor) -> Tensor:
        return self.intermediate_act_fn(self.dense(x))


class Block(nn.Module):
    """A pre-norm Transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.attention = Attention(spec)
        self.intermediate = Intermediate(spec)
        self.output = Projection(spec.mlp_width, spec.width, spec.dropout)
        self.layernorm_before = nn.LayerNorm(spec.width, eps=spec.eps)
        self.layernorm_after = nn.LayerNorm(spec.width, eps=spec.eps)
        self.drop_path = spec.drop_path

    def forward(
        self, x: Tensor, head_mask: Tensor | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        attended, weights = self.attention(self.layernorm_before(x), head_mask, need_weights)
        x = x + self._drop(attended)
        x = x + self._drop(self.output(self.intermediate(self.layernorm_after(x))))
        return x, weights

    def _drop(self, branch: Tensor) -> Tensor:
        """Apply stochastic depth: zero the branch for random clips of the batch, and scale it up for the others."""
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) < keep
        return branch * kept.to(branch.dtype) / keep


def run_blocks(
    blocks: Iterable[nn.Module],
    x: Tensor,
    *,
    head_masks: tuple[Tensor | None, ...] | None = None,
    collect_hidden: bool = False,
    collect_weights: bool = False,
    checkpointing: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
    """Run tokens (B, N, D) through all blocks; also return, if requested, the hidden states around each block and the
    attentions."""
    hidden: list[Tensor] = [x]
    attentions: list[Tensor] = []
    for index, block in enumerate(blocks):
        mask = head_masks[index] if head_masks is not None else None
        if checkpointing and torch.is_grad_enabled():
            x, weights = checkpoint(block, x, mask, collect_weights, use_reentrant=False)
        else:
            x, weights = block(x, mask, collect_weights)
        if collect_hidden:
            hidden.append(x)
        if weights is not None:
            attentions.append(weights)
    return x, tuple(hidden) if collect_hidden else None, tuple(attentions) if collect_weights else None


def drop_path_rates(last: float, count: int) -> list[float]:
    """Return each block's stochastic depth rate, growing linearly from 0 at the first block to `last`."""
    return [last * index / max(count - 1, 1) for index in range(count)]

"""The VideoMAE encoder and the classifier on top of it (Tong et al. 2022, sections 3.2 and 4.1).

Tensors in, tensors out: clips are (B, T, C, H, W) normalised floats, tokens (B, N, D). Knows no videos, no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from videomae_cli.errors import ConfigError, ModelInputError
from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.layers import Block, BlockSpec, PatchEmbeddings, PositionTable, drop_path_rates, run_blocks
from videomae_cli.model.masking import check_mask, layer_head_masks, select
from videomae_cli.model.outputs import ClassifierOutput, EncoderOutput
from videomae_cli.model.pretrained import PretrainedModel, Returned, returned

# A clip with this class number doesn't count in the loss (PyTorch's default).
IGNORED_LABEL = -100


class Embeddings(nn.Module):
    """Tubelets to tokens with their positions; with a mask, the visible tokens only."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        kernel = (config.tubelet_size, *config.patch_hw)
        self.patch_embeddings: nn.Module = PatchEmbeddings(config.num_channels, config.hidden_size, kernel)
        self.positions = PositionTable(config.num_patches, config.hidden_size)

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None = None) -> Tensor:
        """(B, T, C, H, W) to (B, visible tokens, D)."""
        tokens: Tensor = self.patch_embeddings(pixel_values)
        tokens = tokens + self.positions(tokens)
        return tokens if bool_masked_pos is None else select(tokens, ~bool_masked_pos)


class Encoder(nn.Module):
    """The stack of Transformer blocks."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        rates = drop_path_rates(config.drop_path_rate, config.num_hidden_layers)
        self.layer = nn.ModuleList(
            Block(
                BlockSpec(
                    width=config.hidden_size,
                    heads=config.num_attention_heads,
                    mlp_width=config.intermediate_size,
                    act=config.hidden_act,
                    eps=config.layer_norm_eps,
                    qkv_bias=config.qkv_bias,
                    dropout=config.hidden_dropout_prob,
                    attention_dropout=config.attention_probs_dropout_prob,
                    drop_path=rate,
                )
            )
            for rate in rates
        )


class VideoMAEModel(PretrainedModel):
    """The encoder alone. A configuration without mean pooling gets a LayerNorm after the last block."""

    # The heads of a classifier or an autoencoder, which may sit on the same encoder in a checkpoint.
    foreign = ("fc_norm.", "classifier.", "decoder.", "encoder_to_decoder.", "mask_token")

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.layernorm = (
            None if config.use_mean_pooling else nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        )
        self._prune_modules(config.pruned_heads)
        self._official_weights()

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        *,
        head_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> Returned[EncoderOutput]:
        """Clips (B, T, C, H, W) to tokens (B, N, D), N without the masked tokens.

        `bool_masked_pos` (B, all tokens), True where masked, as many in every row. `head_mask` scales attention:
        (heads,), (layers, heads), or five dimensions that broadcast to (layers, B, heads, N, N). Attentions cost the
        fast attention kernel: ask only if needed. What isn't given is as the configuration says; `return_dict` False
        gives a tuple. Raises ModelInputError for a tensor of the wrong shape or type.
        """
        ask = self._asked(output_hidden_states, output_attentions, return_dict)
        self._check_clips(pixel_values)
        if bool_masked_pos is not None:
            check_mask(bool_masked_pos, batch=pixel_values.shape[0], tokens=self.config.num_patches)
        embedded = self.embeddings(pixel_values, bool_masked_pos)
        tokens, hidden_states, attentions = run_blocks(
            self.encoder.layer,
            embedded,
            head_masks=self._layer_head_masks(head_mask, embedded),
            collect_hidden=ask.hidden_states,
            collect_weights=ask.attentions,
            checkpointing=self.gradient_checkpointing and self.training,
        )
        if self.layernorm is not None:
            tokens = self.layernorm(tokens)
        return returned(EncoderOutput(tokens, hidden_states, attentions), ask)

    def get_input_embeddings(self) -> nn.Module:
        """The layer that makes tokens of pixels."""
        return self.embeddings.patch_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put another layer in its place: clips (B, T, C, H, W) to tokens (B, N, D)."""
        self.embeddings.patch_embeddings = value

    def _check_clips(self, pixel_values: Tensor) -> None:
        config = self.config
        if not isinstance(pixel_values, Tensor):
            raise ModelInputError(f"pixel_values is a {type(pixel_values).__name__}; it must be a tensor")
        if pixel_values.ndim != 5:
            raise ModelInputError(
                f"pixel_values has shape {tuple(pixel_values.shape)}; "
                "it must be (clips, frames, channels, height, width)"
            )
        if not pixel_values.is_floating_point():
            raise ModelInputError(f"pixel_values is {pixel_values.dtype}; it must be normalised floats, not raw pixels")
        # Mixed precision (autocast) brings the types together by itself, other than float64.
        mixed = torch.is_autocast_enabled(pixel_values.device.type) and pixel_values.dtype != torch.float64
        if pixel_values.dtype != self.dtype and not mixed:
            raise ModelInputError(
                f"pixel_values is {pixel_values.dtype} and the model {self.dtype}: use pixel_values.to(model.dtype)"
            )
        _, frames, channels, height, width = pixel_values.shape
        if channels != config.num_channels:
            raise ModelInputError(
                f"pixel_values has {channels} channels in dimension 2; the model takes {config.num_channels}"
            )
        if (height, width) != config.image_hw:
            rows, columns = config.image_hw
            raise ModelInputError(
                f"frames are {height}x{width} pixels (height x width); the model takes {rows}x{columns}"
            )
        if frames != config.num_frames:
            raise ModelInputError(f"clips have {frames} frames; the model takes {config.num_frames}")

    def _layer_head_masks(self, head_mask: Tensor | None, embedded: Tensor) -> tuple[Tensor | None, ...] | None:
        """One mask a layer, its pruned heads left out. A mask counts the heads of the configuration."""
        if head_mask is None:
            return None
        batch, tokens, _ = embedded.shape
        layers, heads = self.config.num_hidden_layers, self.config.num_attention_heads
        rows = layer_head_masks(head_mask, layers=layers, heads=heads, batch=batch, tokens=tokens)
        rows = rows.to(device=embedded.device, dtype=embedded.dtype)
        return tuple(rows[layer][:, self._heads_left(layer)] for layer in range(layers))

    def _heads_left(self, layer: int) -> list[int]:
        gone = self.config.pruned_heads.get(layer, ())
        return [head for head in range(self.config.num_attention_heads) if head not in gone]

    def prune_heads(self, heads: Mapping[int, Iterable[int]]) -> None:
        """Take heads out of layers for good, by their number in the unpruned model; the configuration notes them.

        The result equals a head mask of zero for them. Raises ConfigError for a layer or head that isn't there or
        when a layer would keep none.
        """
        merged = {layer: set(gone) for layer, gone in self.config.pruned_heads.items()}
        for layer, gone in heads.items():
            merged.setdefault(layer, set()).update(gone)
        config = self.config.replace(pruned_heads={layer: tuple(gone) for layer, gone in merged.items()})
        self._prune_modules(config.pruned_heads)
        self.config = config

    def _prune_modules(self, pruned: Mapping[int, tuple[int, ...]]) -> None:
        for layer, gone in pruned.items():
            block = self.encoder.layer[layer]
            assert isinstance(block, Block)
            # While the model is being built every head is there; later those the configuration leaves.
            whole = block.attention.attention.num_heads == self.config.num_attention_heads
            present = range(self.config.num_attention_heads) if whole else self._heads_left(layer)
            block.attention.keep_heads([position for position, head in enumerate(present) if head not in gone])


class VideoMAEForVideoClassification(PretrainedModel):
    """The encoder, mean pooling and `fc_norm` (or the first token, without), and a linear classifier."""

    base_prefix = "videomae."

    def __init__(self, config: VideoMAEConfig, *, keep_problem_type: bool = False) -> None:
        """`keep_problem_type`: the first batch with labels decides what the labels are, for good, and the configuration
        notes it; otherwise every batch decides for itself."""
        super().__init__(config)
        self.keep_problem_type = keep_problem_type
        self.videomae = VideoMAEModel(config)
        # 1e-5, whatever the blocks use: that is what the converted checkpoints are run with everywhere.
        self.fc_norm = nn.LayerNorm(config.hidden_size, eps=1e-5) if config.use_mean_pooling else None
        self.classifier: nn.Module = (
            nn.Linear(config.hidden_size, config.num_labels) if config.num_labels else nn.Identity()
        )
        self._official_weights()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        *,
        head_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> Returned[ClassifierOutput]:
        """Clips (B, T, C, H, W) to logits (B, labels), and with labels a loss (see `classification_loss`). Without
        labels in the configuration the logits are what a classifier would read, (B, D). Other arguments as
        `VideoMAEModel` has them."""
        ask = self._asked(output_hidden_states, output_attentions, return_dict)
        encoded = self.videomae(
            pixel_values,
            head_mask=head_mask,
            output_hidden_states=ask.hidden_states,
            output_attentions=ask.attentions,
            return_dict=True,
        )
        tokens = encoded.last_hidden_state
        # Without mean pooling the class is read from token 0, the top left patch of the first tubelet.
        pooled = self.fc_norm(tokens.mean(dim=1)) if self.fc_norm is not None else tokens[:, 0]
        logits = self.classifier(pooled)
        output = ClassifierOutput(
            logits=logits,
            pooled=pooled,
            last_hidden_state=tokens,
            loss=None if labels is None else self._loss(logits, labels),
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return returned(output, ask)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if not isinstance(labels, Tensor):
            raise ModelInputError(f"labels is a {type(labels).__name__}; it must be a tensor")
        if self.config.num_labels == 0:
            raise ConfigError("the model has no labels, so there is no loss to compute")
        problem_type = self.problem_type(labels)
        if self.keep_problem_type and self.config.problem_type is None:
            self.config = self.config.replace(problem_type=problem_type)
            self.videomae.config = self.config
        return classification_loss(logits, labels, problem_type=problem_type)

    def problem_type(self, labels: Tensor | None = None) -> str:
        """The configuration's, else by the number of labels and the type of `labels`: one output is a regression,
        whole-number labels are classes, float labels are several at once."""
        if self.config.problem_type is not None:
            return self.config.problem_type
        if self.config.num_labels == 1:
            return "regression"
        if labels is None or labels.dtype in (torch.int64, torch.int32):
            return "single_label_classification"
        return "multi_label_classification"

    def prune_heads(self, heads: Mapping[int, Sequence[int]]) -> None:
        """Remove attention heads, as `VideoMAEModel.prune_heads` does."""
        self.videomae.prune_heads(heads)
        self.config = self.videomae.config


def classification_loss(logits: Tensor, labels: Tensor, *, problem_type: str) -> Tensor:
    """Mean squared error, cross entropy or binary cross entropy of logits (B, labels).

    Labels are class numbers (B,) for a single label, floats (B, labels) otherwise. Raises ModelInputError where the
    labels don't fit.
    """
    labels = labels.to(logits.device)
    if problem_type == "single_label_classification":
        if labels.numel() != logits.shape[0]:
            raise ModelInputError(f"labels has {labels.numel()} entries for {logits.shape[0]} clips")
        if labels.is_floating_point() or labels.is_complex():
            raise ModelInputError(f"labels is {labels.dtype}; class numbers must be a type of whole numbers")
        classes = labels.reshape(-1).long()
        strangers = classes[(classes >= logits.shape[1]) | ((classes < 0) & (classes != IGNORED_LABEL))]
        if len(strangers):
            raise ModelInputError(f"labels names class {int(strangers[0])}; the classes are 0 to {logits.shape[1] - 1}")
        return functional.cross_entropy(logits, classes, ignore_index=IGNORED_LABEL)
    if problem_type == "regression" and logits.shape[1] == 1:
        if labels.numel() != logits.shape[0]:
            raise ModelInputError(f"labels has {labels.numel()} entries for {logits.shape[0]} clips")
        return functional.mse_loss(logits.reshape(-1), labels.reshape(-1).to(logits.dtype))
    if labels.shape != logits.shape:
        raise ModelInputError(f"labels has shape {tuple(labels.shape)}; for this loss it must be {tuple(logits.shape)}")
    loss = functional.mse_loss if problem_type == "regression" else functional.binary_cross_entropy_with_logits
    return loss(logits, labels.to(logits.dtype))

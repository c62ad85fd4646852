"""The VideoMAE encoder and the classifier on top of it (Tong et al. 2022, sections 3.2 and 4.1).

Clips are normalised floats (B, T, C, H, W), tokens (B, N, D).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from videomae_cli.errors import ConfigError, ModelInputError
from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.layers import Block, BlockSpec, PatchEmbeddings, PositionTable, drop_path_rates, run_blocks
from videomae_cli.model.masking import check_mask, layer_head_masks, select
from videomae_cli.model.outputs import ClassifierOutput, EncoderOutput
from videomae_cli.model.pretrained import PretrainedModel, Returned, returned

# Clips with this class number are ignored in the loss (PyTorch's default).
IGNORED_LABEL = -100


class Embeddings(nn.Module):
    """Embeds tubelets as tokens and adds positions; with a mask, keeps only the visible tokens."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        kernel = (config.tubelet_size, *config.patch_hw)
        self.patch_embeddings: nn.Module = PatchEmbeddings(config.num_channels, config.hidden_size, kernel)
        self.positions = PositionTable(config.num_patches, config.hidden_size)

    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor | None = None) -> Tensor:
        """Embed clips (B, T, C, H, W) as tokens (B, visible tokens, D)."""
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

    # The heads of a classifier or an autoencoder, which a checkpoint of the same encoder may contain.
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
        """Encode clips (B, T, C, H, W) as tokens (B, N, D), where N counts only visible tokens.

        `bool_masked_pos` (B, all tokens) is True where masked, equally often in every row. `head_mask` scales
        attention: (heads,), (layers, heads), or five dimensions that broadcast to (layers, B, heads, N, N).
        `output_attentions` disables the fast attention kernel. Arguments that are None default to the configuration's;
        `return_dict` False returns a tuple. Raises ModelInputError for a tensor of the wrong shape or dtype.
        """
        ask = self._requested(output_hidden_states, output_attentions, return_dict)
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
        """Return the layer that embeds pixels as tokens."""
        return self.embeddings.patch_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the layer that embeds clips (B, T, C, H, W) as tokens (B, N, D)."""
        self.embeddings.patch_embeddings = value

    def _check_clips(self, pixel_values: Tensor) -> None:
        config = self.config
        wrong = partial(ModelInputError.about, "pixel_values")
        if not isinstance(pixel_values, Tensor):
            raise wrong("{subject} is a {type}; it must be a tensor", type=type(pixel_values).__name__)
        shape = tuple(pixel_values.shape)
        if pixel_values.ndim != 5:
            raise wrong("{subject} has shape {shape}; it must be (clips, frames, channels, height, width)", shape=shape)
        dtype = pixel_values.dtype
        if not pixel_values.is_floating_point():
            raise wrong("{subject} is {dtype}; it must be normalised floats, not raw pixels", dtype=dtype)
        # Under autocast dtypes may differ, except for float64.
        mixed = torch.is_autocast_enabled(pixel_values.device.type) and dtype != torch.float64
        if dtype != self.dtype and not mixed:
            reason = "{subject} is {dtype} and the model {own}: use pixel_values.to(model.dtype)"
            raise wrong(reason, dtype=dtype, own=self.dtype)
        _, frames, channels, *size = shape
        if channels != config.num_channels:
            reason = "{subject} has {channels} channels in dimension 2; the model takes {wanted}"
            raise wrong(reason, channels=channels, wanted=config.num_channels)
        if tuple(size) != config.image_hw:
            found, wanted = ("x".join(map(str, sides)) for sides in (size, config.image_hw))
            reason = "frames are {found} pixels (height x width); the model takes {wanted}"
            raise wrong(reason, found=found, wanted=wanted)
        if frames != config.num_frames:
            raise wrong("clips have {frames} frames; the model takes {wanted}", frames=frames, wanted=config.num_frames)

    def _layer_head_masks(self, head_mask: Tensor | None, embedded: Tensor) -> tuple[Tensor | None, ...] | None:
        """Return one mask per layer without the pruned heads; `head_mask` counts the heads of the unpruned model."""
        if head_mask is None:
            return None
        batch, tokens, _ = embedded.shape
        layers, heads = self.config.num_hidden_layers, self.config.num_attention_heads
        rows = layer_head_masks(head_mask, layers=layers, heads=heads, batch=batch, tokens=tokens)
        rows = rows.to(device=embedded.device, dtype=embedded.dtype)
        return tuple(rows[layer][:, self._remaining_heads(layer)] for layer in range(layers))

    def _remaining_heads(self, layer: int) -> list[int]:
        pruned = self.config.pruned_heads.get(layer, ())
        return [head for head in range(self.config.num_attention_heads) if head not in pruned]

    def prune_heads(self, heads: Mapping[int, Iterable[int]]) -> None:
        """Remove heads permanently, given by their number in the unpruned model, and record them in the configuration.

        Equivalent to a head mask of 0 for them. Raises ConfigError for a layer or head that doesn't exist, or if a
        layer would keep none.
        """
        merged = {layer: set(pruned) for layer, pruned in self.config.pruned_heads.items()}
        for layer, pruned in heads.items():
            merged.setdefault(layer, set()).update(pruned)
        config = self.config.replace(pruned_heads={layer: tuple(pruned) for layer, pruned in merged.items()})
        self._prune_modules(config.pruned_heads)
        self.config = config

    def _prune_modules(self, pruned_heads: Mapping[int, tuple[int, ...]]) -> None:
        for layer, pruned in pruned_heads.items():
            block = self.encoder.layer[layer]
            assert isinstance(block, Block)
            # During construction all heads are present, later only the configuration's remaining ones.
            whole = block.attention.attention.num_heads == self.config.num_attention_heads
            present = range(self.config.num_attention_heads) if whole else self._remaining_heads(layer)
            block.attention.keep_heads([position for position, head in enumerate(present) if head not in pruned])


class VideoMAEForVideoClassification(PretrainedModel):
    """The encoder with a linear classifier on the mean token after `fc_norm`, or, without mean pooling, on token 0."""

    base_prefix = "videomae."

    def __init__(self, config: VideoMAEConfig, *, keep_problem_type: bool = False) -> None:
        """Build the model. `keep_problem_type`: infer the problem type from the first batch with labels and store it in the
        configuration; otherwise it is inferred for every batch."""
        super().__init__(config)
        self.keep_problem_type = keep_problem_type
        self.videomae = VideoMAEModel(config)
        # 1e-5 regardless of the blocks' epsilon: other implementations run the converted checkpoints with it.
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
        """Classify clips (B, T, C, H, W): logits (B, labels), and with `labels` a loss (see `classification_loss`).

        If the configuration has no labels, the logits are the pooled vectors (B, D). Other arguments are those of
        `VideoMAEModel`.
        """
        ask = self._requested(output_hidden_states, output_attentions, return_dict)
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
            raise ModelInputError.about("labels", "labels is a {type}; it must be a tensor", type=type(labels).__name__)
        if self.config.num_labels == 0:
            raise ConfigError.about("labels", "the model has no labels, so there is no loss to compute")
        problem_type = self.problem_type(labels)
        if self.keep_problem_type and self.config.problem_type is None:
            self.config = self.config.replace(problem_type=problem_type)
            self.videomae.config = self.config
        return classification_loss(logits, labels, problem_type=problem_type)

    def problem_type(self, labels: Tensor | None = None) -> str:
        """Return the configuration's problem type, or infer it: one output means regression, integer labels mean a single
        label per clip, float labels several."""
        stored = self.config.problem_type is not None or self.config.num_labels == 1
        if stored or labels is None or labels.dtype in (torch.int64, torch.int32):
            return self.config.resolved_problem_type
        return "multi_label_classification"

    def prune_heads(self, heads: Mapping[int, Sequence[int]]) -> None:
        """Remove attention heads, as `VideoMAEModel.prune_heads` does."""
        self.videomae.prune_heads(heads)
        self.config = self.videomae.config


def classification_loss(logits: Tensor, labels: Tensor, *, problem_type: str) -> Tensor:
    """Compute the mean squared error, cross entropy or binary cross entropy of logits (B, labels).

    Labels are class numbers (B,) for a single label, floats (B, labels) otherwise. Raises ModelInputError if the labels
    don't match.
    """
    labels = labels.to(logits.device)
    wrong = partial(ModelInputError.about, "labels")
    single = problem_type == "single_label_classification"
    if (single or (problem_type == "regression" and logits.shape[1] == 1)) and labels.numel() != logits.shape[0]:
        raise wrong("{subject} has {entries} entries for {clips} clips", entries=labels.numel(), clips=logits.shape[0])
    if single:
        if labels.is_floating_point() or labels.is_complex():
            raise wrong("{subject} is {dtype}; class numbers must be a type of whole numbers", dtype=labels.dtype)
        classes = labels.reshape(-1).long()
        strangers = classes[(classes >= logits.shape[1]) | ((classes < 0) & (classes != IGNORED_LABEL))]
        if len(strangers):
            last = logits.shape[1] - 1
            raise wrong(
                "{subject} names class {number}; the classes are 0 to {last}", number=int(strangers[0]), last=last
            )
        return functional.cross_entropy(logits, classes, ignore_index=IGNORED_LABEL)
    if problem_type == "regression" and logits.shape[1] == 1:
        return functional.mse_loss(logits.reshape(-1), labels.reshape(-1).to(logits.dtype))
    if labels.shape != logits.shape:
        found, expected = tuple(labels.shape), tuple(logits.shape)
        raise wrong("{subject} has shape {found}; for this loss it must be {expected}", found=found, expected=expected)
    loss = functional.mse_loss if problem_type == "regression" else functional.binary_cross_entropy_with_logits
    return loss(logits, labels.to(logits.dtype))

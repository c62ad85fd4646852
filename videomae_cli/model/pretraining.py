"""Masked pre-training: a narrow decoder predicts the pixels of the tokens the encoder didn't see.

Tong et al. 2022, section 3.3; the target is that of He et al. 2022 (MAE), per patch and channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from videomae_cli.errors import ModelInputError
from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.layers import Block, BlockSpec, PositionTable, run_blocks
from videomae_cli.model.masking import patchify, select
from videomae_cli.model.outputs import DecoderOutput, PreTrainingOutput
from videomae_cli.model.pretrained import PretrainedModel, Returned, returned
from videomae_cli.model.videomae import VideoMAEModel

# ImageNet's statistics, with which every published checkpoint normalises RGB in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Added to a patch's standard deviation, which is 0 for a single colour (as in MAE's reference code).
_EPSILON = 1e-6


class PixelDecoder(nn.Module):
    """The decoder: Transformer blocks, then a linear layer to the pixels of a patch."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        spec = BlockSpec(
            width=config.decoder_hidden_size,
            heads=config.decoder_num_attention_heads,
            mlp_width=config.decoder_intermediate_size,
            act=config.hidden_act,
            eps=config.layer_norm_eps,
            qkv_bias=config.qkv_bias,
            dropout=config.hidden_dropout_prob,
            attention_dropout=config.attention_probs_dropout_prob,
        )
        self.decoder_layers = nn.ModuleList(Block(spec) for _ in range(config.decoder_num_hidden_layers))
        self.norm = nn.LayerNorm(config.decoder_hidden_size, eps=1e-5)
        self.head = nn.Linear(config.decoder_hidden_size, config.patch_dim)

    def forward(
        self,
        tokens: Tensor,
        predicted: int,
        *,
        checkpointing: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> DecoderOutput:
        """Map tokens (B, N, decoder D) to the pixels (B, predicted, patch_dim) of the last `predicted` tokens."""
        tokens, hidden_states, attentions = run_blocks(
            self.decoder_layers,
            tokens,
            collect_hidden=output_hidden_states,
            collect_weights=output_attentions,
            checkpointing=checkpointing,
        )
        pixels: Tensor = self.head(self.norm(tokens[:, tokens.shape[1] - predicted :]))
        return DecoderOutput(pixels, hidden_states, attentions)


class VideoMAEForPreTraining(PretrainedModel):
    """The masked autoencoder: an encoder of the visible tokens, and a decoder that predicts the masked ones.

    The loss is the mean squared error over the pixels of the masked tokens. With `norm_pix_loss` each target patch is
    normalised by its own mean and standard deviation, per channel.

    Three channels are assumed to be RGB normalised with ImageNet's statistics, which is undone before they become the
    target. With any other number of channels, `pixel_values` are the target as they are.
    """

    base_prefix = "videomae."

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__(config)
        self.videomae = VideoMAEModel(config)
        self.encoder_to_decoder = nn.Linear(config.hidden_size, config.decoder_hidden_size, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_hidden_size))
        self.decoder_positions = PositionTable(config.num_patches, config.decoder_hidden_size)
        self.decoder = PixelDecoder(config)
        self._official_weights()

    def _official_weights(self) -> None:
        """Initialise as published for pre-training: linear weights Xavier uniform, biases 0, norms 1.

        The mask token is normal with standard deviation `initializer_range`, truncated at one standard deviation.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        self._zero_biases()
        std = self.config.initializer_range
        nn.init.trunc_normal_(self.mask_token, std=std, a=-std, b=std)

    def _transformers_weights(self) -> None:
        super()._transformers_weights()
        nn.init.zeros_(self.mask_token)

    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        *,
        head_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> Returned[PreTrainingOutput]:
        """Predict the masked pixels of clips (B, T, C, H, W) under a mask (B, tokens), True where hidden.

        Returns the loss and the pixels (B, masked tokens, patch_dim), in the order of the mask. Other arguments are
        those of `VideoMAEModel`; `head_mask` applies to the encoder, whose N is the number of visible tokens. Raises
        ModelInputError.
        """
        ask = self._requested(output_hidden_states, output_attentions, return_dict)
        masked = _masked(bool_masked_pos)
        encoded = self.videomae(
            pixel_values,
            bool_masked_pos=bool_masked_pos,
            head_mask=head_mask,
            output_hidden_states=ask.hidden_states,
            output_attentions=ask.attentions,
            return_dict=True,
        )
        count = masked.sum(dim=1)
        if len(masked) and int(count[0]) == 0:
            raise ModelInputError.about(
                "bool_masked_pos", "bool_masked_pos masks no token; there is nothing to predict"
            )
        decoded = self.decoder(
            self._decoder_tokens(encoded.last_hidden_state, masked),
            int(count[0]) if len(masked) else 0,
            checkpointing=self.gradient_checkpointing and self.training,
            output_hidden_states=ask.hidden_states,
            output_attentions=ask.attentions,
        )
        target = select(self.target(pixel_values), masked)
        output = PreTrainingOutput(
            loss=functional.mse_loss(decoded.logits, target.to(decoded.logits.dtype)),
            logits=decoded.logits,
            last_hidden_state=encoded.last_hidden_state,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            decoder_hidden_states=decoded.hidden_states,
            decoder_attentions=decoded.attentions,
        )
        return returned(output, ask)

    @torch.no_grad()
    def predict_all(self, pixel_values: Tensor, bool_masked_pos: Tensor) -> Tensor:
        """Return the decoder's output for every token, in grid order: (B, N, patch_dim). Raises ModelInputError.

        For masked tokens it equals the output of `forward`; for visible ones the decoder was not trained.
        """
        masked = _masked(bool_masked_pos)
        encoded = self.videomae(pixel_values, bool_masked_pos=masked, return_dict=True)
        tokens = self._decoder_tokens(encoded.last_hidden_state, masked)
        pixels: Tensor = self.decoder(tokens, tokens.shape[1]).logits
        if not len(masked):
            # For an empty batch the number of visible tokens is unknown, so the decoder's output has the wrong shape.
            return pixels.new_zeros(0, self.config.num_patches, self.config.patch_dim)
        # The decoder's order (visible before masked) is the grid's, stably sorted by the mask; undo the sort.
        order = bool_masked_pos.to(torch.uint8).argsort(dim=1, stable=True)
        placed = torch.empty_like(pixels)
        return placed.scatter(1, order.unsqueeze(2).expand_as(pixels), pixels)

    def _decoder_tokens(self, encoded: Tensor, bool_masked_pos: Tensor) -> Tensor:
        """Build the decoder's input (B, N, decoder D) from the encoded visible tokens (B, visible, D).

        The visible tokens come first, the mask tokens last; position embeddings tell where each belongs.
        """
        visible = self.encoder_to_decoder(encoded)
        positions = self.decoder_positions(visible).expand(visible.shape[0], -1, -1)
        hidden = self.mask_token.to(visible.dtype) + select(positions, bool_masked_pos)
        return torch.cat([visible + select(positions, ~bool_masked_pos), hidden], dim=1)

    @torch.no_grad()
    def target(self, pixel_values: Tensor) -> Tensor:
        """Return the decoder's target for every token of clips (B, T, C, H, W): (B, N, patch_dim)."""
        patches = patchify(to_unit_range(pixel_values), self.config)
        if self.config.norm_pix_loss:
            mean, deviation = patch_statistics(patches)
            patches = (patches - mean) / deviation
        # (B, N, pixels of a patch, C) -> (B, N, patch_dim)
        return patches.flatten(2)


def _masked(bool_masked_pos: Tensor | None) -> Tensor:
    """Return the mask. Raises ModelInputError if it is None."""
    if bool_masked_pos is None:
        raise ModelInputError.about(
            "bool_masked_pos",
            "bool_masked_pos is missing; pre-training needs a mask (videomae_cli.model.masking makes some)",
        )
    return bool_masked_pos


def to_unit_range(pixel_values: Tensor) -> Tensor:
    """Map normalised RGB clips (B, T, 3, H, W) back to [0, 1]; clips that don't have three channels are returned unchanged."""
    if pixel_values.shape[2] != len(IMAGENET_MEAN):
        return pixel_values
    mean = pixel_values.new_tensor(IMAGENET_MEAN).view(1, 1, -1, 1, 1)
    std = pixel_values.new_tensor(IMAGENET_STD).view(1, 1, -1, 1, 1)
    return pixel_values * std + mean


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation + epsilon, each (B, N, 1, C), of patches (B, N, pixels, C)."""
    mean = patches.mean(dim=-2, keepdim=True)
    deviation = patches.var(dim=-2, unbiased=True, keepdim=True).sqrt() + _EPSILON
    return mean, deviation

"""The parts of a model that engines run: modules from pixels to logits or to pooled features."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.nn.functional import layer_norm

from videomae_cli.engines.kinds import LOGITS, features_kind
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

# Returns clips (V, T, C, H, W) float32 for int8 calibration; called only if they are needed.
Calibration = Callable[[], Iterable[Tensor]]

# Overrides whatever the checkpoint's configuration says about outputs.
_PLAIN = {"output_hidden_states": False, "output_attentions": False, "return_dict": True}


class Logits(nn.Module):
    """Computes a classifier's logits: (V, T, C, H, W) -> (V, labels)."""

    def __init__(self, model: VideoMAEForVideoClassification) -> None:
        super().__init__()
        self.model = model
        self.config: VideoMAEConfig = model.config

    @property
    def kind(self) -> str:
        """A stable name for what the part computes."""
        return LOGITS

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values, **_PLAIN).logits
        return logits


class Features(nn.Module):
    """Computes an encoder's pooled tokens: (V, T, C, H, W) -> (V, R, D) float32.

    pool: "mean" gives one vector, "time" one per tubelet position, "tokens" all tokens; layer: use the tokens after
    this block (0: before the first) without normalisation; None uses the final ones with the checkpoint's own norm.
    """

    def __init__(
        self, model: VideoMAEModel | VideoMAEForVideoClassification, pool: str = "mean", layer: int | None = None
    ) -> None:
        super().__init__()
        self.encoder = model if isinstance(model, VideoMAEModel) else model.videomae
        # fc_norm was trained on mean-pooled tokens; applied to single tokens it is meaningless.
        trained = layer is None and pool != "tokens"
        self.norm = model.fc_norm if trained and isinstance(model, VideoMAEForVideoClassification) else None
        self.pool, self.layer = pool, layer
        self.config: VideoMAEConfig = model.config

    @property
    def kind(self) -> str:
        """A stable name for what the part computes."""
        return features_kind(self.pool, self.layer)

    def forward(self, pixel_values: Tensor) -> Tensor:
        encoded = self.encoder(pixel_values, **{**_PLAIN, "output_hidden_states": self.layer is not None})
        tokens = encoded.last_hidden_state if self.layer is None else encoded.hidden_states[self.layer]
        pooled = self._pooled(tokens.float())
        if self.norm is not None:
            norm = self.norm
            pooled = layer_norm(pooled, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
        return pooled

    def _pooled(self, tokens: Tensor) -> Tensor:
        """Pool tokens (V, N, D), in the order t, h, w, to (V, R, D) with R = 1, t, or N."""
        if self.pool == "tokens":
            return tokens
        if self.pool == "time":
            # (V, N, D) -> (V, t, h * w, D); -1 because len(tokens) would be traced as a constant
            slots, height, width = self.config.grid
            return tokens.reshape(-1, slots, height * width, tokens.shape[-1]).mean(dim=2)
        return tokens.mean(dim=1, keepdim=True)

"""What of a model is run: one call from pixels to the numbers that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.nn.functional import layer_norm

from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

# Clips to calibrate eight-bit numbers on: (V, T, C, H, W) float32 each. Called only where they are needed.
Calibration = Callable[[], Iterable[Tensor]]

# Whatever the checkpoint's configuration says of outputs: what is read here is read by name.
_PLAIN = {"output_hidden_states": False, "output_attentions": False, "return_dict": True}


class Logits(nn.Module):
    """A classifier's logits: (V, T, C, H, W) -> (V, labels)."""

    def __init__(self, model: VideoMAEForVideoClassification) -> None:
        super().__init__()
        self.model = model
        self.config: VideoMAEConfig = model.config

    @property
    def kind(self) -> str:
        """A name for what comes out, the same in every run."""
        return "logits"

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values, **_PLAIN).logits
        return logits


class Features(nn.Module):
    """An encoder's tokens, pooled: (V, T, C, H, W) -> (V, R, D) float32.

    pool: "mean" one vector of all tokens, "time" one a tubelet slot, "tokens" all of them; layer: the tokens after block
    number `layer` (0: before the first), without any norm, instead of the last with the checkpoint's own.
    """

    def __init__(
        self, model: VideoMAEModel | VideoMAEForVideoClassification, pool: str = "mean", layer: int | None = None
    ) -> None:
        super().__init__()
        self.encoder = model if isinstance(model, VideoMAEModel) else model.videomae
        # fc_norm was trained on means of tokens; on single tokens it says nothing.
        trained = layer is None and pool != "tokens"
        self.norm = model.fc_norm if trained and isinstance(model, VideoMAEForVideoClassification) else None
        self.pool, self.layer = pool, layer
        self.config: VideoMAEConfig = model.config

    @property
    def kind(self) -> str:
        """A name for what comes out, the same in every run."""
        return f"{self.pool}, layer {'last' if self.layer is None else self.layer}"

    def forward(self, pixel_values: Tensor) -> Tensor:
        encoded = self.encoder(pixel_values, **{**_PLAIN, "output_hidden_states": self.layer is not None})
        tokens = encoded.last_hidden_state if self.layer is None else encoded.hidden_states[self.layer]
        pooled = self._pooled(tokens.float())
        if self.norm is not None:
            norm = self.norm
            pooled = layer_norm(pooled, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
        return pooled

    def _pooled(self, tokens: Tensor) -> Tensor:
        """(V, N, D) in the order t, h, w -> (V, R, D) with R = 1, slots, or N."""
        if self.pool == "tokens":
            return tokens
        if self.pool == "time":
            # (V, N, D) -> (V, t, h * w, D); -1, since len(tokens) would become a constant in a trace
            slots, height, width = self.config.grid
            return tokens.reshape(-1, slots, height * width, tokens.shape[-1]).mean(dim=2)
        return tokens.mean(dim=1, keepdim=True)

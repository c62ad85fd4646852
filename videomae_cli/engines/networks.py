"""What of a model is run, and running it: one call from pixels to numbers, whatever the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from videomae_cli.engines.precision import Engine
from videomae_cli.errors import OptionError
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


class Network(Protocol):
    """A model ready to run. identity: what decides its numbers besides weights and configuration, as plain values."""

    engine: Engine

    @property
    def identity(self) -> dict[str, str]: ...

    def __call__(self, pixel_values: Tensor) -> Tensor:
        """(V, T, C, H, W) float32 on the CPU -> (V, ...) float32 on the CPU."""


class TorchNetwork:
    """A part of a model through PyTorch, on the engine's device and in its number format."""

    def __init__(self, part: Logits | Features, engine: Engine) -> None:
        self.engine = engine
        self.part = part.to(engine.device, engine.torch_dtype)

    @property
    def identity(self) -> dict[str, str]:
        return {"engine": "torch", "dtype": self.engine.dtype}

    @torch.inference_mode()
    def __call__(self, pixel_values: Tensor) -> Tensor:
        result: Tensor = self.part(pixel_values.to(self.engine.device, self.engine.torch_dtype))
        return result.float().cpu()


class CompiledNetwork:
    """The same through torch.compile, for `size` clips at once: fewer are filled up, since another number of them would be
    compiled anew. Compiles at once, and raises OptionError where that does not work."""

    def __init__(self, part: Logits | Features, engine: Engine, size: int) -> None:
        self.engine, self._size = engine, size
        self._plain = TorchNetwork(part, engine)
        self._plain.part.forward = torch.compile(part.forward, dynamic=False)  # type: ignore[method-assign]
        config = part.config
        self._begin(torch.zeros(1, config.num_frames, config.num_channels, *config.image_hw))

    def _begin(self, clip: Tensor) -> None:
        tried = self._size
        try:
            self(clip)
        except torch.OutOfMemoryError:
            if tried == 1:
                raise
            self._begin(clip)  # the size is half of what it was
        except Exception as error:  # a compiler that is not there, or fails: of many kinds, none of them ours
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise OptionError(f"--compile does not work here ({reason[0]}): leave it out") from error

    @property
    def identity(self) -> dict[str, str]:
        return {**self._plain.identity, "compile": "yes"}

    def __call__(self, pixel_values: Tensor) -> Tensor:
        return torch.cat([self._filled(part) for part in torch.split(pixel_values, self._size)])

    def _filled(self, clips: Tensor) -> Tensor:
        missing = self._size - len(clips)
        blanks = clips.new_zeros(missing, *clips.shape[1:])
        try:
            return self._plain(torch.cat([clips, blanks]) if missing else clips)[: len(clips)]
        except torch.OutOfMemoryError:
            self._size = max(1, self._size // 2)  # what the caller tries next
            raise


class WatchedNetwork:
    """A network whose user hears of every batch: `begun` before it, `ended` with its number of clips after it."""

    def __init__(self, network: Network, *, begun: Callable[[], None], ended: Callable[[int], None]) -> None:
        self.engine = network.engine
        self._network, self._begun, self._ended = network, begun, ended

    @property
    def identity(self) -> dict[str, str]:
        return self._network.identity

    def __call__(self, pixel_values: Tensor) -> Tensor:
        self._begun()
        result = self._network(pixel_values)
        self._ended(len(pixel_values))
        return result


def make_network(
    part: Logits | Features, engine: Engine, *, digest: str, size: int = 1, calibration: Calibration | None = None
) -> Network:
    """The part of a model on its engine.

    digest: of the model's weights; size: of batches; calibration: for int8, where this model has not been made eight-bit
    before. Raises DependencyError where OpenVINO or NNCF is not installed, OptionError for what this machine lacks.
    """
    if engine.name == "torch":
        return CompiledNetwork(part, engine, size) if engine.compiled else TorchNetwork(part, engine)
    from videomae_cli.engines.openvino import OpenVINONetwork

    network = OpenVINONetwork(part, engine, digest=digest, calibration=calibration)
    part.to("meta")  # OpenVINO has weights of its own: PyTorch's would only take memory
    return network

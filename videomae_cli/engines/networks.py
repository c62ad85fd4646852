"""Running a part of a model: one call from pixels to numbers, whatever the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from videomae_cli.engines.parts import Calibration, Features, Logits
from videomae_cli.engines.precision import Engine
from videomae_cli.errors import OptionError, Wording


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
    """Run the model through torch.compile, for `size` clips at once.

    Smaller batches are padded, since another batch size would be compiled anew. Compiles at once, and raises OptionError
    where that does not work.
    """

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
            raise OptionError(
                Wording("{@compile:True} does not work here ({reason}): leave it out", reason=reason[0])
            ) from error

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
